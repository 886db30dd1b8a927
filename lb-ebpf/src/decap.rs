//! The backend's side of a tunnel: takes the outer header off, if what is inside is for one of this host's VIPs.
//!
//! Anything else passes untouched, so tunnels that the host has of its own go on working.

use lb_common::{address::Address, checksum, counter::Reason, ecn};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    emit,
    encap::{IPIP, IPV6_IN_IP},
    gue,
    maps::{DECAP_VIPS, GUE_PORT},
    packet::{Ethernet, Packet},
    parse::{self, IPV4_BE, IPV6_BE, Link, UDP},
    verdict::Verdict,
};

/// What a tunnelled packet is packed in.
struct Outer {
    /// Bytes before the inner packet.
    length: usize,
    /// Protocol number of the inner packet.
    protocol: u8,
    /// Its traffic class, or type of service.
    traffic_class: u8,
}

/// Hands the inner packet of a tunnelled one to the stack.
#[inline(always)]
pub fn decapsulate(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::pass(Reason::NotIp))?;
    let outer = outer(packet, &link).ok_or(Verdict::pass(Reason::NotOurs))?;
    let inner_at = link.len() + outer.length;
    let inner_type_be =
        inner_for_a_vip(packet, inner_at, outer.protocol).ok_or(Verdict::pass(Reason::NotOurs))?;
    combine(packet, inner_at, inner_type_be, outer.traffic_class)?;
    strip(packet, link, outer.length, inner_type_be)?;
    Ok(Verdict::pass(Reason::Decapsulated))
}

/// The outer header, and what UDP adds to it; fragments and IPv6 extension headers are the stack's.
#[inline(always)]
fn outer(packet: &Packet, link: &Link) -> Option<Outer> {
    let (length, protocol, traffic_class) = if link.ether_type_be == IPV4_BE {
        let header = packet.header::<Ipv4Hdr>(link.len())?;
        if header.vihl != 0x45 || parse::is_fragment(header) {
            return None;
        }
        (Ipv4Hdr::LEN, header.proto, header.tos)
    } else if link.ether_type_be == IPV6_BE {
        let header = packet.header::<Ipv6Hdr>(link.len())?;
        (Ipv6Hdr::LEN, header.next_hdr, class_of(header))
    } else {
        return None;
    };
    if protocol != UDP {
        return Some(Outer { length, protocol, traffic_class });
    }
    let (more, protocol) = gue::inside(packet, link.len() + length, GUE_PORT.load() as u16)?;
    Some(Outer { length: length + more, protocol, traffic_class })
}

#[inline(always)]
const fn class_of(header: &Ipv6Hdr) -> u8 {
    header.vcf[0] << 4 | header.vcf[1] >> 4
}

/// EtherType of the inner packet, if it is for one of this host's VIPs.
#[inline(always)]
fn inner_for_a_vip(packet: &Packet, offset: usize, protocol: u8) -> Option<u16> {
    match protocol {
        IPIP => {
            let header = packet.header::<Ipv4Hdr>(offset)?;
            (header.vihl >> 4 == 4 && is_vip(Address::from_v4(header.dst_addr))).then_some(IPV4_BE)
        }
        IPV6_IN_IP => {
            let header = packet.header::<Ipv6Hdr>(offset)?;
            (header.vcf[0] >> 4 == 6 && is_vip(Address::from_v6(header.dst_addr))).then_some(IPV6_BE)
        }
        _ => None,
    }
}

#[inline(always)]
fn is_vip(address: Address) -> bool {
    // SAFETY: only presence is asked for.
    unsafe { DECAP_VIPS.get(address) }.is_some()
}

/// Lets the inner packet say what the tunnel has met of congestion (RFC 6040 section 4.2).
#[inline(always)]
fn combine(packet: &mut Packet, at: usize, inner_type_be: u16, outer_class: u8) -> Result<(), Verdict> {
    let internal = Verdict::drop(Reason::Internal);
    let lost = Verdict::drop(Reason::EcnLost);
    if inner_type_be == IPV4_BE {
        let header = packet.header_mut::<Ipv4Hdr>(at).ok_or(internal)?;
        let tos = ecn::decapsulated(header.tos, outer_class).ok_or(lost)?;
        header.check = checksum::update(header.check, &[header.vihl, header.tos], &[header.vihl, tos]);
        header.tos = tos;
    } else {
        let header = packet.header_mut::<Ipv6Hdr>(at).ok_or(internal)?;
        let class = ecn::decapsulated(class_of(header), outer_class).ok_or(lost)?;
        header.vcf[1] = header.vcf[1] & 0x0f | class << 4;
    }
    Ok(())
}

/// Removes the outer header; the Ethernet header and its tags move up to the inner one.
#[inline(always)]
fn strip(packet: &mut Packet, link: Link, outer_len: usize, inner_type_be: u16) -> Result<(), Verdict> {
    let internal = Verdict::drop(Reason::Internal);
    let macs = packet.header::<Ethernet>(0).ok_or(internal)?.macs;
    if !packet.grow_front(-(outer_len as i32)) {
        return Err(internal);
    }
    emit::frame(packet, macs, link.around(inner_type_be))
}
