//! Packets that are shown to an operator: what is chosen, and what is told of each.
//!
//! A record is a [`Record`], then the bytes that are kept of the frame as it arrived, then those of the frame as it left.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// Bytes that are kept of a frame at most. Lengths are masked by it, so that the verifier knows their bound.
pub const MOST: u32 = 0x7ff;

/// A service's or backend's number that stands for any, or for none.
pub const NONE: u32 = u32::MAX;

/// Which packets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Choice {
    /// Either end of a packet has this prefix.
    pub client: Address,
    /// Its length, counted in the mapped form; 0: any packet, whether it has ends or not.
    pub client_bits: u32,
    /// Number of the service; [`NONE`]: any packet, whether it is for one or not.
    pub service: u32,
    /// Number of the backend, likewise.
    pub backend: u32,
    /// One of so many is looked at, at random; 0 is none.
    pub one_of: u32,
    /// The reasons, one bit for each number.
    pub reasons: u64,
    /// Nothing is chosen any more from then on: `CLOCK_MONOTONIC` nanoseconds.
    pub until_ns: u64,
    /// Nanoseconds between two records that a CPU may tell.
    pub interval_ns: u64,
    /// Bytes that are kept of a frame, at most [`MOST`].
    pub keep: u32,
    /// Zero.
    pub _pad: u32,
}

/// How it was found where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum How {
    /// By no table.
    Otherwise = 0,
    /// By its slot alone.
    Settled = 1,
    /// By a slot that has moved, and nothing was remembered of its flow.
    Moved = 2,
    /// By what is remembered of its flow.
    Remembered = 3,
    /// By a connection id.
    ConnectionId = 4,
}

impl How {
    /// In a word.
    #[must_use]
    pub const fn name(how: u8) -> &'static str {
        match how {
            1 => "settled",
            2 => "moved",
            3 => "remembered",
            4 => "connection_id",
            _ => "otherwise",
        }
    }
}

/// What is told of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// When it came: `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// Bytes of the frame as it arrived.
    pub arrived: u32,
    /// Those of them that are kept.
    pub arrived_kept: u32,
    /// Bytes of the frame as it left; 0 where it did not.
    pub left: u32,
    /// Those of them that are kept.
    pub left_kept: u32,
    /// Number of its service; [`NONE`] where it has none.
    pub service: u32,
    /// Number of its backend; [`NONE`] where it has none.
    pub backend: u32,
    /// Index of the interface that it came by.
    pub ifindex: u32,
    /// One of [`crate::counter::Reason`].
    pub reason: u32,
    /// The XDP action.
    pub action: u32,
    /// One of [`How`].
    pub how: u32,
}

/// What is not told, though it was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Untold {
    /// When the next record may be told.
    pub due_ns: u64,
    /// Packets that came faster than may be told of.
    pub limited: u64,
    /// Packets for which nobody had made room by reading.
    pub lost: u64,
}
