//! `sluice history`: what has become of a backend, and why.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use comfy_table::Table;
use humantime::format_rfc3339_seconds;
use serde::Serialize;

use super::{
    daemon::{DaemonArgs, Output, print, print_json, shown},
    names::{Name, resolve},
    status::plain_table,
};
use crate::admin::{
    WITH_HISTORIES, client,
    status::{Backend, Change, Status},
};

/// Arguments of `sluice history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backend: of every service that has it, where no service is named
    #[arg(value_name = "[SERVICE/]BACKEND")]
    backend: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// A backend's history, for programs.
#[derive(Serialize)]
struct Told<'a> {
    service: &'a str,
    backend: &'a str,
    history: &'a [Change],
}

/// Runs `sluice history`.
pub(super) fn run(args: &Args) -> Result<()> {
    let status: Status = super::runtime()?.block_on(client::get(&args.daemon.endpoint, WITH_HISTORIES))?;
    let names = resolve(&status, &args.backend)?;
    let told: Vec<_> = names.iter().filter_map(|name| told(&status, name)).collect();
    if args.daemon.output == Output::Json {
        return print_json(&told);
    }
    let parts: Vec<_> = told
        .iter()
        .map(|told| format!("{}/{}\n{}", told.service, told.backend, table(told.history)))
        .collect();
    print(&parts.join("\n\n"))
}

fn told<'a>(status: &'a Status, name: &'a Name) -> Option<Told<'a>> {
    let service = status.services.iter().find(|service| service.name == name.service)?;
    let backend: &Backend = service.backends.iter().find(|backend| backend.name == name.backend)?;
    Some(Told { service: &name.service, backend: &name.backend, history: &backend.history })
}

/// The latest change first.
fn table(history: &[Change]) -> Table {
    let mut table = plain_table(&["time (UTC)", "what", "is", "why"]);
    for Change { at, what, is, why } in history.iter().rev() {
        table.add_row([&moment(*at), what.name(), is, why]);
    }
    table
}

pub(super) fn moment(at: f64) -> String {
    let since_1970 = Duration::try_from_secs_f64(at).unwrap_or_default();
    let written = format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970).to_string();
    written.trim_end_matches('Z').replace('T', " ")
}

/// The last change, for a cell.
pub(super) fn last_change(change: &Change) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    said(change, now)
}

fn said(Change { at, what, is, .. }: &Change, now: Duration) -> String {
    format!("{} {is}, {} ago", what.name(), shown((now.as_secs_f64() - at).max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Aspect;

    fn change(at: f64, what: Aspect, is: &str, why: &str) -> Change {
        Change { at, what, is: is.to_owned(), why: why.to_owned() }
    }

    #[test]
    fn history_is_a_table_with_the_latest_change_first() {
        let history = [
            change(1_700_000_000.25, Aspect::Admin, "ready", "the file has it"),
            change(1_700_000_060.0, Aspect::Health, "down", "3 probes in a row failed: connection refused"),
        ];
        insta::assert_snapshot!(table(&history));
    }

    #[test]
    fn last_change_says_how_long_ago() {
        let down = change(1_000.0, Aspect::Health, "down", "probe failed");
        assert_eq!(said(&down, Duration::from_secs(1_090)), "health down, 1m 30s ago");
        assert_eq!(said(&down, Duration::from_secs(901)), "health down, 0s ago", "the clock was set back");
    }
}
