//! The backend's side of a tunnel: takes the outer header off, if what is inside is for one of this host's VIPs.
//!
//! Anything else passes untouched, so tunnels that the host has of its own go on working.

use lb_common::{address::Address, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    emit,
    encap::{IPIP, IPV6_IN_IP},
    maps::DECAP_VIPS,
    packet::{Ethernet, Packet},
    parse::{self, IPV4_BE, IPV6_BE, Link},
    verdict::Verdict,
};

/// Hands the inner packet of a tunnelled one to the stack.
#[inline(always)]
pub fn decapsulate(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::pass(Reason::NotIp))?;
    let (outer_len, protocol) = outer(packet, &link).ok_or(Verdict::pass(Reason::NotOurs))?;
    let inner_type_be =
        inner_for_a_vip(packet, link.len() + outer_len, protocol).ok_or(Verdict::pass(Reason::NotOurs))?;
    strip(packet, link, outer_len, inner_type_be)?;
    Ok(Verdict::pass(Reason::Decapsulated))
}

/// Length of the outer header and protocol of what it carries; fragments and IPv6 extension headers are the stack's.
#[inline(always)]
fn outer(packet: &Packet, link: &Link) -> Option<(usize, u8)> {
    if link.ether_type_be == IPV4_BE {
        let header = packet.header::<Ipv4Hdr>(link.len())?;
        return (header.vihl == 0x45 && !parse::is_fragment(header)).then_some((Ipv4Hdr::LEN, header.proto));
    }
    if link.ether_type_be == IPV6_BE {
        let header = packet.header::<Ipv6Hdr>(link.len())?;
        return Some((Ipv6Hdr::LEN, header.next_hdr));
    }
    None
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
