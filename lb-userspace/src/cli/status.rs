//! `sluice status`: what a running daemon balances.

use std::{
    io::{ErrorKind, Write as _, stdout},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};

use crate::admin::{
    client,
    status::{Backend, Service, Status},
};

/// Arguments of `sluice status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", default_value = "/run/sluice/sluice.sock")]
    socket: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let status: Status = super::runtime()?.block_on(client::get(&args.socket, "/v1/status"))?;
    let text = match args.output {
        Output::Json => serde_json::to_string_pretty(&status).context("cannot print the answer")?,
        Output::Table => render(&status),
    };
    print(&text)
}

/// Prints to whoever reads; one that has read enough (`head`) is no error.
fn print(text: &str) -> Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot print the answer"),
        _ => Ok(()),
    }
}

fn render(status: &Status) -> String {
    let interfaces: Vec<_> = status.interfaces.iter().map(|i| format!("{} ({})", i.name, i.mode)).collect();
    let Status { version, config, arena, .. } = status;
    let mut parts = vec![format!(
        "sluice {version}, {config}, on {}\narena: {} of {} slots in use",
        interfaces.join(", "),
        arena.used,
        arena.slots
    )];
    let service = |service: &Service| format!("{}\n{}", headline(service), backends(&service.backends));
    parts.extend(status.services.iter().map(service));
    parts.push(format!("packets by reason\n{}", reasons(status)));
    parts.join("\n\n")
}

fn headline(service: &Service) -> String {
    let Service { name, protocol, slots, moved_slots, generation, digest, traffic, .. } = service;
    let port = if service.port == 0 { "any".to_owned() } else { service.port.to_string() };
    let address = if service.address.is_ipv6() {
        format!("[{}]", service.address)
    } else {
        service.address.to_string()
    };
    format!(
        "{name}  {address}:{port}/{protocol}  generation {generation}, digest {digest}, {slots} slots ({moved_slots} \
         moved), {} packets, {} bytes",
        traffic.packets, traffic.bytes
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
        "packets",
        "bytes",
        "next hop",
    ]);
    for backend in backends {
        table.add_row([
            backend.name.clone(),
            backend.address.to_string(),
            backend.forwarding.clone(),
            backend.weight.to_string(),
            state(backend),
            format!("{:.2} %", backend.share * 100.0),
            backend.traffic.packets.to_string(),
            backend.traffic.bytes.to_string(),
            backend.next_hop.clone(),
        ]);
    }
    align_right(&mut table, &[3, 5, 6, 7]);
    table
}

/// Admin state where it is not the usual one, then health, and why it is down.
fn state(backend: &Backend) -> String {
    let health =
        if backend.health == "down" { format!("down: {}", backend.reason) } else { backend.health.clone() };
    if backend.admin == "ready" { health } else { format!("{}, {health}", backend.admin) }
}

fn reasons(status: &Status) -> Table {
    let mut table = plain_table(&["reason", "packets", "bytes"]);
    for (name, traffic) in status.reasons.iter().filter(|(_, traffic)| traffic.packets > 0) {
        table.add_row([name.clone(), traffic.packets.to_string(), traffic.bytes.to_string()]);
    }
    align_right(&mut table, &[1, 2]);
    table
}

fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
