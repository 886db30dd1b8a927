//! What is remembered of a fragmented packet's first fragment, which alone has the ports.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// What fragments of one packet have in common (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FragmentKey {
    /// Where they come from.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// The packet's identification, as it lies in the header; the 16 bits of IPv4 in the lower half.
    pub identification: u32,
    /// IP protocol number of IPv4, where packets of different protocols may have the same identification; 0 of IPv6,
    /// where fragments of one packet may say different things of what comes next.
    pub protocol: u32,
}

/// What only the first one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Fragmented {
    /// When it came, `CLOCK_MONOTONIC` nanoseconds.
    pub seen_ns: u64,
    /// Source port in the lower half and destination port in the upper one, each in network byte order.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u32,
}

/// How long after the first fragment others count as its own: as long as Linux waits for them (`ipfrag_time`). An
/// identification comes again sooner or later.
pub const REASSEMBLY_NS: u64 = 30_000_000_000;
