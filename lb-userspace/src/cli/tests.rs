//! What a daemon might have said, for the tests of those who read it.

use std::collections::BTreeMap;

use crate::admin::status::{Arena, Backend, Level, Service, Status, Tables, Tracking, Traffic};

/// A backend that is ready and up.
pub(crate) fn backend(name: &str) -> Backend {
    Backend {
        name: name.to_owned(),
        address: "192.0.2.11".parse().unwrap(),
        forwarding: "l2".to_owned(),
        weight: 1,
        version: None,
        admin: "ready".to_owned(),
        by_command: false,
        health: "up".to_owned(),
        reason: String::new(),
        probe: None,
        says: None,
        held_back: None,
        last_change: None,
        history: Vec::new(),
        next_hop: "02:00:00:00:00:11 on eth0".to_owned(),
        share: 1.0,
        measured: None,
        opened_flows: Some(0),
        promised: 1.0,
        priority: 0,
        location: None,
        slow_start: None,
        tracked_flows: 0,
        empty: false,
        draining_since: None,
        last_packet_ago: None,
        deadline_left: None,
        largest_packet: Some(1500),
        limits: None,
        traffic: Traffic::default(),
    }
}

pub(crate) fn service(name: &str, backends: Vec<Backend>) -> Service {
    Service {
        name: name.to_owned(),
        address: "203.0.113.10".parse().unwrap(),
        port: 80,
        protocol: "tcp".to_owned(),
        digest: "0123456789abcdef".to_owned(),
        generation: 1,
        slots: 4099,
        moved_slots: 0,
        tracked_flows: 0,
        available: true,
        unavailable: None,
        probes: "followed".to_owned(),
        levels: vec![Level { priority: 0, part: 1.0 }],
        largest_packet: Some(1500),
        size_warning: None,
        prefixes: None,
        refused: BTreeMap::new(),
        tables: Tables::default(),
        rollout: None,
        opened_flows: Some(0),
        traffic: Traffic::default(),
        backends,
    }
}

pub(crate) fn status(services: Vec<Service>) -> Status {
    Status {
        version: "0".to_owned(),
        config: "sluice.toml".to_owned(),
        interfaces: Vec::new(),
        next_program: None,
        arena: Arena { used: 0, slots: 1 },
        tracking: Tracking::default(),
        nat: None,
        fleet: None,
        services,
        reasons: BTreeMap::new(),
    }
}
