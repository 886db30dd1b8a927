//! `sluice drops`: which packets go nowhere, why, and what to do about it.

use std::{collections::BTreeMap, fmt::Write as _, thread, time::Instant};

use anyhow::{Result, bail};
use humantime::parse_duration;
use lb_common::counter::{Fate, Reason};
use serde::Serialize;

use super::{
    daemon::{DaemonArgs, Output, print, print_json},
    status::{align_right, plain_table},
};
use crate::admin::{client, status::Status};

/// Arguments of `sluice drops`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what was dropped of this service's packets, where that is counted by service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Look again after every interval, and say how many there were in a second since the last look
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s", value_parser = parse_duration)]
    watch: Option<std::time::Duration>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// What was dropped for one reason.
#[derive(Debug, PartialEq, Serialize)]
struct Drops {
    reason: &'static str,
    packets: u64,
    bytes: u64,
    /// Since the last look; none at the first.
    packets_per_second: Option<f64>,
    meaning: &'static str,
    remedy: &'static str,
}

/// All of it.
#[derive(Debug, PartialEq, Serialize)]
struct Told {
    drops: Vec<Drops>,
    /// What was refused of each service's packets, by cause, where anything was.
    services: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Runs `sluice drops`.
pub(super) fn run(args: &Args) -> Result<()> {
    let runtime = super::runtime()?;
    let mut before: Option<(Instant, Status)> = None;
    loop {
        let status: Status = runtime.block_on(client::get(&args.daemon.endpoint, "/v1/status"))?;
        let looked = Instant::now();
        let since =
            before.as_ref().map(|(then, status)| (status, looked.duration_since(*then).as_secs_f64()));
        let told = told(&status, since, args.service.as_deref())?;
        match args.daemon.output {
            Output::Json => print_json(&told)?,
            Output::Table => print(&render(&told, args.service.as_deref()))?,
        }
        let Some(interval) = args.watch else { return Ok(()) };
        thread::sleep(interval);
        before = Some((looked, status));
    }
}

/// What a status says of drops. `before` is another one, and the seconds since then.
fn told(status: &Status, before: Option<(&Status, f64)>, service: Option<&str>) -> Result<Told> {
    let mut services: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for found in status.services.iter().filter(|found| service.is_none_or(|name| found.name == name)) {
        let refused = found.refused.iter().filter(|(_, packets)| **packets > 0);
        services
            .insert(found.name.clone(), refused.map(|(cause, packets)| (cause.clone(), *packets)).collect());
    }
    if let Some(name) = service
        && services.is_empty()
    {
        bail!("there is no service {name:?}; `sluice status` names them");
    }
    services.retain(|_, refused| !refused.is_empty());
    let dropping = Reason::ALL.into_iter().filter(|reason| reason.fate() == Fate::Drop);
    let mut drops: Vec<_> = dropping.filter_map(|reason| drops(status, before, reason)).collect();
    drops.sort_by_key(|drops| std::cmp::Reverse(drops.packets));
    Ok(Told { drops: if service.is_some() { Vec::new() } else { drops }, services })
}

/// What was dropped for a reason, if anything was.
fn drops(status: &Status, before: Option<(&Status, f64)>, reason: Reason) -> Option<Drops> {
    let traffic = status.reasons.get(reason.name()).filter(|traffic| traffic.packets > 0)?;
    let packets_per_second = before.map(|(before, seconds)| {
        let then = before.reasons.get(reason.name()).map_or(0, |traffic| traffic.packets);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let packets = traffic.packets.saturating_sub(then) as f64;
        packets / seconds
    });
    Some(Drops {
        reason: reason.name(),
        packets: traffic.packets,
        bytes: traffic.bytes,
        packets_per_second,
        meaning: reason.meaning(),
        remedy: reason.remedy(),
    })
}

fn render(told: &Told, service: Option<&str>) -> String {
    let mut text = String::new();
    if told.drops.is_empty() && told.services.is_empty() {
        return service.map_or_else(
            || "nothing was dropped".to_owned(),
            |name| format!("nothing was dropped of {name} that is counted by service"),
        );
    }
    if !told.drops.is_empty() {
        let mut table = plain_table(&["reason", "packets", "bytes", "a second", "what it is"]);
        for drops in &told.drops {
            let rate = drops.packets_per_second.map_or_else(String::new, |rate| format!("{rate:.1}"));
            let (packets, bytes) = (drops.packets.to_string(), drops.bytes.to_string());
            table.add_row([drops.reason, &packets, &bytes, &rate, drops.meaning]);
        }
        align_right(&mut table, &[1, 2, 3]);
        let _ = writeln!(text, "{table}\n\nwhat to do");
        for drops in &told.drops {
            let _ = writeln!(text, "  {}: {}", drops.reason, drops.remedy.replace("NAME", drops.reason));
        }
    }
    if !told.services.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str("by service\n");
    }
    for (name, refused) in &told.services {
        let refused: Vec<_> = refused.iter().map(|(cause, packets)| format!("{packets} {cause}")).collect();
        let _ = writeln!(text, "  {name}: {}", refused.join(", "));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;
    use crate::{
        admin::status::{Service, Traffic},
        cli::tests::{service, status},
    };

    fn dropped(packets: u64) -> Status {
        let refused = BTreeMap::from([("denied".to_owned(), packets), ("malformed".to_owned(), 0)]);
        let web = Service { refused, ..service("web", vec![]) };
        let traffic = Traffic { packets, bytes: 60 * packets };
        let reasons =
            [(Reason::Denied, traffic), (Reason::Transmitted, traffic), (Reason::Land, Traffic::default())];
        let reasons = reasons.map(|(reason, traffic)| (reason.name().to_owned(), traffic)).into();
        Status { reasons, ..status(vec![web]) }
    }

    #[test]
    fn drops_are_told_with_what_to_do() {
        let told = told(&dropped(30), Some((&dropped(10), 2.0)), None).unwrap();
        let [drops] = &told.drops[..] else { panic!("{told:?}") };
        assert_eq!((drops.reason, drops.packets, drops.packets_per_second), ("denied", 30, Some(10.0)));
        let text = render(&told, None);
        for part in ["denied       30   1800      10.0", "lists say", "web: 30 denied"] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn service_without_drops_and_service_that_is_none_are_told_apart() {
        let none = told(&dropped(0), None, Some("web")).unwrap();
        assert_eq!(render(&none, Some("web")), "nothing was dropped of web that is counted by service");
        assert!(told(&dropped(0), None, Some("wbe")).unwrap_err().to_string().contains("\"wbe\""));
    }

    #[test]
    fn every_drop_has_a_remedy() {
        for reason in Reason::ALL.into_iter().filter(|reason| reason.fate() == Fate::Drop) {
            assert!(!reason.remedy().is_empty(), "{}", reason.name());
        }
    }

    /// `INSTA_UPDATE=always` has it written anew.
    #[test]
    fn document_of_reasons_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
        let is = document();
        if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            fs::write(&path, &is).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(is == written, "docs/reasons.md is old: run this test with INSTA_UPDATE=always");
    }

    fn document() -> String {
        let mut text = "# Reasons\n\nEvery packet that the program sees ends with exactly one of these. `sluice status` counts \
                        all of them, `sluice drops`\nthose that go nowhere. This page is made from the code.\n\n| reason | becomes | what it is | what to do about many of them |\n\
                        | --- | --- | --- | --- |\n"
            .to_owned();
        for reason in Reason::ALL {
            let fate = match reason.fate() {
                Fate::Pass => "passes to the stack",
                Fate::Forward => "is forwarded",
                Fate::Answer => "is answered",
                Fate::Drop => "is dropped",
            };
            let (name, meaning, remedy) = (reason.name(), reason.meaning(), reason.remedy());
            let remedy =
                if remedy.is_empty() { String::new() } else { format!(" {}", remedy.replace("NAME", name)) };
            writeln!(text, "| `{name}` | {fate} | {meaning} |{remedy} |").unwrap();
        }
        text
    }
}
