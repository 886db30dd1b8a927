//! What services ask for beyond forwarding: one bit of a service's entry says whether, an entry of a map of its own says
//! how, so that whoever asks for nothing never reads it.

use bytemuck::{Pod, Zeroable};

use crate::{guard::Guard, quic::Quic};

/// Pings of the VIP are answered. A VIP's own entry has it where any service of the address does.
pub const OPTION_ECHO: u8 = 1 << 0;

/// Fragments follow the first one of their packet. A VIP's own entry has it where any service of the address does.
pub const OPTION_FRAGMENTS: u8 = 1 << 1;

/// Lists or rates decide who may open a flow.
pub const OPTION_GUARD: u8 = 1 << 2;

/// Connection ids choose the backend (QUIC).
pub const OPTION_QUIC: u8 = 1 << 3;

/// The MSS that SYNs announce is bounded.
pub const OPTION_MSS: u8 = 1 << 4;

/// Some backends are reached by address translation. In an entry without a port: the address is one that packets are
/// translated to.
pub const OPTION_NAT: u8 = 1 << 5;

/// Packets that nobody sends in good faith are dropped.
pub const OPTION_STRICT: u8 = 1 << 6;

/// Some backends have a limit.
pub const OPTION_LIMITS: u8 = 1 << 7;

/// The options that are asked for before a packet's ports are known: what a VIP's own entry takes over from its services.
pub const VIP_OPTIONS: u8 = OPTION_ECHO | OPTION_FRAGMENTS;

/// How a service has what its options say; its index is the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Policy {
    /// The largest MSS that a SYN may announce, host byte order; 0: what fits on the way to the backend. Read where
    /// [`OPTION_MSS`] is set.
    pub mss: u16,
    /// Zero.
    pub _pad: [u8; 6],
    /// Who may open flows, and how often.
    pub guard: Guard,
    /// What its connection ids look like; read where [`OPTION_QUIC`] is set.
    pub quic: Quic,
}
