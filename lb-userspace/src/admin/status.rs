//! What `sluice status` tells: the shape of `GET /v1/status`.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::budget::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{config::AdminState, dataplane, history::Aspect};

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Path of the configuration file.
    pub config: String,
    /// Where the program is attached.
    pub interfaces: Vec<Interface>,
    /// The program that gets what passes, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_program: Option<NextProgram>,
    /// How full the arena is.
    pub arena: Arena,
    /// How many flows are remembered.
    pub tracking: Tracking,
    /// Translated flows, where flows are translated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<Nat>,
    /// The other balancers, where there are some in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
    /// The services, by name.
    pub services: Vec<Service>,
    /// All packets by what became of them.
    pub reasons: BTreeMap<String, Traffic>,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// The XDP program that gets what passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextProgram {
    /// Where it was pinned.
    pub path: String,
    /// Its name, as far as the kernel keeps it.
    pub name: String,
    /// The kernel's number of it.
    pub id: u32,
}

/// Fill of the arena, in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Arena {
    /// In use.
    pub used: u32,
    /// All.
    pub slots: u32,
}

/// Flows that are remembered, as the last walk through their tables has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tracking {
    /// Flows that went on.
    pub connections: u32,
    /// Flows of which one packet was seen.
    pub openings: u32,
    /// Entries that there was no budget for (`limits.inserts`).
    pub refused: Refused,
}

/// Entries that were refused, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RefusedEntries)]
pub struct Refused {
    /// Of flows that went on.
    pub connections: u64,
    /// Of flows of which one packet was seen.
    pub openings: u64,
}

impl From<dataplane::Tracking> for Tracking {
    fn from(tracking: dataplane::Tracking) -> Self {
        let refused = |kind: Kind| tracking.refused[kind as usize];
        Self {
            connections: tracking.connections,
            openings: tracking.openings,
            refused: Refused { connections: refused(Kind::Connections), openings: refused(Kind::Openings) },
        }
    }
}

/// Translated flows, as the last walk through their tables has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nat {
    /// Those that both sides were heard of.
    pub sessions: u32,
    /// The most that there may be of them (`limits.nat_sessions`).
    pub most_sessions: u32,
    /// The others.
    pub openings: u32,
    /// The most that there may be of those (`limits.nat_openings`).
    pub most_openings: u32,
    /// How many there was no budget for (`limits.inserts`).
    pub refused: u64,
    /// Flows that have each address, also one that is not in the configuration any more.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub addresses: BTreeMap<IpAddr, u32>,
}

/// The balancers that this one talks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fleet {
    /// Which of them this host is; none where that is not known.
    #[schema(value_type = Option<String>)]
    pub own: Option<IpAddr>,
    /// Why it is not known.
    pub problem: Option<String>,
    /// The others, by address.
    pub peers: Vec<Peer>,
}

/// Another balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether it is heard.
    pub heard: bool,
    /// Why it is not.
    pub problem: Option<String>,
    /// Whether it listens.
    pub listens: bool,
    /// Flows that it was told of.
    pub flows_told: u64,
    /// Flows that it was not told of, since they came faster than it took them.
    pub flows_dropped: u64,
    /// Flows that it has told of.
    pub flows_heard: u64,
    /// Those of them that the tables do not place alone, and that are remembered here for that.
    pub flows_remembered: u64,
    /// Services whose table is the same there.
    pub same_tables: u32,
    /// Names of the services whose table is another there, or not known.
    pub other_tables: Vec<String>,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes as they arrived.
    pub bytes: u64,
}

impl From<lb_common::counter::Traffic> for Traffic {
    fn from(traffic: lb_common::counter::Traffic) -> Self {
        Self { packets: traffic.packets, bytes: traffic.bytes }
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The VIP.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Its port; 0 is every port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Digest of its table, 16 hex digits: equal on balancers with the same configuration and health.
    pub digest: String,
    /// How many tables were published.
    pub generation: u32,
    /// Length of its table.
    pub slots: u32,
    /// Slots whose old flows may still be elsewhere.
    pub moved_slots: u32,
    /// Live flows that are remembered.
    pub tracked_flows: u32,
    /// Whether clients should be sent here: what whoever announces the VIP goes by.
    #[serde(default)]
    pub available: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// `followed`; or `panic` or `all_down`, where they are not.
    #[serde(default)]
    pub probes: String,
    /// Which part of the new flows each priority is to have.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// Prefixes that its lists come to; none where it has no lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<u32>,
    /// The largest packet of a client's that fits on the way to every backend, in bytes; none where none gets to any.
    #[serde(default)]
    pub largest_packet: Option<u16>,
    /// What to do where that is less than what clients send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_warning: Option<String>,
    /// Its packets that were turned away, by cause.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// What became of its table since the daemon began.
    #[serde(default)]
    pub tables: Tables,
    /// How it goes from one version to the next, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// New flows that clients opened with its backends; none where packets do not tell which (udp that is not tracked).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_flows: Option<u64>,
    /// What was forwarded.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// The backends, by name.
    pub backends: Vec<Backend>,
}

/// What became of a service's table since the daemon began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tables {
    /// Slots that were moved, by all changes.
    pub moved_slots: u64,
    /// Those of them that moved between backends that nothing had happened to.
    pub collateral_slots: u64,
    /// The last change; none where there was none.
    pub last_change: Option<TableChange>,
    /// The last changes, the oldest first, where histories were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<TableChange>,
}

/// A change of a service's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TableChange {
    /// When, in seconds since 1970.
    pub at: f64,
    /// The generation that it made.
    pub generation: u32,
    /// Slots of the new table.
    pub slots: u32,
    /// Slots whose new flows went to another backend.
    pub moved_slots: u32,
    /// Those of them that went between backends that nothing had happened to; none where that cannot be told.
    pub collateral_slots: Option<u32>,
    /// Why.
    pub cause: String,
}

/// How a service goes from one version to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// Which versions run side by side.
    pub compatible: String,
    /// Which of them new flows go to: `newest`, `oldest` or `weight`.
    pub prefer: String,
    /// Whether a command has said so, and not the file.
    pub prefer_by_command: bool,
    /// What another one gets of them, such as `5%`; none where nothing is set apart.
    pub canary: Option<String>,
    /// Whether a command has said so, and not the file.
    pub canary_by_command: bool,
    /// The version that the operator has said go to.
    pub go: Option<String>,
    /// The least version of those that run; none while the backends of all have stopped.
    pub runs: Option<String>,
    /// All versions, the oldest first.
    pub versions: Vec<RolloutVersion>,
}

/// A version of a service with a roll-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutVersion {
    /// As the file has it.
    pub version: String,
    /// How many backends have it.
    pub backends: u32,
    /// Whether it is not compatible with what runs, and waits for that to stop.
    pub waits: bool,
    /// Its part of the table, 0 to 1.
    pub share: f64,
}

/// A change of a backend's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// When, in seconds since 1970.
    pub at: f64,
    /// What: `admin`, `health`, `weight`, `version`, `advice` or `damping`.
    pub what: Aspect,
    /// What it is from then on.
    pub is: String,
    /// Why.
    pub why: String,
}

/// The backends of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Level {
    /// Their priority.
    pub priority: u8,
    /// Their part of the new flows, 0 to 1.
    pub part: f64,
}

/// How far a backend's slow start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlowStart {
    /// So many parts of its share.
    pub step: u32,
    /// Of so many.
    pub steps: u32,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its own address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// `l2`, `ipip`, `gue` or `nat`; `local` where it is this host.
    pub forwarding: String,
    /// Its weight.
    pub weight: u32,
    /// What it runs, where the file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `ready`, `drain` or `maintenance`; `leaving` where it is gone from the file.
    pub admin: String,
    /// Whether a command has said so, and not the file.
    pub by_command: bool,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Why its health is what it is.
    pub reason: String,
    /// How it is probed; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What it says of itself: its state, its weight in per cent; none where it is not asked, or has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Why it is given no new flows though it is ready and up, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
    /// The last change of its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Change>,
    /// Its last changes, the oldest first, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Change>,
    /// The way to it, or why there is none.
    pub next_hop: String,
    /// Its part of the table, 0 to 1.
    pub share: f64,
    /// The part of the new flows that it is to have, 0 to 1: its share comes as near to this as slots can.
    #[serde(default)]
    pub promised: f64,
    /// The part of the service's packets that it got within the last minute, 0 to 1; none where there were none.
    #[serde(default)]
    pub measured: Option<f64>,
    /// Its level.
    #[serde(default)]
    pub priority: u8,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// How far its slow start has come; none where it has its whole share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// Live flows that are remembered to be with it, as of the last walk through their tables.
    pub tracked_flows: u32,
    /// Whether it gets no packet any more: it takes no new flows, and its old ones are gone or given up.
    pub empty: bool,
    /// Since when it is to be empty, in seconds since 1970; none where it is ready.
    pub draining_since: Option<u64>,
    /// How long ago the last packet of an old flow came, in seconds; none where none came since `draining_since`.
    pub last_packet_ago: Option<f64>,
    /// Seconds until it gives up the flows that are left; none where it may keep them.
    pub deadline_left: Option<f64>,
    /// The largest packet of a client's that fits on its way, in bytes; none where none gets there, or it is this host.
    #[serde(default)]
    pub largest_packet: Option<u16>,
    /// How many flows it may be given, where that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// New flows that clients opened with it; none where packets do not tell which (udp that is not tracked).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_flows: Option<u64>,
    /// What was forwarded to it.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// How a backend is probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Probe {
    /// The probe's type, as in the file.
    #[serde(rename = "type")]
    pub kind: String,
    /// `path`: to the VIP, by the way of clients' packets; or `direct`: to the backend's own address.
    pub via: String,
    /// Whom it talks to: an address, with a port where the type has one.
    pub target: String,
    /// Why it goes `direct` though it is to take the path; or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How many flows a backend may be given, by this balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// In a second.
    pub max_new_per_sec: Option<u32>,
    /// At a time.
    pub max_connections: Option<u32>,
    /// Those that it has.
    pub connections: u64,
}

/// How a backend is forwarded to that is this host.
pub const LOCAL: &str = "local";

/// The admin state of a backend that is gone from the file.
pub const LEAVING: &str = "leaving";

/// As it is written in the file.
#[must_use]
pub const fn admin(admin: AdminState) -> &'static str {
    match admin {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maintenance => "maintenance",
    }
}
