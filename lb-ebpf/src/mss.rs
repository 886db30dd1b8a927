//! The MSS that a client's SYN announces, where the service bounds it (RFC 9293 section 3.7.1): lowered, never raised, and
//! left out where the client has left it out, since an option takes room that is not there.
//!
//! Everything is read anew in a function of its own: only SYNs come here.

use aya_ebpf::bindings::xdp_md;
use lb_common::{backend::Forwarding, checksum::update, knobs::FEATURE_MSS, policy::OPTION_MSS};

use crate::{
    fragment::Part,
    lookup::Found,
    maps::{POLICIES, uses},
    packet::{MAX_OFFSET, Packet},
    parse::{self, Facts, Fault, IPV4_BE, TCP},
    select::Selected,
};

/// Bytes of a TCP header without options.
const TCP_LEN: usize = 20;
/// Where its checksum lies.
const CHECK_AT: usize = 16;
/// The most options that are looked through, and more than any host sends in a SYN: the verifier walks all of them.
const MAX_OPTIONS: usize = 16;
/// What every host takes (RFC 9293 section 3.7.1). A way that is narrower is not told by an MSS.
const LEAST: u16 = 536;

/// Bounds the MSS of a SYN that is about to be sent to a backend.
#[inline(always)]
pub fn bound(packet: &Packet, found: Found, facts: &Facts, selected: &Selected) {
    if !uses(FEATURE_MSS) || found.service.options & OPTION_MSS == 0 {
        return;
    }
    let is_syn = facts.flow.protocol == u32::from(TCP) && facts.opens() && facts.part == Part::Whole;
    if is_syn && selected.backend.forwarding != Forwarding::Local as u8 {
        let room = selected.backend.mtu.saturating_sub(selected.backend.overhead());
        mss_bounded(packet.context(), found.id, u32::from(room));
    }
}

/// Bounds the MSS of a SYN to what its service says, or to packets of `room` bytes. Whether it announces one. A global
/// function, see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn mss_bounded(context: *mut xdp_md, service: u32, room: u32) -> bool {
    try_bound(&mut Packet::in_context(context), service, room as u16).is_some()
}

#[inline(always)]
fn try_bound(packet: &mut Packet, service: u32, room: u16) -> Option<()> {
    let link = parse::link(packet)?;
    let ip = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?;
    let largest = match POLICIES.get(service)?.mss {
        0 => that_fits(room, link.ether_type_be == IPV4_BE),
        largest => largest,
    };
    let offset = packet.header::<[u8; TCP_LEN]>(ip.payload_at)?[12];
    // No further than the packet: parsing has seen to that (`parse::lengths_hold`).
    let end = ip.payload_at + usize::from(offset >> 4) * 4;
    lower(packet, ip.payload_at, end, largest)
}

/// The MSS of packets of `room` bytes.
#[inline(always)]
pub fn that_fits(room: u16, is_v4: bool) -> u16 {
    let headers = if is_v4 { 40 } else { 60 };
    room.saturating_sub(headers).max(LEAST)
}

/// The MSS that the SYN with a TCP header at `tcp_at`, options included until `end`, announces; 0: none.
#[inline(always)]
pub fn announced(packet: &Packet, tcp_at: usize, end: usize) -> u16 {
    let Some(at) = find(packet, tcp_at, end) else { return 0 };
    packet.header::<[u8; 4]>(at).map_or(0, |&[_, _, a, b]| u16::from_be_bytes([a, b]))
}

/// Lowers the option.
#[inline(always)]
fn lower(packet: &mut Packet, tcp_at: usize, end: usize, largest: u16) -> Option<()> {
    let at = find(packet, tcp_at, end)?;
    let [_, _, a, b] = *packet.header::<[u8; 4]>(at)?;
    write(packet, tcp_at, at, u16::from_be_bytes([a, b]).min(largest))
}

/// Where the option lies.
#[inline(always)]
fn find(packet: &Packet, tcp_at: usize, end: usize) -> Option<usize> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const MSS: u8 = 2;
    let mut at = tcp_at + TCP_LEN;
    for _ in 0..MAX_OPTIONS {
        // One range for the verifier, however the option before was skipped: it need not tell the ways apart.
        at &= MAX_OFFSET;
        if at + 4 > end {
            return None;
        }
        let option = *packet.header::<[u8; 4]>(at)?;
        match option {
            [END, ..] => return None,
            [NOTHING, ..] => at += 1,
            [MSS, 4, ..] => return Some(at),
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return None,
        }
    }
    None
}

/// Writes an MSS into the option at `at`.
#[inline(always)]
fn write(packet: &mut Packet, tcp_at: usize, at: usize, mss: u16) -> Option<()> {
    let [_, _, a, b] = packet.header_mut::<[u8; 4]>(at)?;
    let (before, after) = ([*a, *b], mss.to_be_bytes());
    [*a, *b] = after;
    let check = packet.header_mut::<[u8; 2]>(tcp_at + CHECK_AT)?;
    *check = if (at - tcp_at) & 1 == 0 {
        update(*check, &before, &after)
    } else {
        // Each byte in a word with a neighbour that stays.
        update(*check, &[0, before[0], before[1], 0], &[0, after[0], after[1], 0])
    };
    Some(())
}
