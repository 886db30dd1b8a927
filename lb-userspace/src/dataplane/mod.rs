//! The data plane behind one seam: the kernel's ([`ebpf`]), or one in memory ([`memory`]) for tests.

pub mod attach;
pub mod ebpf;
pub mod load;
pub mod mapped;
pub mod memory;
pub mod pins;

use std::time::Duration;

use lb_common::counter::{Reason, Traffic};

use crate::reconcile::{LiveFlow, Op, ReadSlots};

/// The XDP programs, as `cargo xtask build-ebpf` compiled them.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice.o"));

/// How many flows are remembered, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Flows that went on.
    pub connections: u32,
    /// Flows of which one packet was seen.
    pub openings: u32,
    /// Entries that the budget has refused: of connections, of openings.
    pub refused: [u64; 2],
}

/// What the daemon does with a data plane.
pub trait DataPlane: ReadSlots {
    /// Carries out operations in order. What packets see is memory, which takes any store; counters and remembered flows
    /// that cannot be cleared are told and left.
    fn apply(&mut self, ops: &[Op]);

    /// Walks the connection table: deletes the entries of flows that were silent for longer than `idle` says for
    /// their service (or whose service is unknown to it), and gives the others. `now` is on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where the kernel refuses.
    fn sweep(
        &mut self,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<Vec<LiveFlow>, DataPlaneError>;

    /// How full the tables of flows were after the last sweep, and what they have refused.
    fn tracking(&self) -> Tracking;

    /// What was forwarded for a service.
    fn service_traffic(&self, id: u32) -> Traffic;

    /// What was forwarded to a backend.
    fn backend_traffic(&self, id: u32) -> Traffic;

    /// All packets by reason, in the order of [`Reason::ALL`].
    fn reasons(&self) -> [Traffic; Reason::COUNT];
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
        source: aya::maps::MapError,
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
