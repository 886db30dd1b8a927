//! Backends, as the data plane sees them: one cache line each, next hop included, so that forwarding reads nothing
//! else.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// How a packet reaches a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Forwarding {
    /// No next hop is known (yet); also what a free entry says.
    Unresolved = 0,
    /// New MAC addresses, the IP packet as it came; direct server return.
    L2 = 1,
    /// Encapsulated in IPv4 (RFC 2003 for IPv4, RFC 4213 for IPv6 inside); direct server return.
    Ipip4 = 2,
    /// Encapsulated in IPv6 (RFC 2473); direct server return.
    Ipip6 = 3,
    /// Encapsulated in UDP over IPv4, with a header of its own (draft-ietf-intarea-gue, variant 0); direct server return.
    Gue4 = 4,
    /// The same over IPv6.
    Gue6 = 5,
    /// Encapsulated in UDP over IPv4 and nothing else (variant 1); direct server return.
    Gue4Direct = 6,
    /// The same over IPv6.
    Gue6Direct = 7,
    /// Rewritten to the backend's address and port; replies come back through the balancer.
    Nat = 8,
    /// The backend is this host: to its own stack, as it came. Needs no knob, since nobody else gets as far as to ask.
    Local = 9,
}

/// What becomes of the flows that a backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OldFlows {
    /// They stay.
    Keep = 0,
    /// They are given to the current backend of their slot.
    Move = 1,
    /// They are answered with a TCP reset, so that their clients connect anew at once.
    Reset = 2,
}

/// A probe's verdict as it is kept in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not probed, or not yet.
    Unknown = 0,
    /// Answers its probes.
    Up = 1,
    /// Does not.
    Down = 2,
}

/// One backend of one service. Entries of a service are contiguous: `first_backend + index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Backend {
    /// Outer destination for a tunnel; the host's address, for the reader of a dump, otherwise.
    pub address: Address,
    /// Outer source for a tunnel.
    pub source: Address,
    /// UDP port of a GUE tunnel, or the backend's own port where packets are rewritten, network byte order; 0: the
    /// packet's.
    pub port: [u8; 2],
    /// Bits of the last two bytes of `source` that the flow hash fills, network byte order. All zero: fixed source.
    pub source_mask: [u8; 2],
    /// Egress interface index.
    pub ifindex: u32,
    /// MAC address of the next hop. Lies within one aligned 64-bit word, so it is replaced whole.
    pub next_hop_mac: [u8; 6],
    /// MAC address of the egress interface.
    pub source_mac: [u8; 6],
    /// Bytes of IP packet that the egress interface carries.
    pub mtu: u16,
    /// 802.1Q VLAN id to send with, host byte order; 0: none.
    pub vlan: u16,
    /// One of [`Forwarding`].
    pub forwarding: u8,
    /// What becomes of the flows that it has: one of [`OldFlows`].
    pub old_flows: u8,
    /// What its probes said last: one of [`Health`]. For the next daemon; the program does not read it.
    pub health: u8,
    /// 1: it may be given new flows. 0: only what was there before.
    pub takes_new: u8,
    /// When they began to say so: `CLOCK_MONOTONIC`, seconds.
    pub health_since_s: u32,
}

impl Backend {
    /// Bytes that are put in front of an IP packet on its way there: by the size of IP headers without options, UDP's, and
    /// that of GUE's variant 0.
    #[must_use]
    #[inline]
    pub const fn overhead(&self) -> u16 {
        const IPV4: u16 = 20;
        const IPV6: u16 = 40;
        const UDP: u16 = 8;
        const GUE: u16 = 4;
        match self.forwarding {
            forwarding if forwarding == Forwarding::Ipip4 as u8 => IPV4,
            forwarding if forwarding == Forwarding::Ipip6 as u8 => IPV6,
            forwarding if forwarding == Forwarding::Gue4 as u8 => IPV4 + UDP + GUE,
            forwarding if forwarding == Forwarding::Gue6 as u8 => IPV6 + UDP + GUE,
            forwarding if forwarding == Forwarding::Gue4Direct as u8 => IPV4 + UDP,
            forwarding if forwarding == Forwarding::Gue6Direct as u8 => IPV6 + UDP,
            _ => 0,
        }
    }

    /// Whether the outer header of its tunnel is IPv4's.
    #[must_use]
    #[inline]
    pub const fn is_behind_ipv4(&self) -> bool {
        self.forwarding == Forwarding::Ipip4 as u8
            || self.forwarding == Forwarding::Gue4 as u8
            || self.forwarding == Forwarding::Gue4Direct as u8
    }

    /// Both MAC addresses as a frame begins with them, in two words, native byte order.
    #[must_use]
    #[inline]
    pub fn macs(&self) -> (u64, u32) {
        let words: [u64; size_of::<Self>() / 8] = bytemuck::cast(*self);
        let at = core::mem::offset_of!(Self, next_hop_mac) / 8;
        (words[at], words[at + 1] as u32)
    }
}
