//! The answer to a packet whose backend gives up its flows, or to a SYN that no backend has room for: a TCP reset that the
//! client accepts.
//!
//! The client's own packet says which sequence number it expects, in its acknowledgement (RFC 9293 section 3.10.7.1), so
//! nothing needs to be known of the connection. A SYN has none: it is acknowledged itself. The packet is turned around and cut to its headers; options of either
//! header are gone.

use core::mem::size_of;

use lb_common::{checksum::Sum, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    emit,
    encap::{self, DONT_FRAGMENT, HOP_LIMIT},
    packet::{Ethernet, Macs, Packet, Tcp},
    parse::{self, FLAG_ACK, FLAG_RST, Facts, Fault, IPV4_BE, Link, TCP},
    verdict::Verdict,
};

/// Bytes of a TCP header without options.
const TCP_LEN: usize = size_of::<Tcp>();

/// Makes the packet a reset to its sender.
#[inline(always)]
pub fn answer(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let internal = Verdict::drop(Reason::Internal);
    let link = parse::link(packet).ok_or(internal)?;
    let facts = parse::parse(packet, link).map_err(|_: Fault| internal)?;
    let numbers = parse::sequence_numbers(packet, link).ok_or(internal)?;
    let macs = packet.header::<Ethernet>(0).ok_or(internal)?.macs;
    let ip_len = if link.ether_type_be == IPV4_BE { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
    let tcp_at = link.len() + ip_len;
    if !packet.cut_to(tcp_at + TCP_LEN) {
        return Err(internal);
    }
    emit::frame(packet, turned(macs), link)?;
    if link.ether_type_be == IPV4_BE {
        emit::write(packet, link.len(), ipv4_header(&facts))?;
    } else {
        emit::write(packet, link.len(), ipv6_header(&facts))?;
    }
    emit::write(packet, tcp_at, tcp_header(&facts, link, numbers))?;
    Ok(Verdict::reset())
}

/// The MAC addresses of the way back.
#[inline(always)]
fn turned(macs: Macs) -> Macs {
    let (first, last) = (macs.first, macs.last);
    let destination = first & 0xffff_ffff_ffff;
    let source = first >> 48 | u64::from(last) << 16;
    Macs { first: source | destination << 48, last: (destination >> 16) as u32 }
}

#[inline(always)]
fn ipv4_header(facts: &Facts) -> Ipv4Hdr {
    encap::checked(Ipv4Hdr {
        vihl: 0x45,
        tos: 0,
        tot_len: ((Ipv4Hdr::LEN + TCP_LEN) as u16).to_be_bytes(),
        id: [0, 0],
        frags: DONT_FRAGMENT,
        ttl: HOP_LIMIT,
        proto: TCP,
        check: [0, 0],
        src_addr: facts.flow.destination.v4_octets(),
        dst_addr: facts.flow.source.v4_octets(),
    })
}

#[inline(always)]
fn ipv6_header(facts: &Facts) -> Ipv6Hdr {
    Ipv6Hdr {
        vcf: [0x60, 0, 0, 0],
        payload_len: (TCP_LEN as u16).to_be_bytes(),
        next_hdr: TCP,
        hop_limit: HOP_LIMIT,
        src_addr: facts.flow.destination.octets,
        dst_addr: facts.flow.source.octets,
    }
}

/// RST alone, with the sequence number that the client has acknowledged up to; where it has acknowledged nothing, with an
/// acknowledgement of its SYN. It carries nothing and announces no window.
#[inline(always)]
fn tcp_header(facts: &Facts, link: Link, (sequence_be, acknowledged_be): (u32, u32)) -> Tcp {
    let acknowledges = facts.flags & FLAG_ACK == 0;
    let after_syn_be = u32::from_be(sequence_be).wrapping_add(1).to_be();
    let mut header = Tcp {
        source_port: facts.flow.destination_port,
        destination_port: facts.flow.source_port,
        sequence: if acknowledges { 0 } else { acknowledged_be }.to_ne_bytes(),
        acknowledgement: if acknowledges { after_syn_be } else { 0 }.to_ne_bytes(),
        offset: (TCP_LEN as u8 / 4) << 4,
        flags: if acknowledges { FLAG_RST | FLAG_ACK } else { FLAG_RST },
        ..Tcp::default()
    };
    header.check = pseudo_header(facts, link)
        .add_bytes(&header.source_port)
        .add_bytes(&header.destination_port)
        .add_bytes(&header.sequence)
        .add_bytes(&header.acknowledgement)
        .add_bytes(&[header.offset, header.flags])
        .finish();
    header
}

/// The part of the checksum that is not in the segment: addresses, protocol, length. The order of the addresses does not
/// matter to a sum.
#[inline(always)]
fn pseudo_header(facts: &Facts, link: Link) -> Sum {
    let (source, destination) = (facts.flow.source, facts.flow.destination);
    let sum = Sum::default().add_bytes(&[0, TCP]).add_bytes(&(TCP_LEN as u16).to_be_bytes());
    if link.ether_type_be == IPV4_BE {
        sum.add_bytes(&source.v4_octets()).add_bytes(&destination.v4_octets())
    } else {
        sum.add_bytes(&source.octets).add_bytes(&destination.octets)
    }
}
