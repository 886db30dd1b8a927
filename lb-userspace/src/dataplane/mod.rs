//! The data plane behind one seam: the kernel's ([`ebpf`]), or one in memory ([`memory`]) for tests.

pub mod attach;
pub mod capture;
mod counted;
mod counters;
mod debug_log;
pub mod ebpf;
mod flows;
pub mod guards;
pub mod held;
pub mod inherited;
pub mod load;
pub mod mapped;
pub mod memory;
mod news;
pub mod next;
pub mod pins;
mod server_ids;
pub mod sessions;
pub mod shadow;

use std::time::Duration;

use aya::maps::MapError;
use bytemuck::Zeroable as _;
use lb_common::{
    budget::Kind,
    connection::{Closing, Connection},
    counter::{Reason, Traffic},
    flow::Flow,
    nat::Pool,
    quic::{Server, ServerKey},
};

use self::mapped::Mapped;
use crate::{
    config::Limits,
    reconcile::{Image, LiveFlow, Op, ReadSlots},
};

/// The XDP programs, as `cargo xtask build-ebpf` compiled them.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice.o"));

/// What the daemon does with a data plane.
pub trait DataPlane: ReadSlots {
    /// Carries out operations in order. What packets see is memory, which takes any store; counters and remembered flows
    /// that cannot be cleared are told and left.
    fn apply(&mut self, ops: &[Op]);

    /// Walks both tables of flows: deletes the entries of flows that were silent for longer than `idle` says for
    /// their service (or whose service is unknown to it, or that ended), and gives the others. `now` is on the monotonic
    /// clock.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    fn sweep(
        &mut self,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<Vec<LiveFlow>, DataPlaneError>;

    /// Whom the server ids in connection ids name.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    fn server_ids(&self) -> Result<Vec<(ServerKey, Server)>, DataPlaneError>;

    /// How full the tables of flows were when they were walked last, and what their budgets have refused.
    fn tracking(&self) -> Tracking;

    /// The flows of the connection table, those included that were silent for long.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    fn remembered(&self) -> Result<Vec<(Flow, Connection)>, DataPlaneError>;

    /// What was forwarded for a service.
    fn service_traffic(&self, id: u32) -> Traffic;

    /// What was forwarded to a backend.
    fn backend_traffic(&self, id: u32) -> Traffic;

    /// All packets by reason, in the order of [`Reason::ALL`].
    fn reasons(&self) -> [Traffic; Reason::COUNT];
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Flows that went on.
    pub connections: u32,
    /// Flows of which one packet was seen.
    pub openings: u32,
    /// Entries that the budgets have refused, in the order of [`lb_common::budget::Kind`].
    pub refused: [u64; Kind::COUNT],
}

impl Tracking {
    /// Whether a flow may have gone unremembered between `before` and now: refused, or pushed out of a table that is
    /// as good as full. An LRU map of the kernel evicts while each CPU still holds back some free entries.
    #[must_use]
    pub const fn may_have_forgotten(&self, before: &Self, limits: &Limits) -> bool {
        const NEARLY: u64 = 15;
        const FULL: u64 = 16;
        self.refused[0] != before.refused[0]
            || self.refused[1] != before.refused[1]
            || self.connections as u64 * FULL >= limits.connections as u64 * NEARLY
            || self.openings as u64 * FULL >= limits.openings as u64 * NEARLY
    }
}

/// How long an entry outlives the last packet of a connection of which the client has said that it ends: as long as
/// Linux keeps a half-closed one (`tcp_fin_timeout`).
const LINGER: Duration = Duration::from_mins(1);

/// Whether a flow was seen recently enough, where `idle` gives the idle timeout of a service that is there.
fn is_live(entry: &Connection, now: Duration, idle: &dyn Fn(u32) -> Option<Duration>) -> bool {
    let silent = now.saturating_sub(Duration::from_nanos(entry.last_seen_ns));
    let timeout = idle(entry.service).unwrap_or(Duration::ZERO);
    silent <= if entry.closing == Closing::Open as u8 { timeout } else { timeout.min(LINGER) }
}

/// What the mapped arrays hold.
fn image(services: &Mapped, policies: Option<&Mapped>, index: &Mapped, backends: &Mapped) -> Image {
    Image {
        services: services.values(),
        policies: policies.map(Mapped::values).unwrap_or_default(),
        index: index.values(),
        backends: backends.values(),
        server_ids: Vec::new(),
        pools: [Pool::zeroed(); 2],
    }
}

fn refused(map: &'static str) -> impl FnOnce(MapError) -> DataPlaneError {
    move |source| DataPlaneError::Map { map, source }
}

/// Why the kernel's data plane could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    /// A map call failed.
    #[error("the kernel refused a call on map `{map}`")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: MapError,
    },
    /// A map's memory could not be shared.
    #[error("cannot map the memory of `{map}` (BPF_F_MMAPABLE needs Linux 5.5)")]
    Memory {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The object has no such map, so it belongs to another version.
    #[error("the eBPF object has no map `{0}`; rebuild with `cargo xtask build-ebpf`")]
    NoMap(&'static str),
}
