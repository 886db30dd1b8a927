//! `sluice status`: what a running daemon balances.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use super::{
    daemon::{DaemonArgs, Output, print, print_json},
    fleet::fleet,
    guards::guards,
    history::last_change,
    probes::probes,
    rollout::rollout,
    shares::shares,
    sizes::sizes,
    state::{cell, sentence},
};
use crate::admin::{
    WITH_HISTORIES, client,
    status::{Backend, Nat, NextProgram, Service, Status, Traffic},
};

/// Arguments of `sluice status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let path = match args.daemon.output {
        Output::Json => WITH_HISTORIES,
        Output::Table => "/v1/status",
    };
    let status: Status = super::runtime()?.block_on(client::get(&args.daemon.endpoint, path))?;
    match args.daemon.output {
        Output::Json => print_json(&status),
        Output::Table => print(&render(&status)),
    }
}

fn render(status: &Status) -> String {
    let interfaces: Vec<_> = status.interfaces.iter().map(|i| format!("{} ({})", i.name, i.mode)).collect();
    let Status { version, config, arena, tracking, .. } = status;
    let mut parts = vec![format!(
        "sluice {version}, {config}, on {}\narena: {} of {} slots in use\nflows: {} connections and {} openings \
         remembered, {} refused",
        interfaces.join(", "),
        arena.used,
        arena.slots,
        tracking.connections,
        tracking.openings,
        tracking.refused.connections + tracking.refused.openings
    )];
    if let Some(nat) = &status.nat {
        parts[0].push('\n');
        parts[0].push_str(&translated(nat));
    }
    parts.extend(status.next_program.as_ref().map(next_program));
    parts.extend(status.fleet.as_ref().map(fleet));
    parts.extend(status.services.iter().map(service));
    parts.push(format!("packets by reason\n{}", reasons(status)));
    parts.join("\n\n")
}

/// A line about translated flows.
fn translated(nat: &Nat) -> String {
    let addresses: Vec<_> =
        nat.addresses.iter().map(|(address, flows)| format!("{flows} from {address}")).collect();
    format!(
        "nat: {} of {} sessions, {} of {} openings, {} refused; {}",
        nat.sessions,
        nat.most_sessions,
        nat.openings,
        nat.most_openings,
        nat.refused,
        addresses.join(", ")
    )
}

fn next_program(next: &NextProgram) -> String {
    let NextProgram { name, id, path } = next;
    format!("what passes goes on to {name} (id {id}), pinned at {path}")
}

/// A line about the service, its backends, and lines about who gets new flows, how backends are probed where that is not as it
/// was meant, what fits on the way there, its guards and
/// each backend that is to be empty.
fn service(service: &Service) -> String {
    let mut text = format!("{}\n{}", headline(service), backends(&service.backends));
    let shares = shares(service).into_iter().chain(service.rollout.iter().map(rollout));
    for line in shares.chain(probes(service)).chain(sizes(service)).chain(guards(service)) {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    for backend in service.backends.iter().filter(|backend| backend.draining_since.is_some()) {
        text.push_str("\n  ");
        text.push_str(&sentence(&service.name, backend));
    }
    text
}

fn headline(service: &Service) -> String {
    let Service { name, protocol, slots, moved_slots, tracked_flows, generation, digest, .. } = service;
    let Traffic { packets, bytes } = service.traffic;
    let opened = service.opened_flows.map(|flows| format!("{flows} new flows, ")).unwrap_or_default();
    let port = if service.port == 0 { "any".to_owned() } else { service.port.to_string() };
    let address = if service.address.is_ipv6() {
        format!("[{}]", service.address)
    } else {
        service.address.to_string()
    };
    format!(
        "{name}  {address}:{port}/{protocol}  generation {generation}, digest {digest}, {slots} slots ({moved_slots} \
         moved), {tracked_flows} flows tracked, {opened}{packets} packets, {bytes} bytes"
    )
}

fn backends(backends: &[Backend]) -> Table {
    let mut table = plain_table(&[
        "backend",
        "address",
        "forwarding",
        "weight",
        "state",
        "share",
        "flows",
        "new flows",
        "packets",
        "bytes",
        "next hop",
        "last change",
    ]);
    for backend in backends {
        table.add_row([
            backend.name.clone(),
            backend.address.to_string(),
            backend.forwarding.clone(),
            backend.weight.to_string(),
            cell(backend),
            format!("{:.2} %", backend.share * 100.0),
            backend.tracked_flows.to_string(),
            opened(backend.opened_flows),
            backend.traffic.packets.to_string(),
            backend.traffic.bytes.to_string(),
            backend.next_hop.clone(),
            backend.last_change.as_ref().map(last_change).unwrap_or_default(),
        ]);
    }
    align_right(&mut table, &[3, 5, 6, 7, 8, 9]);
    table
}

fn reasons(status: &Status) -> Table {
    let mut table = plain_table(&["reason", "packets", "bytes"]);
    for (name, traffic) in status.reasons.iter().filter(|(_, traffic)| traffic.packets > 0) {
        table.add_row([name.clone(), traffic.packets.to_string(), traffic.bytes.to_string()]);
    }
    align_right(&mut table, &[1, 2]);
    table
}

/// How many flows were opened, for a cell.
pub(super) fn opened(flows: Option<u64>) -> String {
    flows.map_or_else(|| "–".to_owned(), |flows| flows.to_string())
}

pub(super) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

pub(super) fn align_right(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_about_translated_flows_has_each_address() {
        let addresses = [("198.51.100.250", 40), ("2001:db8::fa", 3)];
        let nat = Nat {
            sessions: 41,
            most_sessions: 100,
            openings: 2,
            most_openings: 50,
            refused: 7,
            addresses: addresses.map(|(address, flows)| (address.parse().unwrap(), flows)).into(),
        };
        assert_eq!(
            translated(&nat),
            "nat: 41 of 100 sessions, 2 of 50 openings, 7 refused; 40 from 198.51.100.250, 3 from 2001:db8::fa"
        );
    }
}
