//! The connection table's values: which backend a flow of a moved slot has. Keys are [`crate::flow::Flow`].

use bytemuck::{Pod, Zeroable};

/// What is remembered of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Connection {
    /// Time of the flow's last packet, `CLOCK_MONOTONIC` nanoseconds.
    pub last_seen_ns: u64,
    /// Id of the service, so that an entry never outlives it into another's.
    pub service: u32,
    /// Index of the backend within the service.
    pub backend: u16,
    /// Zero.
    pub _pad: u16,
}
