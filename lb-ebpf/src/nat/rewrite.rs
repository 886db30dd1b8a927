//! New addresses and ports, and the checksums that cover them (RFC 1624).

use core::mem::offset_of;

use lb_common::{checksum::Sum, flow::Flow};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    icmp::error::quote::{self, Places},
    packet::{MAX_OFFSET, Packet, Tcp, Udp, change},
    parse::{self, FLAG_ACK, Fault, IPV4_BE, TCP},
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
    let change = change::<8, 32>(packet.header::<[u8; Ipv4Hdr::LEN]>(at)?.last_chunk()?, other.addresses());
    let header = packet.header_mut::<Ipv4Hdr>(at)?;
    header.check = Sum::of_header(header.check).plus(change).finish();
    header.src_addr = other.destination.v4_octets();
    header.dst_addr = other.source.v4_octets();
    Some(change)
}

#[inline(always)]
fn ipv6_addresses(packet: &mut Packet, at: usize, other: &Flow) -> Option<Sum> {
    let change = change::<32, 32>(packet.header::<[u8; Ipv6Hdr::LEN]>(at)?.last_chunk()?, other.addresses());
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

/// One of the two numbers of a TCP header.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Sequence,
    Acknowledgement,
}

impl Number {
    /// Where it lies in the header.
    const fn at(self) -> usize {
        match self {
            Self::Sequence => offset_of!(Tcp, sequence),
            Self::Acknowledgement => offset_of!(Tcp, acknowledgement),
        }
    }
}

/// Adds to a number of a TCP packet. An acknowledgement that the packet does not have stays.
#[inline(always)]
pub(super) fn number(packet: &mut Packet, number: Number, addend: u32) -> Option<()> {
    let link = parse::link(packet)?;
    let at = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?.payload_at;
    let header = packet.header_mut::<Tcp>(at)?;
    let field = match number {
        Number::Sequence => &mut header.sequence,
        Number::Acknowledgement if header.flags & FLAG_ACK != 0 => &mut header.acknowledgement,
        Number::Acknowledgement => return Some(()),
    };
    let before = *field;
    *field = u32::from_be_bytes(before).wrapping_add(addend).to_be_bytes();
    let change = Sum::default().remove_bytes(&before).add_bytes(&*field);
    header.check = Sum::of_header(header.check).plus(change).finish();
    Some(())
}

/// Adds to a number of the TCP packet that an ICMP error quotes, if it is quoted; its checksum and the error's follow.
#[inline(always)]
pub(super) fn quoted_number(packet: &mut Packet, number: Number, addend: u32) -> Option<()> {
    let places = quote::places(packet)?;
    let at = places.ports_at + number.at();
    if at + 4 > places.end || at > MAX_OFFSET {
        return Some(());
    }
    let field = packet.header_mut::<[u8; 4]>(at)?;
    let before = *field;
    *field = u32::from_be_bytes(before).wrapping_add(addend).to_be_bytes();
    let change = Sum::default().remove_bytes(&before).add_bytes(&*field);
    let check = quoted_check(packet, &places, u32::from(TCP), change)?;
    change_message(packet, places.message_at, change.plus(check))
}

/// Gives an ICMP error the ends of `other`, turned round, but for the ports, which it does not have.
#[inline(always)]
pub(super) fn ends_of_error(packet: &mut Packet, other: &Flow) -> Option<()> {
    let link = parse::link(packet)?;
    if link.ether_type_be == IPV4_BE {
        return ipv4_addresses(packet, link.len(), other).map(drop);
    }
    let at = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?.payload_at;
    let change = ipv6_addresses(packet, link.len(), other)?;
    change_message(packet, at, change)
}

/// Gives what an ICMP error quotes the ends of `other`, since that is a packet of the other direction. As far as it is
/// quoted, its checksum is changed as well, and all of it changes the error's.
#[inline(always)]
pub(super) fn quote(packet: &mut Packet, other: &Flow) -> Option<()> {
    let places = quote::places(packet)?;
    let addresses = if places.is_v4 {
        quoted_ipv4_addresses(packet, places.header_at, other)?
    } else {
        quoted_ipv6_addresses(packet, places.header_at, other)?
    };
    let ports = quoted_ports(packet, places.ports_at, other)?;
    let check = quoted_check(packet, &places, other.protocol, addresses.plus(ports))?;
    // An IPv4 header's own checksum makes up for its addresses.
    let header = if places.is_v4 { Sum::default() } else { addresses };
    change_message(packet, places.message_at, header.plus(ports).plus(check))
}

#[inline(always)]
fn quoted_ipv4_addresses(packet: &mut Packet, at: usize, other: &Flow) -> Option<Sum> {
    let change = change::<8, 32>(packet.header::<[u8; Ipv4Hdr::LEN]>(at)?.last_chunk()?, other.addresses());
    let header = packet.header_mut::<Ipv4Hdr>(at)?;
    header.check = Sum::of_header(header.check).plus(change).finish();
    header.src_addr = other.source.v4_octets();
    header.dst_addr = other.destination.v4_octets();
    Some(change)
}

#[inline(always)]
fn quoted_ipv6_addresses(packet: &mut Packet, at: usize, other: &Flow) -> Option<Sum> {
    let change = change::<32, 32>(packet.header::<[u8; Ipv6Hdr::LEN]>(at)?.last_chunk()?, other.addresses());
    let header = packet.header_mut::<Ipv6Hdr>(at)?;
    header.src_addr = other.source.octets;
    header.dst_addr = other.destination.octets;
    Some(change)
}

#[inline(always)]
fn quoted_ports(packet: &mut Packet, at: usize, other: &Flow) -> Option<Sum> {
    let ports = packet.header_mut::<[u8; 4]>(at)?;
    let ([a, b], [c, d]) = (other.source_port, other.destination_port);
    let change = Sum::default().remove_bytes(&*ports).add_bytes(&[a, b, c, d]);
    *ports = [a, b, c, d];
    Some(change)
}

/// Changes the transport checksum by `change`, if it is quoted and there is one; gives by how much it has changed itself.
#[inline(always)]
fn quoted_check(packet: &mut Packet, places: &Places, protocol: u32, change: Sum) -> Option<Sum> {
    let is_tcp = protocol == u32::from(TCP);
    let at = places.ports_at + if is_tcp { offset_of!(Tcp, check) } else { offset_of!(Udp, check) };
    if at + 2 > places.end || at > MAX_OFFSET {
        return Some(Sum::default());
    }
    let check = packet.header_mut::<[u8; 2]>(at)?;
    let before = *check;
    if !is_tcp && before == [0, 0] {
        return Some(Sum::default());
    }
    let changed = Sum::of_header(before).plus(change).finish();
    *check = if !is_tcp && changed == [0, 0] { [0xff, 0xff] } else { changed };
    Some(Sum::default().remove_bytes(&before).add_bytes(&*check))
}

/// Changes the checksum of the ICMP message at `at`.
#[inline(always)]
fn change_message(packet: &mut Packet, at: usize, change: Sum) -> Option<()> {
    let [_, _, a, b, ..] = packet.header_mut::<[u8; 8]>(at)?;
    [*a, *b] = Sum::of_header([*a, *b]).plus(change).finish();
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
