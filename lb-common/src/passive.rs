//! What the program sees of how backends take in those who open flows with them, though most answers go past the balancer: a
//! client that hears nothing sends its SYN again, a translated flow's reset comes back, and so do ICMP errors about what the
//! balancer itself has sent.

use bytemuck::{Pod, Zeroable};

/// How long after a SYN another one of the same flow is the same attempt. Clients wait a second, the oldest three
/// (RFC 6298 section 2.1, RFC 1122 section 4.2.3.1).
pub const AGAIN_WITHIN_NS: u64 = 4_000_000_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Sign {
    /// A connection opens.
    Opened = 0,
    /// Its SYN was sent again.
    Again = 1,
    /// Its SYN was answered with a reset.
    Refused = 2,
    /// Its SYN was answered with an ICMP error: host, protocol or port are not there.
    Unreachable = 3,
}

/// Connections that were opened with a backend. One per CPU, in the order of [`Sign`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Signs {
    /// All of them.
    pub opened: u64,
    /// Those that have failed because nobody answered. Each that has failed counts once, by what came first.
    pub again: u64,
    /// Those that the backend has refused.
    pub refused: u64,
    /// Those of which somebody says that the backend cannot be reached.
    pub unreachable: u64,
}

impl Signs {
    /// Those that have failed.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.again + self.refused + self.unreachable
    }
}
