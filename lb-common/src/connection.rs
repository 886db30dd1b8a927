//! What is remembered of flows: which backend one of a moved slot has. Keys are [`crate::flow::Flow`].
//!
//! Two tables hold such entries, and a flood that fills one leaves the other alone: `openings` has flows of which one
//! packet was seen, `connections` has those that went on.

use bytemuck::{Pod, Zeroable};

use crate::flow::Flow;

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
    /// Whether the client has said that it ends: one of [`Closing`].
    pub closing: u8,
    /// 1: it has counted as one that failed to open ([`crate::passive`]).
    pub again: u8,
}

/// A flow with what is remembered of it: the record by which the program tells of one that went on in a moved slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tracked {
    /// The flow.
    pub flow: Flow,
    /// Its entry.
    pub connection: Connection,
}

/// Whether a client has said that its connection ends (RFC 9293). Such an entry expires sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Closing {
    /// No.
    Open = 0,
    /// By FIN: acknowledgements of what the server still sends may follow.
    Fin = 1,
    /// By RST: nothing follows. If something does, somebody else had sent the RST.
    Reset = 2,
}

impl Connection {
    /// Takes in a packet that opens another connection with the same addresses and ports.
    #[inline]
    pub const fn reopen(&mut self, now_ns: u64) {
        self.last_seen_ns = now_ns;
        self.closing = Closing::Open as u8;
    }

    /// Takes in another packet of the flow: what it says of the end, and when it came.
    #[inline]
    pub fn touch(&mut self, says: Closing, now_ns: u64) {
        self.last_seen_ns = now_ns;
        if says as u8 != Closing::Open as u8 || self.closing == Closing::Reset as u8 {
            self.closing = says as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_connection_follows_its_packets() {
        use Closing::{Fin, Open, Reset};
        // (what was said, what the next packet says, what holds then)
        let cases = [
            (Open, Open, Open),
            (Open, Fin, Fin),
            (Fin, Open, Fin),
            (Open, Reset, Reset),
            (Fin, Reset, Reset),
            (Reset, Open, Open),
        ];
        for (said, says, holds) in cases {
            let mut entry = Connection { closing: said as u8, ..Connection::zeroed() };
            entry.touch(says, 7);
            assert_eq!((entry.closing, entry.last_seen_ns), (holds as u8, 7), "{said:?}, then {says:?}");
            entry.reopen(8);
            assert_eq!((entry.closing, entry.last_seen_ns), (Open as u8, 8), "{said:?}, then another SYN");
        }
    }
}
