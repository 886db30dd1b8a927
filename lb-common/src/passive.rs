//! What the program sees of how a backend answers those who open flows with it, though the answers themselves go past the
//! balancer: a client that hears nothing sends its SYN again.

use bytemuck::{Pod, Zeroable};

/// How long after a SYN another one of the same flow is the same attempt. Clients wait a second, the oldest three
/// (RFC 6298 section 2.1, RFC 1122 section 4.2.3.1).
pub const AGAIN_WITHIN_NS: u64 = 4_000_000_000;

/// Connections that were opened with a backend. One per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Signs {
    /// All of them.
    pub opened: u64,
    /// Those whose SYN was sent again.
    pub again: u64,
}
