//! What the program tells of packets ([`lb_common::capture`]), for people and for Wireshark.

pub mod decision;
pub mod pcapng;

use bytemuck::Pod;
use lb_common::{capture, counter::Reason};

/// A packet as it was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What was decided.
    pub record: capture::Record,
    /// What is kept of the frame as it arrived.
    pub arrived: Vec<u8>,
    /// What is kept of the frame as it left.
    pub left: Vec<u8>,
}

impl Captured {
    /// Reads a record of the ring; none where it is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, kept) = bytes.split_at_checked(size_of::<capture::Record>())?;
        let record: capture::Record = read(head);
        let (arrived, rest) = kept.split_at_checked(record.arrived_kept as usize)?;
        let left = rest.get(..record.left_kept as usize)?;
        Some(Self { record, arrived: arrived.to_vec(), left: left.to_vec() })
    }

    /// Why the packet met its fate.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::from_number(self.record.reason).unwrap_or(Reason::Internal)
    }
}

fn read<T: Pod>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(bytes)
}
