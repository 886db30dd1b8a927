//! A real Prometheus, which scrapes the daemon over TCP, and is asked what the dashboard asks.

use std::{fs, process::Command, time::Duration};

use lb_tests::process::{Process, wait_until};
use serde_json::Value;

use crate::{curl::curl, metrics::repository, site::Site};

/// How long it may take until it has scraped often enough.
const SCRAPED: Duration = Duration::from_secs(40);

const ADDRESS: &str = "127.0.0.1:9090";

/// What Prometheus answers to a query.
fn ask(site: &Site, query: &str) -> Value {
    let (url, query) = (format!("http://{ADDRESS}/api/v1/query"), format!("query={query}"));
    curl(site, &["--get", &url, "--data-urlencode", &query]).body
}

/// The value of a query that gives one.
fn value(site: &Site, query: &str) -> Option<f64> {
    ask(site, query)["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// Every query of the dashboard, for all balancers and services.
fn queries() -> Vec<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                into.extend(object.get("expr").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| collect(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let text = fs::read_to_string(repository().join("examples/grafana/sluice.json")).unwrap();
    let mut found = Vec::new();
    collect(&serde_json::from_str(&text).unwrap(), &mut found);
    let variables =
        [("$__rate_interval", "1m"), ("$__interval", "1m"), ("$instance", ".*"), ("$service", ".*")];
    let filled = |query: String| {
        variables.iter().fold(query, |query, (variable, value)| query.replace(variable, value))
    };
    found.into_iter().map(filled).collect()
}

#[test]
fn prometheus_scrapes_the_daemon_and_answers_the_dashboard() {
    let mut site = Site::new();
    site.change("\n[fleet]", "\n[balancer.api]\nlisten = \"127.0.0.1:9901\"\n\n[fleet]");
    let _daemon = site.start(&[]);
    let rules = repository().join("examples/prometheus/rules.yml");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{}]\n\
         scrape_configs:\n\
         - job_name: sluice\n\
         \x20 metrics_path: /stats/prometheus\n\
         \x20 static_configs: [{{ targets: [\"127.0.0.1:9901\"] }}]\n",
        rules.display()
    );
    let config = site.write("prometheus.yml", &config);
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", config.with_file_name("tsdb").display()));
    command.arg(format!("--web.listen-address={ADDRESS}"));
    let prometheus = Process::spawn(&site.host.netns, "prometheus", &mut command).unwrap();

    let scraped =
        || value(&site, "count_over_time(up{job=\"sluice\"}[1m])").is_some_and(|times| times >= 3.0);
    wait_until(SCRAPED, "three scrapes", scraped)
        .unwrap_or_else(|error| panic!("{error}; {}", prometheus.log()));
    assert_eq!(value(&site, "min_over_time(up{job=\"sluice\"}[1m])"), Some(1.0), "{}", prometheus.log());
    assert_eq!(value(&site, "sluice_forwarding"), Some(1.0));
    assert_eq!(value(&site, "sum(sluice_backend_share)"), Some(1.0));
    let firing = ask(&site, "ALERTS{alertstate=\"firing\"}");
    assert_eq!(firing["data"]["result"], Value::Array(Vec::new()), "{firing}");

    let queries = queries();
    assert!(queries.len() > 30, "{queries:?}");
    for query in queries {
        let answer = ask(&site, &query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
}
