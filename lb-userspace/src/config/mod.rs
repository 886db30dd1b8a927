//! The configuration: one TOML file, checked as a whole.
//!
//! [`Config`] is what the rest of the daemon sees: every value in it is possible, every default filled in, every name
//! unique. A file that does not get that far yields [`Diagnostics`], which name file, line, column, key, value and
//! remedy; nothing is half-loaded.
//!
//! `load` parses the text into a spanned document, `section` and `value` read its tables key by key, one module per
//! kind of table makes sense of them, `coherence` checks what one service adds up to, and `whole` what all do.

mod address;
mod affinity;
mod api;
mod backend;
mod balancer;
mod check;
mod coherence;
mod compared;
mod cookies;
mod diagnostics;
mod document;
mod effective;
mod file;
mod flap;
mod fleet;
mod guard;
mod gue;
mod keys;
mod limits;
mod list;
mod load;
mod location;
mod mss;
mod nat;
mod passive;
mod places;
mod policy;
mod probe;
mod quic;
mod reader;
mod rollout;
mod schema;
mod secrets;
mod section;
mod service;
mod shape;
mod sharing;
mod suggest;
#[cfg(test)]
mod tests;
mod value;
mod whole;

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use ipnet::IpNet;
use lb_common::{
    backend::{Forwarding as Mode, OldFlows},
    guard::OnFull,
    hash::Seed,
    quic::ServerId,
    service::{ServiceKey, Track},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::version::Version;

pub use api::{Api, Certificate, Clients};
pub use balancer::{Balancer, XdpMode};
pub use check::{
    Check, DnsCheck, GrpcCheck, HttpCheck, HttpVersion, Rcode, Record, TlsCheck, Trust, UdpCheck,
};
pub use diagnostics::{Diagnostic, Diagnostics, Warning};
pub use document::{BackendKeys, ServiceKeys};
pub use effective::Effective;
pub use flap::Flap;
pub use guard::{Guard, SourceRate};
pub use gue::Gue;
pub use keys::{KeyChange, Keys};
pub(crate) use list::fingerprint;
pub use load::Text;
pub use location::Location;
pub use mss::Mss;
pub use nat::Nat;
pub use passive::Passive;
pub use probe::{Probe, Via};
pub use reader::Reader;
pub use rollout::{Canary, Compatible, NoShare, Pattern, PreferVersion, Rollout};
pub use secrets::redact;
pub use sharing::{AllDown, DATACENTRE_LABELS, MinHealthy, Panic, Prefer, Scope, Sharing};

/// The seed of a fleet that has set none: known to everybody, so it keeps nobody from aiming flows at one slot.
pub const DEFAULT_SEED: Seed = Seed(*b"sluice fleet key");

/// The heaviest backend: the weights of [`lb_common::slot::MAX_BACKENDS`] such backends still add up within 32 bits.
pub const MAX_WEIGHT: u32 = 65_535;

/// How long a drain may be allowed to last. Whoever means longer means no deadline.
pub const DRAIN_DEADLINES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(30 * 24);

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How this balancer attaches.
    pub balancer: Balancer,
    /// What all balancers of a fleet share.
    pub fleet: Fleet,
    /// Sizes of the maps, fixed while the daemon runs.
    pub limits: Limits,
    /// The lists, sorted by name.
    pub lists: Vec<List>,
    /// The services, sorted by name.
    pub services: Vec<Arc<Service>>,
}

/// What all balancers of a fleet share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Key of every hash and table.
    pub seed: Seed,
    /// Whether `seed` was left out, and is the one that everybody knows.
    pub seed_is_default: bool,
    /// One address of every balancer, this host's own among them, all of one family; none: they do not talk.
    pub peers: Vec<IpAddr>,
    /// TCP port that they talk on.
    pub port: u16,
}

/// Sizes of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Services, VIPs (one entry each) included.
    pub services: u32,
    /// Backends over all services.
    pub backends: u32,
    /// Slots over all tables. The old and the new table of a service exist side by side while it changes.
    pub slots: u32,
    /// Entries of the connection table: flows that went on.
    pub connections: u32,
    /// Entries of the table of openings: flows of which one packet was seen.
    pub openings: u32,
    /// Entries that are made in either table in a second, over all CPUs.
    pub inserts: u32,
    /// Sources whose rate is remembered at a time.
    pub sources: u32,
    /// Answers of the balancer's own in a second, over all CPUs, TCP resets aside.
    pub answers: u32,
    /// Fragmented packets whose first fragment is remembered.
    pub fragments: u32,
    /// Translated flows that were seen to go on.
    pub nat_sessions: u32,
    /// Translated flows that were not, or not yet.
    pub nat_openings: u32,
}

/// What clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Port; 0 is every port.
    pub port: u16,
    /// What travels over it.
    pub protocol: Protocol,
    /// Length of the lookup table: a prime.
    pub slots: u32,
    /// Which flows are remembered.
    pub track: Track,
    /// How long a flow may be silent and still be remembered.
    pub idle_timeout: Duration,
    /// Leading bits of a client's address that choose its backend; 0: the whole flow does.
    pub source_bits: u8,
    /// How long a backend that is down keeps its old flows.
    pub down_grace: Duration,
    /// What becomes of them after that.
    pub on_down: OldFlows,
    /// What becomes of the old flows of a backend that is gone from the file.
    pub on_remove: OnRemove,
    /// How long a drain may last, where the operator has not said otherwise of the backend; none: for ever.
    pub drain_deadline: Option<Duration>,
    /// What becomes of the flows that are left then.
    pub on_deadline: OnDeadline,
    /// Sources of outer headers, at most one prefix per family. Bits beyond the prefix length vary per flow.
    pub tunnel_source: Vec<IpNet>,
    /// How packets are packed for backends behind GUE.
    pub gue: Gue,
    /// What becomes of a flow that opens while its backend has as many as it may have.
    pub on_full: OnFull,
    /// Who may open flows, and how often.
    pub guard: Guard,
    /// Whether pings of the VIP are answered.
    pub echo: bool,
    /// Whether fragments follow the first one of their packet; otherwise they are dropped.
    pub fragments: bool,
    /// The largest MSS that SYNs of clients may announce; none: they are left as they are.
    pub mss: Option<Mss>,
    /// How backends are probed; none: they are up.
    pub probe: Option<Probe>,
    /// When backends are taken for down by how connections open with them; none: never.
    pub passive: Option<Passive>,
    /// When a backend changes its health too often to be given flows; none: never.
    pub flap: Option<Flap>,
    /// What connection ids look like; none: they are not read.
    pub quic: Option<Quic>,
    /// How it goes from one version to the next; none: versions mean nothing.
    pub rollout: Option<Rollout>,
    /// Which backends get how much of the new flows.
    pub sharing: Sharing,
    /// The backends, sorted by name.
    pub backends: Vec<Backend>,
}

impl Service {
    /// The backend `name`.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        let at = self.backends.binary_search_by(|backend| backend.name.as_str().cmp(name)).ok()?;
        Some(&self.backends[at])
    }

    /// Whether probes of `backend` take the way of clients' packets, where that can be had.
    #[must_use]
    pub fn is_probed_by_path(&self, backend: &Backend) -> bool {
        let via = self.probe.as_ref().map_or(Via::Direct, |probe| probe.via);
        via == Via::Path && backend.forwarding.keeps_packets()
    }

    /// What packets find it by.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        ServiceKey::new(self.address.into(), self.port, self.protocol.number())
    }

    /// Where a backend is probed, if it is.
    #[must_use]
    pub fn probe_target(&self, backend: &Backend) -> Option<SocketAddr> {
        let probe = self.probe.as_ref()?;
        let own = backend.port.filter(|_| probe.follows_backend);
        Some((backend.address, own.unwrap_or(probe.port)).into())
    }
}

/// Prefixes that services allow or deny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Unique name.
    pub name: String,
    /// The file that has them, or more of them, as it is written.
    pub file: Option<PathBuf>,
    /// Tells contents of that file apart.
    pub fingerprint: u64,
    /// All of them.
    pub prefixes: Arc<[IpNet]>,
}

/// What becomes of the old flows of a backend that is gone from the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRemove {
    /// They stay until they end.
    #[default]
    Drain,
    /// They move at once.
    Drop,
}

/// What becomes of the flows that are left when a drain has lasted for as long as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDeadline {
    /// Other backends get them, which know nothing of them
    #[default]
    Move,
    /// They are answered with a TCP reset, so that clients connect anew at once
    Reset,
}

impl From<OnDeadline> for OldFlows {
    fn from(on_deadline: OnDeadline) -> Self {
        match on_deadline {
            OnDeadline::Move => Self::Move,
            OnDeadline::Reset => Self::Reset,
        }
    }
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// QUIC, over UDP.
    Quic,
}

impl Protocol {
    /// IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp | Self::Quic => 17,
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Quic => "quic",
        }
    }
}

/// A host that serves a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name, unique within the service; its identity over reloads.
    pub name: String,
    /// The host's own address.
    pub address: IpAddr,
    /// Share of new flows relative to the other backends; 0: none.
    pub weight: u32,
    /// What it runs; every backend of a service with a roll-out has one.
    pub version: Option<Version>,
    /// Its level: 0 is asked first.
    pub priority: u8,
    /// Where it is.
    pub location: Option<Location>,
    /// What the operator wants of it.
    pub admin: AdminState,
    /// How packets reach it; the service's mode where it has none of its own.
    pub forwarding: Forwarding,
    /// Its own port, where that is not the one that clients connect to.
    pub port: Option<u16>,
    /// What QUIC's connection ids call it, where the service's do.
    pub server_id: Option<ServerId>,
    /// How many flows it may be given.
    pub limits: BackendLimits,
}

impl Backend {
    /// One that is in no file: it takes no new flows.
    #[must_use]
    pub const fn unlisted(name: String, address: IpAddr, forwarding: Forwarding) -> Self {
        Self {
            name,
            address,
            weight: 0,
            version: None,
            priority: 0,
            location: None,
            admin: AdminState::Drain,
            forwarding,
            port: None,
            server_id: None,
            limits: BackendLimits { max_new_per_sec: None, max_connections: None },
        }
    }
}

/// What connection ids of a QUIC service look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quic {
    /// The config in their first octet, below [`lb_common::quic::UNROUTABLE`].
    pub config_id: u8,
    /// Bytes of the server ids.
    pub server_id_length: u8,
}

/// How many flows a backend may be given, by this balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendLimits {
    /// In a second.
    pub max_new_per_sec: Option<u32>,
    /// At a time.
    pub max_connections: Option<u32>,
}

impl BackendLimits {
    /// Whether there is any.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.max_new_per_sec.is_some() || self.max_connections.is_some()
    }
}

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// New MAC addresses; the backend must be a direct neighbour.
    L2,
    /// IP in IP, of any family in any family.
    Ipip,
    /// IP in UDP, of any family in any family.
    Gue,
    /// New addresses and ports, both ways; of the VIP's family.
    Nat,
}

impl Forwarding {
    /// Whether packets get to the backend as clients have sent them, so that it answers for the VIP itself.
    #[must_use]
    pub const fn keeps_packets(self) -> bool {
        matches!(self, Self::L2 | Self::Ipip | Self::Gue)
    }

    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
        }
    }

    /// The mode of a backend's entry in the data plane, where it says one.
    #[must_use]
    pub const fn of(mode: u8) -> Option<Self> {
        const L2: u8 = Mode::L2 as u8;
        const FIRST_IPIP: u8 = Mode::Ipip4 as u8;
        const LAST_IPIP: u8 = Mode::Ipip6 as u8;
        const FIRST_GUE: u8 = Mode::Gue4 as u8;
        const LAST_GUE: u8 = Mode::Gue6Direct as u8;
        const NAT: u8 = Mode::Nat as u8;
        match mode {
            L2 => Some(Self::L2),
            FIRST_IPIP..=LAST_IPIP => Some(Self::Ipip),
            FIRST_GUE..=LAST_GUE => Some(Self::Gue),
            NAT => Some(Self::Nat),
            _ => None,
        }
    }
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Takes flows.
    #[default]
    Ready,
    /// Keeps its flows, takes no new ones.
    Drain,
    /// Takes no flows.
    Maintenance,
}
