//! The answer to a ping of a VIP: the same packet the other way round (RFC 792, RFC 4443 section 4.2).
//!
//! Options and extension headers stay as they are, and so does a checksum that was wrong.

use lb_common::{
    checksum::{Sum, update},
    counter::Reason,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{INTERNAL, is_somebody_v4, is_somebody_v6, refuse_nobody, turn_frame};
use crate::{
    encap::HOP_LIMIT,
    icmp::{ECHO_REPLY, ECHO_REPLY_V6},
    packet::Packet,
    parse::{self, Fault, IPV4_BE},
    verdict::Verdict,
};

/// Makes an echo request the reply to its sender; gives why not.
#[inline(never)]
pub(super) fn make(packet: u64) -> Option<Reason> {
    turn(&mut Packet::of(packet)).err().map(Verdict::reason)
}

#[inline(always)]
fn turn(packet: &mut Packet) -> Result<(), Verdict> {
    let link = parse::link(packet).ok_or(INTERNAL)?;
    let ip = parse::ip(packet, link).map_err(|_: Fault| INTERNAL)?;
    let reply = if link.ether_type_be == IPV4_BE { ECHO_REPLY } else { ECHO_REPLY_V6 };
    turn_message(packet, ip.payload_at, reply).ok_or(INTERNAL)?;
    if link.ether_type_be == IPV4_BE {
        turn_ipv4(packet, link.len())?;
    } else {
        turn_ipv6(packet, link.len())?;
    }
    turn_frame(packet)
}

/// Gives the ICMP message another type.
#[inline(always)]
fn turn_message(packet: &mut Packet, at: usize, reply: u8) -> Option<()> {
    let [kind, code, a, b] = packet.header_mut::<[u8; 4]>(at)?;
    [*a, *b] = update([*a, *b], &[*kind, *code], &[reply, *code]);
    *kind = reply;
    Some(())
}

/// The addresses change places, which no checksum notices; the TTL begins anew.
#[inline(always)]
fn turn_ipv4(packet: &mut Packet, at: usize) -> Result<(), Verdict> {
    let header = packet.header_mut::<Ipv4Hdr>(at).ok_or(INTERNAL)?;
    refuse_nobody(is_somebody_v4(header.src_addr))?;
    (header.src_addr, header.dst_addr) = (header.dst_addr, header.src_addr);
    header.check = Sum::of_header(header.check)
        .remove_bytes(&[header.ttl, header.proto])
        .add_bytes(&[HOP_LIMIT, header.proto])
        .finish();
    header.ttl = HOP_LIMIT;
    Ok(())
}

#[inline(always)]
fn turn_ipv6(packet: &mut Packet, at: usize) -> Result<(), Verdict> {
    let header = packet.header_mut::<Ipv6Hdr>(at).ok_or(INTERNAL)?;
    refuse_nobody(is_somebody_v6(header.src_addr))?;
    (header.src_addr, header.dst_addr) = (header.dst_addr, header.src_addr);
    header.hop_limit = HOP_LIMIT;
    Ok(())
}
