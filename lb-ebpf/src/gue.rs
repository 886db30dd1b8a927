//! GUE: IP in UDP, so that routers and NICs spread tunnels by their ports (draft-ietf-intarea-gue-09, as Linux's FOU
//! module speaks it).
//!
//! ```text
//! variant 0:   outer IP | UDP | 0 0 C  Hlen  | protocol | flags (16) | packet
//! variant 1:   outer IP | UDP | packet, whose first two bits are 0 1, as they are in every IP packet
//! ```
//!
//! Nothing optional is sent, and what carries something optional is not taken in. There is no UDP checksum, over IPv6
//! neither (RFC 6935 section 5): the inner packet has its own, and an outer header that arrives at a wrong host finds no
//! tunnel there.

use lb_common::backend::{Backend, Forwarding};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    emit,
    encap::{self, IPIP, IPV6_IN_IP},
    packet::{Packet, Udp},
    parse::{Facts, IPV4_BE, IPV6_BE, UDP},
    select::Selected,
    verdict::Verdict,
};

/// Bytes of a UDP header.
const UDP_LEN: usize = 8;
/// Bytes of variant 0's header.
const HEADER_LEN: usize = 4;
/// The first port of those that nobody is given (RFC 6335 section 6): a tunnel's source ports lie from there on.
const FIRST_PORT: u16 = 0xc000;

/// Whether packets reach a backend so.
#[inline(always)]
pub const fn carries(backend: &Backend) -> bool {
    backend.forwarding >= Forwarding::Gue4 as u8 && backend.forwarding <= Forwarding::Gue6Direct as u8
}

/// Whether the outer header is IPv4's.
#[inline(always)]
pub const fn is_in_ipv4(backend: &Backend) -> bool {
    backend.forwarding == Forwarding::Gue4 as u8 || backend.forwarding == Forwarding::Gue4Direct as u8
}

/// Puts a packet into UDP over IPv4 and its frame around it.
#[inline(always)]
pub fn in_ipv4(packet: &mut Packet, facts: &Facts, selected: &Selected) -> Result<(), Verdict> {
    let backend = selected.backend;
    let inside = inside_of(backend);
    let link = emit::egress_link(packet, facts, backend, IPV4_BE);
    emit::make_room_for_outer(packet, facts, backend, link, Ipv4Hdr::LEN + inside)?;
    let outer = encap::ipv4_header(facts, selected, UDP, inside as u16);
    emit::frame_around(packet, emit::macs(backend), link, outer)?;
    write(packet, link.len() + Ipv4Hdr::LEN, facts, selected, inside)
}

/// The same over IPv6.
#[inline(always)]
pub fn in_ipv6(packet: &mut Packet, facts: &Facts, selected: &Selected) -> Result<(), Verdict> {
    let backend = selected.backend;
    let inside = inside_of(backend);
    let link = emit::egress_link(packet, facts, backend, IPV6_BE);
    emit::make_room_for_outer(packet, facts, backend, link, Ipv6Hdr::LEN + inside)?;
    let outer = encap::ipv6_header(facts, selected, UDP, inside as u16);
    emit::frame_around(packet, emit::macs(backend), link, outer)?;
    write(packet, link.len() + Ipv6Hdr::LEN, facts, selected, inside)
}

/// The bytes that lie between the outer IP header and a packet.
#[inline(always)]
pub const fn inside_of(backend: &Backend) -> usize {
    let is_direct = backend.forwarding >= Forwarding::Gue4Direct as u8;
    UDP_LEN + if is_direct { 0 } else { HEADER_LEN }
}

/// Writes those bytes, if there are any.
#[inline(always)]
pub fn write(
    packet: &mut Packet,
    at: usize,
    facts: &Facts,
    selected: &Selected,
    inside: usize,
) -> Result<(), Verdict> {
    if inside == 0 {
        return Ok(());
    }
    let header = Udp {
        source_port: (FIRST_PORT | selected.hash as u16 & !FIRST_PORT).to_be_bytes(),
        destination_port: selected.backend.port,
        length: facts.ip_len.wrapping_add(inside as u16).to_be_bytes(),
        check: [0, 0],
    };
    emit::write(packet, at, header)?;
    if inside == UDP_LEN {
        Ok(())
    } else {
        emit::write(packet, at + UDP_LEN, [0, encap::inner_protocol(facts), 0, 0])
    }
}

/// What lies in a UDP packet at `at` that was sent to `port`: how many bytes lie before it, and its protocol.
#[inline(always)]
pub fn inside(packet: &Packet, at: usize, port: u16) -> Option<(usize, u8)> {
    let [_, _, a, b, ..] = *packet.header::<[u8; UDP_LEN]>(at)?;
    if port == 0 || u16::from_be_bytes([a, b]) != port {
        return None;
    }
    inside_to_any_port(packet, at)
}

/// The same of one that was sent to whatever port.
#[inline(always)]
pub fn inside_to_any_port(packet: &Packet, at: usize) -> Option<(usize, u8)> {
    let [first, protocol, flags @ ..] = *packet.header::<[u8; HEADER_LEN]>(at + UDP_LEN)?;
    match first >> 4 {
        4 => Some((UDP_LEN, IPIP)),
        6 => Some((UDP_LEN, IPV6_IN_IP)),
        _ if first == 0 && flags == [0, 0] => Some((UDP_LEN + HEADER_LEN, protocol)),
        _ => None,
    }
}
