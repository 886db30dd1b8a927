//! New addresses and ports, and the checksums that cover them (RFC 1624).

use core::mem::offset_of;

use lb_common::{checksum::Sum, flow::Flow};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    packet::{Packet, Tcp, Udp},
    parse::{self, Fault, IPV4_BE, TCP},
};

/// Gives a packet the ends of `other`, turned round.
#[inline(always)]
pub(super) fn ends(packet: &mut Packet, other: &Flow) -> Option<()> {
    let link = parse::link(packet)?;
    let at = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?.payload_at;
    let addresses = if link.ether_type_be == IPV4_BE {
        ipv4_addresses(packet, link.len(), other)?
    } else {
        ipv6_addresses(packet, link.len(), other)?
    };
    if other.protocol == u32::from(TCP) {
        tcp_ports(packet, at, other, addresses)
    } else {
        udp_ports(packet, at, other, addresses)
    }
}

/// Gives by how much the sum of the addresses has changed. What IPv4 addresses have before them in a flow adds nothing to a
/// sum: zeros and ones.
#[inline(always)]
fn ipv4_addresses(packet: &mut Packet, at: usize, other: &Flow) -> Option<Sum> {
    let change = packet.change::<8, 32>(at + offset_of!(Ipv4Hdr, src_addr), other.addresses())?;
    let header = packet.header_mut::<Ipv4Hdr>(at)?;
    header.check = Sum::of_header(header.check).plus(change).finish();
    header.src_addr = other.destination.v4_octets();
    header.dst_addr = other.source.v4_octets();
    Some(change)
}

#[inline(always)]
fn ipv6_addresses(packet: &mut Packet, at: usize, other: &Flow) -> Option<Sum> {
    let change = packet.change::<32, 32>(at + offset_of!(Ipv6Hdr, src_addr), other.addresses())?;
    let header = packet.header_mut::<Ipv6Hdr>(at)?;
    header.src_addr = other.destination.octets;
    header.dst_addr = other.source.octets;
    Some(change)
}

#[inline(always)]
fn tcp_ports(packet: &mut Packet, at: usize, other: &Flow, addresses: Sum) -> Option<()> {
    let header = packet.header_mut::<Tcp>(at)?;
    let change = addresses.plus(change_of_ports(header.source_port, header.destination_port, other));
    header.check = Sum::of_header(header.check).plus(change).finish();
    (header.source_port, header.destination_port) = (other.destination_port, other.source_port);
    Some(())
}

/// A checksum of zero says that there is none, and stays.
#[inline(always)]
fn udp_ports(packet: &mut Packet, at: usize, other: &Flow, addresses: Sum) -> Option<()> {
    let header = packet.header_mut::<Udp>(at)?;
    if header.check != [0, 0] {
        let change = addresses.plus(change_of_ports(header.source_port, header.destination_port, other));
        let check = Sum::of_header(header.check).plus(change).finish();
        header.check = if check == [0, 0] { [0xff, 0xff] } else { check };
    }
    (header.source_port, header.destination_port) = (other.destination_port, other.source_port);
    Some(())
}

#[inline(always)]
fn change_of_ports(source: [u8; 2], destination: [u8; 2], other: &Flow) -> Sum {
    Sum::default()
        .remove_bytes(&source)
        .remove_bytes(&destination)
        .add_bytes(&other.destination_port)
        .add_bytes(&other.source_port)
}
