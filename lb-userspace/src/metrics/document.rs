//! `docs/metrics.md`, from the definitions.

use std::fmt::Write as _;

use super::definitions::{ALL, Definition, Kind};

const BEGINNING: &str = "\
# Metrics

`GET /stats/prometheus` of the [admin API](operations.md#the-api) gives them as OpenMetrics, where a scraper asks for it, and
otherwise in Prometheus' own text format. Names and labels are stable: another meaning is another name. This file is written
from the code (`lb-userspace/src/metrics/definitions.rs`), and a test keeps it so.

- With ten thousand backends, their metrics are most of an answer: `?backends=false` leaves them out.
- Counters of packets are the data plane's: they go on while the daemon restarts. What the daemon counts of itself begins anew.
- Packets and bytes of backends and services are what clients sent. What backends answer directly does not cross the balancer;
  with `nat` it does, and is among `sluice_packets_total` as `returned`.
- New flows are packets that open one and were forwarded. Of tcp that is a SYN, which counts again where it is sent again; with
  SYN cookies it is the packet that brings the cookie back, so a flood that is met with them opens nothing. Of quic it is an
  Initial, of which a connection sends two or more. Packets of udp do not tell, so there it is flows that begin to be remembered,
  where they are (`track` is not changed).
- Probes are told by service and type of probe, not by backend, for the same ten thousand.
- An alert for each of what should wake somebody is in [examples/prometheus/rules.yml](../examples/prometheus/rules.yml), a
  dashboard in [examples/grafana/sluice.json](../examples/grafana/sluice.json).
";

/// The file's text.
#[must_use]
pub fn document() -> String {
    let mut text = BEGINNING.to_owned();
    for group in ALL {
        let _ = write!(
            text,
            "\n## {}\n\n| metric | type | labels | what |\n| --- | --- | --- | --- |\n",
            group.title
        );
        for definition in group.metrics {
            let _ = writeln!(text, "{}", row(definition));
        }
    }
    text
}

fn row(definition: &Definition) -> String {
    let labels: Vec<_> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
    let kind = match definition.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Info => "info",
    };
    format!("| `{}` | {kind} | {} | {} |", definition.queried(), labels.join(", "), definition.help)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, env, fs, path::Path};

    use super::*;
    use crate::metrics::definitions::all;

    /// `INSTA_UPDATE=always` has it written anew.
    #[test]
    fn file_in_docs_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            fs::write(&path, document()).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == document(), "docs/metrics.md is old: run this test with INSTA_UPDATE=always");
    }

    #[test]
    fn rules_and_dashboard_name_metrics_that_there_are() {
        let known: HashSet<String> = all().flat_map(series).collect();
        for file in ["prometheus/rules.yml", "grafana/sluice.json"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
            let text = fs::read_to_string(&path).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let named: HashSet<&str> =
                words.filter(|word| word.starts_with("sluice_") || word.starts_with("process_")).collect();
            assert!(named.len() > 10, "{file} names {named:?}");
            let unknown: Vec<_> = named.into_iter().filter(|name| !known.contains(*name)).collect();
            assert!(unknown.is_empty(), "{file} names {unknown:?}");
        }
    }

    /// The names that a metric's series have.
    fn series(definition: &Definition) -> Vec<String> {
        let name = definition.queried();
        match definition.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).to_vec(),
            _ => vec![name],
        }
    }
}
