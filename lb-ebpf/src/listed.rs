//! Flows that a list names, where no arithmetic gives them: what comes back to an address of the pool is of a session only
//! if its port is that session's.
//!
//! The list is written by the packets themselves. The kernel repeats a test run on one buffer, so what `feeder` finds there
//! is what the program under test has made of the packet before, and turned round that is the answer to it.

use aya_ebpf::{Global, btf_maps::Array, macros::btf_map};

use crate::{
    MACS,
    packet::{Ethernet, Packet},
};

/// What tells a packet of a flow from those of others, words as they are loaded.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ends {
    /// Last four bytes of the source address.
    pub source: u32,
    /// Last four bytes of the destination address.
    pub destination: u32,
    /// Both ports.
    pub ports: u32,
    /// The TCP acknowledgement.
    pub acknowledgement: u32,
}

/// The list, by the number of the flow.
#[btf_map(name = "listed")]
static LISTED: Array<Ends, 1> = Array::new();

/// Whether flows are taken from the list.
#[unsafe(no_mangle)]
static IS_LISTED: Global<u32> = Global::new(0);

/// Whether the answers to packets are written into it.
#[unsafe(no_mangle)]
static RECORDS: Global<u32> = Global::new(0);

/// Whether flows are those of the list.
#[inline(always)]
pub fn is_listed() -> bool {
    IS_LISTED.load() != 0
}

/// The flow with a number.
#[inline(always)]
pub fn listed(flow: u64) -> Option<Ends> {
    LISTED.get(flow as u32).copied()
}

/// Whether it is to be written.
#[inline(always)]
pub fn is_recorded() -> bool {
    RECORDS.load() != 0
}

/// Writes down what answers the packet that a flow's packet has become. Addresses begin at `addresses_at`, and have
/// `address_len` bytes.
#[inline(always)]
pub fn record(packet: &Packet, flow: u64, addresses_at: usize, address_len: usize) -> Option<()> {
    let first = packet.header::<Ethernet>(0)?.macs.first;
    if first == MACS.first {
        // As it was fed: the first one of a run, and what is dropped.
        return Some(());
    }
    let word = |at: usize| packet.header::<[u8; 4]>(at).copied().map(u32::from_ne_bytes);
    let ports_at = addresses_at + 2 * address_len;
    let [source, destination] = [addresses_at + address_len - 4, ports_at - 4].map(word);
    let ends = Ends {
        source: destination?,
        destination: source?,
        ports: word(ports_at)?.rotate_right(16),
        acknowledgement: u32::from_be(word(ports_at + 4)?).wrapping_add(1).to_be(),
    };
    // SAFETY: a pointer that a lookup gives is valid, and one test run at a time uses this object.
    unsafe { *LISTED.get_ptr_mut(flow as u32)? = ends };
    Some(())
}
