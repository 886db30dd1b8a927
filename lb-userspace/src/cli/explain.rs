//! `sluice explain`: where a packet goes, and why.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::daemon::{DaemonArgs, Output, print, print_json};
use crate::admin::{
    client,
    explain::{Explanation, Request},
};

/// Arguments of `sluice explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the flow comes from, such as `192.0.2.7:5555` or `[2001:db8::7]:5555`
    #[arg(required_unless_present = "packet_hex")]
    source: Option<String>,
    /// Where it goes to, such as `203.0.113.10:80/tcp`
    #[arg(required_unless_present = "packet_hex")]
    destination: Option<String>,
    /// A packet that opens the flow, and not one that goes on with it
    #[arg(long)]
    syn: bool,
    /// A whole frame in hexadecimal digits, from the Ethernet header on, in place of source and destination
    #[arg(long, value_name = "HEX", conflicts_with_all = ["source", "destination", "syn"])]
    packet_hex: Option<String>,
    /// The interface that it comes by; the first of the configuration where it is not said
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Runs `sluice explain`.
pub(super) fn run(args: &Args) -> Result<()> {
    let request = Request {
        source: args.source.clone(),
        destination: args.destination.clone(),
        syn: args.syn,
        packet: args.packet_hex.clone(),
        interface: args.interface.clone(),
    };
    let explained: Explanation =
        super::runtime()?.block_on(client::post(&args.daemon.endpoint, "/v1/explain", &request))?;
    match args.daemon.output {
        Output::Json => print_json(&explained)?,
        Output::Table => print(&render(&explained))?,
    }
    if let Some(disagreement) = &explained.disagreement {
        bail!("{disagreement}");
    }
    Ok(())
}

fn render(explained: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    let verdict = format!("{}, {}: {}", explained.fate, explained.reason, explained.meaning);
    line("verdict", &verdict);
    if !explained.remedy.is_empty() {
        line("", &format!("what to do: {}", explained.remedy));
    }
    if explained.next_program {
        line("", "another XDP program decides about it next (balancer.next_program)");
    }
    line("flow", explained.flow.as_deref().unwrap_or("none"));
    line("service", &service(explained));
    if let (Some(hash), Some(slot)) = (&explained.hash, &explained.slot) {
        let name = |backend: &Option<String>| backend.clone().unwrap_or_else(|| "nobody".to_owned());
        let state = if slot.settled {
            format!("settled, {}", name(&slot.current))
        } else {
            format!("moved, current {}, previous {}", name(&slot.current), name(&slot.previous))
        };
        line("hash", hash);
        line("slot", &format!("{}: {state}", slot.index));
    }
    for entry in &explained.remembered {
        let ends = if entry.ends { ", and it ends" } else { "" };
        let silent = entry.silent_for;
        line(
            "remembered",
            &format!("with {} in {}, silent for {silent:.1} s{ends}", entry.backend, entry.table),
        );
    }
    if explained.remembered.is_empty() {
        line("remembered", "nothing");
    }
    for entry in &explained.would_remember {
        line("", &format!("a real packet would be remembered in {entry}"));
    }
    if let Some(backend) = &explained.backend {
        line("backend", &format!("{} ({}, {})", backend.name, backend.address, backend.forwarding));
        line("next hop", &backend.next_hop);
    }
    packet(&mut text, &format!("arrives by {}", explained.interface), &explained.headers, &explained.bytes);
    match &explained.leaves {
        Some(leaves) => {
            packet(&mut text, &format!("leaves by {}", leaves.interface), &leaves.headers, &leaves.bytes);
        }
        None => text.push_str("\nleaves not\n"),
    }
    text.trim_end().to_owned()
}

fn service(explained: &Explanation) -> String {
    explained.service.as_ref().map_or_else(
        || "none".to_owned(),
        |service| {
            let crate::admin::explain::Service { name, generation, digest, slots } = service;
            format!("{name}, generation {generation}, digest {digest}, {slots} slots")
        },
    )
}

/// The headers, and the bytes sixteen in a line.
fn packet(text: &mut String, title: &str, headers: &[String], bytes: &str) {
    let _ = writeln!(text, "\n{title}");
    for header in headers {
        let _ = writeln!(text, "  {header}");
    }
    for (at, row) in bytes.as_bytes().chunks(32).enumerate() {
        let row: Vec<_> = row.chunks(2).map(String::from_utf8_lossy).collect();
        let _ = writeln!(text, "    {:04x}  {}", 16 * at, row.join(" "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::explain::{Backend, Leaves, Remembered, Service, Slot};

    #[test]
    fn explanation_is_read_from_top_to_bottom() {
        let explained = Explanation {
            interface: "eth0".to_owned(),
            flow: Some("192.0.2.7:5555 -> 203.0.113.10:80/tcp".to_owned()),
            service: Some(Service {
                name: "web".to_owned(),
                generation: 3,
                digest: "00112233aabbccdd".to_owned(),
                slots: 4099,
            }),
            hash: Some("0123456789abcdef".to_owned()),
            slot: Some(Slot {
                index: 17,
                current: Some("b2".to_owned()),
                previous: Some("b1".to_owned()),
                settled: false,
            }),
            remembered: vec![Remembered {
                table: "connections".to_owned(),
                backend: "b1".to_owned(),
                silent_for: 1.25,
                ends: false,
            }],
            reason: "transmitted".to_owned(),
            fate: "forwarded".to_owned(),
            meaning: "sent to a backend by the interface that it came by".to_owned(),
            remedy: String::new(),
            disagreement: None,
            would_remember: vec!["connections: b2".to_owned()],
            backend: Some(Backend {
                name: "b1".to_owned(),
                address: "192.0.2.11".parse().unwrap(),
                forwarding: "l2".to_owned(),
                next_hop: "02:00:00:00:00:11 on eth0".to_owned(),
            }),
            next_program: false,
            headers: vec!["TCP 5555 -> 80, ACK".to_owned()],
            bytes: "00112233445566778899aabbccddeeff0102".to_owned(),
            leaves: Some(Leaves {
                interface: "eth0".to_owned(),
                headers: Vec::new(),
                bytes: "ff".to_owned(),
            }),
        };
        insta::assert_snapshot!(render(&explained), @r"
        verdict     forwarded, transmitted: sent to a backend by the interface that it came by
        flow        192.0.2.7:5555 -> 203.0.113.10:80/tcp
        service     web, generation 3, digest 00112233aabbccdd, 4099 slots
        hash        0123456789abcdef
        slot        17: moved, current b2, previous b1
        remembered  with b1 in connections, silent for 1.2 s
                    a real packet would be remembered in connections: b2
        backend     b1 (192.0.2.11, l2)
        next hop    02:00:00:00:00:11 on eth0

        arrives by eth0
          TCP 5555 -> 80, ACK
            0000  00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff
            0010  01 02

        leaves by eth0
            0000  ff
        ");
    }
}
