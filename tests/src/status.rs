//! What `sluice status --output json` prints, as far as the harness reads it.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

/// The whole answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The services.
    pub services: Vec<Service>,
    /// All packets, by the name of what became of them.
    pub reasons: BTreeMap<String, Traffic>,
    /// The other balancers, where there are some.
    pub fleet: Option<Fleet>,
    /// Translated flows, where flows are translated.
    pub nat: Option<Nat>,
}

/// Translated flows.
#[derive(Clone, Debug, Deserialize)]
pub struct Nat {
    /// How many both sides were heard of.
    pub sessions: u32,
    /// How many there may be.
    pub most_sessions: u32,
    /// How many have each address.
    pub addresses: BTreeMap<IpAddr, u32>,
}

/// The balancers that this one talks to.
#[derive(Clone, Debug, Deserialize)]
pub struct Fleet {
    /// Which of them this one is.
    pub own: Option<IpAddr>,
    /// The others.
    pub peers: Vec<Peer>,
}

/// Another balancer.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is heard.
    pub heard: bool,
    /// Whether it listens.
    pub listens: bool,
    /// Services whose table is the same there.
    pub same_tables: u32,
    /// Names of the others.
    pub other_tables: Vec<String>,
}

/// Packets.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Digest of its lookup table.
    pub digest: String,
    /// Number of its published table.
    pub generation: u64,
    /// Slots whose old flows may still be elsewhere.
    pub moved_slots: u32,
    /// Whether clients should be sent to it.
    #[serde(default)]
    pub available: bool,
    /// Why not.
    pub unavailable: Option<String>,
    /// `followed`, `panic` or `all_down`.
    #[serde(default)]
    pub probes: String,
    /// Flows that clients opened with it.
    pub opened_flows: Option<u64>,
    /// Packets that clients sent to it.
    pub packets: u64,
    /// The backends.
    pub backends: Vec<Backend>,
}

/// A backend of a service.
#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// `ready`, `drain`, `maintenance`, or `leaving` where the file has it no more.
    pub admin: String,
    /// `l2` or `ipip`.
    pub forwarding: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Why.
    pub reason: String,
    /// How it is probed.
    pub probe: Option<Probe>,
    /// What it says of itself, where it is asked.
    pub says: Option<String>,
    /// Why it gets no new flows though it is ready and up.
    pub held_back: Option<String>,
    /// Its part of the lookup table, 0 to 1.
    pub share: f64,
    /// The part of the new flows that it is to have, 0 to 1.
    #[serde(default)]
    pub promised: f64,
    /// How far its slow start has come.
    pub slow_start: Option<SlowStart>,
    /// Live flows that are remembered to be with it.
    pub tracked_flows: u32,
    /// Whether it gets no packet any more.
    pub empty: bool,
    /// Seconds since the last packet of an old flow, if one came since the drain began.
    pub last_packet_ago: Option<f64>,
    /// Flows that clients opened with it.
    pub opened_flows: Option<u64>,
    /// Packets that it was sent.
    pub packets: u64,
}

/// How a backend is probed.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    /// `path` or `direct`.
    pub via: String,
    /// Whom it talks to.
    pub target: String,
    /// Why it goes `direct` where it is to take the path.
    pub problem: Option<String>,
}

/// How far a slow start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SlowStart {
    /// So many parts of its share.
    pub step: u32,
}

impl Status {
    /// The service `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Packets with the reason `name`; 0 where there is no such reason.
    #[must_use]
    pub fn reason(&self, name: &str) -> u64 {
        self.reasons.get(name).map_or(0, |traffic| traffic.packets)
    }

    /// All packets, by reason.
    #[must_use]
    pub fn packets_by_reason(&self) -> BTreeMap<String, u64> {
        self.reasons.iter().map(|(name, traffic)| (name.clone(), traffic.packets)).collect()
    }

    /// Whether there are services, and every backend of each, but for those that leave, is up and has a share of the
    /// table.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let backends = self.services.iter().flat_map(|service| &service.backends);
        let mut staying = backends.filter(|backend| backend.admin != "leaving").peekable();
        staying.peek().is_some() && staying.all(|backend| backend.health == "up" && backend.share > 0.0)
    }
}

impl Service {
    /// The backend `name`.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}
