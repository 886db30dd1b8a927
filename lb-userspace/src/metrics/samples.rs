//! From what is known to samples.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lb_common::counter::{Fate, Reason};

use super::{
    definitions as of,
    exposition::{Exposition, Label, Value},
    meters::{Ending, Meters},
    process::Process,
};
use crate::{
    admin::status::{self, Backend, Service, Status},
    config::Limits,
};

/// What is known at one time.
#[derive(Debug)]
pub struct Snapshot {
    /// How everything is.
    pub status: Status,
    /// The sizes of the maps.
    pub limits: Limits,
    /// What the daemon has counted.
    pub meters: Arc<Meters>,
    /// When the monotonic clock began, since 1970.
    pub boot: Duration,
    /// Whether the program is attached and has tables.
    pub forwards: bool,
    /// Events that wait, and how many may.
    pub events: (usize, usize),
}

/// All samples of `snapshot`; those of backends only where they are asked for.
#[must_use]
pub fn expose(snapshot: &Snapshot, process: Option<&Process>, with_backends: bool) -> Exposition {
    let mut to = Exposition::default();
    for service in &snapshot.status.services {
        add_service(&mut to, service, with_backends);
    }
    add_packets(&mut to, &snapshot.status);
    add_flows(&mut to, snapshot);
    add_probes(&mut to, snapshot);
    add_peers(&mut to, &snapshot.status);
    add_daemon(&mut to, snapshot);
    if let Some(process) = process {
        add_process(&mut to, process, snapshot.boot);
    }
    to
}

fn add_service(to: &mut Exposition, service: &Service, with_backends: bool) {
    let name: Label = service.name.as_str().into();
    to.add(&of::SERVICE_PACKETS, [&name], service.traffic.packets);
    to.add(&of::SERVICE_BYTES, [&name], service.traffic.bytes);
    if let Some(opened) = service.opened_flows {
        to.add(&of::SERVICE_OPENED, [&name], opened);
    }
    for (cause, packets) in &service.refused {
        to.add(&of::SERVICE_REFUSED, [&name, &cause.as_str().into()], *packets);
    }
    to.add(&of::SERVICE_AVAILABLE, [&name], service.available);
    to.add(&of::SERVICE_PROBES_FOLLOWED, [&name], service.probes == FOLLOWED);
    for health in HEALTHS {
        let backends = service.backends.iter().filter(|backend| backend.health == health).count();
        to.add(&of::SERVICE_BACKENDS, [&name, &health.into()], backends as u32);
    }
    to.add(&of::SERVICE_TRACKED, [&name], service.tracked_flows);
    add_table(to, &name, service);
    if with_backends {
        for backend in &service.backends {
            add_backend(to, &name, backend);
        }
    }
}

/// What the status says where probes are believed.
const FOLLOWED: &str = "followed";

const HEALTHS: [&str; 3] = ["up", "down", "unknown"];

fn add_table(to: &mut Exposition, name: &Label, service: &Service) {
    let Service { address, port, protocol, digest, tables, .. } = service;
    let [address, port, protocol, digest] =
        [address.to_string(), port.to_string(), protocol.clone(), digest.clone()].map(Label::from);
    to.add(&of::TABLE, [name, &address, &port, &protocol, &digest], Value::Info);
    to.add(&of::TABLE_SLOTS, [name], service.slots);
    to.add(&of::TABLE_GENERATION, [name], service.generation);
    to.add(&of::TABLE_UNSETTLED, [name], service.moved_slots);
    to.add(&of::TABLE_MOVED, [name], tables.moved_slots);
    to.add(&of::TABLE_COLLATERAL, [name], tables.collateral_slots);
    let Some(last) = &tables.last_change else { return };
    to.add(&of::TABLE_LAST_MOVED, [name], last.moved_slots);
    if let Some(collateral) = last.collateral_slots {
        to.add(&of::TABLE_LAST_COLLATERAL, [name], collateral);
    }
    to.add(&of::TABLE_LAST_CHANGE, [name], last.at);
}

fn add_backend(to: &mut Exposition, service: &Label, backend: &Backend) {
    let name: Label = backend.name.as_str().into();
    let labels = [service, &name];
    to.add(&of::BACKEND_PACKETS, labels, backend.traffic.packets);
    to.add(&of::BACKEND_BYTES, labels, backend.traffic.bytes);
    if let Some(opened) = backend.opened_flows {
        to.add(&of::BACKEND_OPENED, labels, opened);
    }
    to.add(&of::BACKEND_TRACKED, labels, backend.tracked_flows);
    to.add(&of::BACKEND_HEALTH, [service, &name, &backend.health.as_str().into()], true);
    to.add(&of::BACKEND_ADMIN, [service, &name, &backend.admin.as_str().into()], true);
    to.add(&of::BACKEND_WEIGHT, labels, backend.weight);
    to.add(&of::BACKEND_PROMISED, labels, backend.promised);
    to.add(&of::BACKEND_SHARE, labels, backend.share);
    if let Some(measured) = backend.measured {
        to.add(&of::BACKEND_MEASURED, labels, measured);
    }
    to.add(&of::BACKEND_EMPTY, labels, backend.empty);
}

fn add_packets(to: &mut Exposition, status: &Status) {
    for reason in Reason::ALL {
        let status::Traffic { packets, bytes } =
            status.reasons.get(reason.name()).copied().unwrap_or_default();
        let fate = match reason.fate() {
            Fate::Pass => "pass",
            Fate::Forward => "forward",
            Fate::Answer => "answer",
            Fate::Drop => "drop",
        };
        let labels = [reason.name(), fate].map(Label::from);
        to.add(&of::REASON_PACKETS, labels.each_ref(), packets);
        to.add(&of::REASON_BYTES, labels.each_ref(), bytes);
    }
}

fn add_flows(to: &mut Exposition, snapshot: &Snapshot) {
    let Snapshot { status, limits, .. } = snapshot;
    let tracking = status.tracking;
    let mut tables = vec![
        ("connections", tracking.connections, limits.connections, Some(tracking.refused.connections)),
        ("openings", tracking.openings, limits.openings, Some(tracking.refused.openings)),
    ];
    if let Some(nat) = &status.nat {
        tables.push(("nat_sessions", nat.sessions, nat.most_sessions, Some(nat.refused)));
        tables.push(("nat_openings", nat.openings, nat.most_openings, None));
        for (address, flows) in &nat.addresses {
            to.add(&of::NAT_ADDRESS_FLOWS, [&address.to_string().into()], *flows);
        }
    }
    for (table, entries, most, refused) in tables {
        let table: Label = table.into();
        to.add(&of::TRACKING_ENTRIES, [&table], entries);
        to.add(&of::TRACKING_MOST, [&table], most);
        if let Some(refused) = refused {
            to.add(&of::TRACKING_REFUSED, [&table], refused);
        }
    }
    to.add(&of::ARENA_USED, [], status.arena.used);
    to.add(&of::ARENA_SLOTS, [], status.arena.slots);
}

fn add_probes(to: &mut Exposition, snapshot: &Snapshot) {
    let services: BTreeSet<&str> =
        snapshot.status.services.iter().map(|service| service.name.as_str()).collect();
    for (service, kind, probes) in snapshot.meters.probes(&services) {
        let (service, kind): (Label, Label) = (service.into(), kind.into());
        for (ending, count) in probes.ended() {
            to.add(&of::PROBES, [&service, &kind, &Ending::name(ending).into()], count);
        }
        to.add(&of::PROBE_SECONDS, [&service, &kind], Value::Durations(probes.took));
    }
}

fn add_peers(to: &mut Exposition, status: &Status) {
    for peer in status.fleet.iter().flat_map(|fleet| &fleet.peers) {
        let address: Label = peer.address.to_string().into();
        to.add(&of::PEER_HEARD, [&address], peer.heard);
        to.add(&of::PEER_TOLD, [&address], peer.flows_told);
        to.add(&of::PEER_DROPPED, [&address], peer.flows_dropped);
        to.add(&of::PEER_HEARD_FLOWS, [&address], peer.flows_heard);
        to.add(&of::PEER_OTHER_TABLES, [&address], peer.other_tables.len() as u32);
    }
}

fn add_daemon(to: &mut Exposition, snapshot: &Snapshot) {
    let Snapshot { status, meters, boot, forwards, events, .. } = snapshot;
    to.add(&of::BUILD, [&status.version.as_str().into()], Value::Info);
    for interface in &status.interfaces {
        let labels = [&interface.name, &interface.mode].map(|text| Label::from(text.as_str()));
        to.add(&of::INTERFACE, labels.each_ref(), Value::Info);
    }
    to.add(&of::FORWARDING, [], *forwards);
    for (result, is_ok) in [("ok", true), ("failed", false)] {
        to.add(&of::RELOADS, [&result.into()], meters.reloads(is_ok));
    }
    to.add(&of::RELOAD_LAST, [], (*boot + meters.read_at()).as_secs_f64());
    to.add(&of::RELOAD_LAST_OK, [], !meters.has_reload_failed());
    for (metric, histogram) in [
        (&of::PLAN_SECONDS, &meters.plan),
        (&of::APPLY_SECONDS, &meters.apply),
        (&of::WALK_SECONDS, &meters.walk),
    ] {
        to.add(metric, [], Value::Durations(histogram.clone()));
    }
    to.add(&of::FOLLOW_FAILED, [], meters.failures());
    to.add(&of::EVENTS_WAITING, [], events.0 as u32);
    to.add(&of::EVENTS_MOST, [], events.1 as u32);
}

#[expect(clippy::cast_precision_loss, reason = "no process has as many bytes")]
fn add_process(to: &mut Exposition, process: &Process, boot: Duration) {
    to.add(&of::CPU_SECONDS, [], process.cpu_seconds);
    to.add(&of::RESIDENT_BYTES, [], process.resident_bytes as f64);
    to.add(&of::VIRTUAL_BYTES, [], process.virtual_bytes as f64);
    to.add(&of::OPEN_FDS, [], process.open_fds as f64);
    if let Some(most) = process.max_fds {
        to.add(&of::MAX_FDS, [], most as f64);
    }
    to.add(&of::START_SECONDS, [], boot.as_secs_f64() + process.started);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::tests::{backend, service, status},
        metrics::{
            Format,
            definitions::{Definition, all},
        },
    };

    fn snapshot() -> Snapshot {
        let web = Backend { measured: Some(0.4), opened_flows: Some(3), ..backend("web-1") };
        let mut status = status(vec![service("web", vec![web])]);
        status.services[0].refused.insert("denied".to_owned(), 5);
        status.services[0].tables.last_change = Some(status::TableChange {
            at: 1.0,
            generation: 1,
            slots: 4099,
            moved_slots: 3,
            collateral_slots: Some(0),
            cause: String::new(),
        });
        status.interfaces = vec![status::Interface { name: "eth0".to_owned(), mode: "native".to_owned() }];
        let address = "198.51.100.250".parse().unwrap();
        status.nat = Some(status::Nat { addresses: [(address, 2)].into(), ..status::Nat::default() });
        let peer = status::Peer {
            address: "192.0.2.2".parse().unwrap(),
            heard: true,
            problem: None,
            listens: true,
            flows_told: 0,
            flows_dropped: 0,
            flows_heard: 0,
            flows_remembered: 0,
            same_tables: 1,
            other_tables: Vec::new(),
        };
        status.fleet = Some(status::Fleet { own: None, problem: None, peers: vec![peer] });
        let meters = Meters::new(Duration::ZERO);
        meters.note_probe("web", "tcp", Ending::Passed, Duration::from_millis(1));
        let limits = Limits {
            services: 1,
            backends: 1,
            slots: 1,
            connections: 1,
            openings: 1,
            inserts: 1,
            sources: 1,
            answers: 1,
            fragments: 1,
            nat_sessions: 1,
            nat_openings: 1,
        };
        Snapshot {
            status,
            limits,
            meters: Arc::new(meters),
            boot: Duration::ZERO,
            forwards: true,
            events: (0, 8),
        }
    }

    #[test]
    fn every_metric_is_exposed_by_a_daemon_that_has_everything() {
        let process = Process { max_fds: Some(1024), ..Process::read().unwrap() };
        let text = expose(&snapshot(), Some(&process), true).written(Format::Prometheus).unwrap();
        let missing: Vec<_> = all()
            .map(Definition::queried)
            .filter(|name| !text.contains(&format!("# TYPE {name} ")))
            .collect();
        assert_eq!(missing, Vec::<String>::new(), "{text}");
    }

    #[test]
    fn backends_are_left_out_where_they_are_not_asked_for() {
        let text = expose(&snapshot(), None, false).written(Format::OpenMetrics).unwrap();
        assert!(!text.contains("sluice_backend_") && text.contains("sluice_service_packets_total"), "{text}");
    }
}
