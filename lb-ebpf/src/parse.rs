//! From bytes to facts: addresses, ports, and where the IP packet lies. Later stages read the facts, not the packet.
//!
//! What cannot be read down to its ports is not yet a fault: only the destination address tells whether it is any of
//! Sluice's business, so it comes back with the fault that it has if it is.

use lb_common::{address::Address, counter::Reason, flow::Flow};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    packet::{Ethernet, Packet, Tag},
    verdict::Verdict,
};

/// EtherType of IPv4, network byte order.
pub const IPV4_BE: u16 = 0x0800_u16.to_be();
/// EtherType of IPv6, network byte order.
pub const IPV6_BE: u16 = 0x86dd_u16.to_be();
/// EtherType of an 802.1Q tag, network byte order.
pub const VLAN_BE: u16 = 0x8100_u16.to_be();
/// EtherType of an 802.1ad service tag, network byte order.
const QINQ_BE: u16 = 0x88a8_u16.to_be();

/// IPv6 extension headers that are read before a packet counts as having too many. RFC 8504 section 5.3 lets a node
/// set such a limit; hop-by-hop, routing and two destination options are what RFC 8200 section 4.1 foresees.
const MAX_EXTENSIONS: usize = 4;

const TCP: u8 = 6;
const UDP: u8 = 17;
const FLAG_SYN: u8 = 0x02;
const FLAG_ACK: u8 = 0x10;

/// The frame's link layer, but for the MAC addresses.
#[derive(Clone, Copy)]
pub struct Link {
    /// Number of VLAN tags, 0 to 2.
    pub tags: usize,
    /// EtherType behind the MAC addresses, network byte order: the outer tag's where there is one.
    pub first_be: u16,
    /// The first tag.
    pub outer: Tag,
    /// The second tag.
    pub inner: Tag,
    /// EtherType of the payload, network byte order.
    pub ether_type_be: u16,
}

/// Where there is no tag.
const NO_TAG: Tag = Tag { tci: [0; 2], ether_type: [0; 2] };

impl Link {
    /// A link layer without tags.
    #[inline(always)]
    pub const fn untagged(ether_type_be: u16) -> Self {
        Self { tags: 0, first_be: ether_type_be, outer: NO_TAG, inner: NO_TAG, ether_type_be }
    }

    /// A link layer with one 802.1Q tag, `vlan` in host byte order.
    #[inline(always)]
    pub const fn tagged(vlan: u16, ether_type_be: u16) -> Self {
        let outer = Tag { tci: vlan.to_be_bytes(), ..NO_TAG };
        Self { tags: 1, first_be: VLAN_BE, outer, inner: NO_TAG, ether_type_be }
    }

    /// The same tags around another payload.
    #[inline(always)]
    pub const fn around(self, ether_type_be: u16) -> Self {
        if self.tags == 0 { Self::untagged(ether_type_be) } else { Self { ether_type_be, ..self } }
    }

    /// Bytes before the IP header.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        14 + 4 * self.tags
    }
}

/// What the later stages know of a packet.
#[derive(Clone, Copy)]
pub struct Facts {
    /// The frame.
    pub link: Link,
    /// The 5-tuple.
    pub flow: Flow,
    /// Bytes of the IP packet by its own header; the frame may be padded beyond.
    pub ip_len: u16,
    /// IPv4 type of service or IPv6 traffic class.
    pub traffic_class: u8,
    /// Whether the packet opens a connection: a TCP SYN without ACK.
    pub opens: bool,
}

/// What an IP packet turned out to be.
pub enum Parsed {
    /// A flow's packet.
    Flow(Facts),
    /// Something for this address that has no ports to be read, and why.
    Address(Address, Reason),
}

/// An IP header's facts.
struct Ip {
    source: Address,
    destination: Address,
    length: u16,
    traffic_class: u8,
    /// Protocol and offset of the payload, or why there is none to be read.
    payload: Result<(u8, usize), Reason>,
}

/// Reads a packet. Anything but IP passes.
#[inline(always)]
pub fn parse(packet: &Packet) -> Result<Parsed, Verdict> {
    let link = link(packet).ok_or(Verdict::pass(Reason::NotIp))?;
    let ip = match link.ether_type_be {
        IPV4_BE => ipv4(packet, link.len()),
        IPV6_BE => ipv6(packet, link.len()),
        _ => None,
    }
    .ok_or(Verdict::pass(Reason::NotIp))?;
    let (protocol, offset) = match ip.payload {
        Ok(payload) => payload,
        Err(reason) => return Ok(Parsed::Address(ip.destination, reason)),
    };
    let ports_and_flags = match protocol {
        TCP => tcp(packet, offset),
        UDP => udp(packet, offset),
        _ => return Ok(Parsed::Address(ip.destination, Reason::OtherProtocol)),
    };
    let Some(([a, b, c, d], opens)) = ports_and_flags else {
        return Ok(Parsed::Address(ip.destination, Reason::Truncated));
    };
    let flow = Flow {
        source: ip.source,
        destination: ip.destination,
        source_port: [a, b],
        destination_port: [c, d],
        protocol: u32::from(protocol),
    };
    Ok(Parsed::Flow(Facts { link, flow, ip_len: ip.length, traffic_class: ip.traffic_class, opens }))
}

/// Reads the Ethernet header and at most two VLAN tags.
#[inline(always)]
pub fn link(packet: &Packet) -> Option<Link> {
    let first_be = u16::from_ne_bytes(packet.header::<Ethernet>(0)?.ether_type);
    if !is_tag(first_be) {
        return Some(Link::untagged(first_be));
    }
    let outer = *packet.header::<Tag>(14)?;
    let second_be = u16::from_ne_bytes(outer.ether_type);
    if !is_tag(second_be) {
        return Some(Link { tags: 1, first_be, outer, inner: NO_TAG, ether_type_be: second_be });
    }
    let inner = *packet.header::<Tag>(18)?;
    let ether_type_be = u16::from_ne_bytes(inner.ether_type);
    Some(Link { tags: 2, first_be, outer, inner, ether_type_be })
}

#[inline(always)]
const fn is_tag(ether_type_be: u16) -> bool {
    ether_type_be == VLAN_BE || ether_type_be == QINQ_BE
}

/// Reads an IPv4 header (RFC 791). `None` where the frame does not hold one.
#[inline(always)]
fn ipv4(packet: &Packet, offset: usize) -> Option<Ip> {
    let header = packet.header::<Ipv4Hdr>(offset)?;
    if header.vihl >> 4 != 4 {
        return None;
    }
    let header_len = usize::from(header.vihl & 0x0f) * 4;
    let ip_len = u16::from_be_bytes(header.tot_len);
    let payload = if header_len < 20 || usize::from(ip_len) < header_len || !fits(packet, offset, ip_len) {
        Err(Reason::BadHeader)
    } else if is_fragment(header) {
        Err(Reason::Fragment)
    } else {
        Ok((header.proto, offset + header_len))
    };
    Some(Ip {
        source: Address::from_v4(header.src_addr),
        destination: Address::from_v4(header.dst_addr),
        length: ip_len,
        traffic_class: header.tos,
        payload,
    })
}

/// Whether more fragments follow or this one has an offset (RFC 791 section 3.1).
#[inline(always)]
pub fn is_fragment(header: &Ipv4Hdr) -> bool {
    u16::from_be_bytes(header.frags) & 0x3fff != 0
}

/// Reads an IPv6 header (RFC 8200) and its extension headers. `None` where the frame does not hold one.
#[inline(always)]
fn ipv6(packet: &Packet, offset: usize) -> Option<Ip> {
    let header = packet.header::<Ipv6Hdr>(offset)?;
    let [a, b, ..] = header.vcf;
    if a >> 4 != 6 {
        return None;
    }
    let ip_len = u16::from_be_bytes(header.payload_len).saturating_add(40);
    let payload = if fits(packet, offset, ip_len) {
        ipv6_payload(packet, header.next_hdr, offset + 40)
    } else {
        Err(Reason::BadHeader)
    };
    Some(Ip {
        source: Address::from_v6(header.src_addr),
        destination: Address::from_v6(header.dst_addr),
        length: ip_len,
        traffic_class: a << 4 | b >> 4,
        payload,
    })
}

/// Whether the frame holds as many bytes as the IP header says. It may hold more: short frames are padded.
#[inline(always)]
fn fits(packet: &Packet, offset: usize, ip_len: u16) -> bool {
    offset as u64 + u64::from(ip_len) <= packet.len()
}

/// Walks the extension headers (RFC 8200 section 4) to the transport protocol.
#[inline(always)]
fn ipv6_payload(packet: &Packet, first: u8, first_offset: usize) -> Result<(u8, usize), Reason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let (mut next, mut offset) = (first, first_offset);
    for _ in 0..MAX_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [following, length] = *packet.header::<[u8; 2]>(offset).ok_or(Reason::Truncated)?;
                next = following;
                offset += (usize::from(length) + 1) * 8;
            }
            FRAGMENT => return Err(Reason::Fragment),
            _ => return Ok((next, offset)),
        }
    }
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION => Err(Reason::TooManyHeaders),
        FRAGMENT => Err(Reason::Fragment),
        _ => Ok((next, offset)),
    }
}

/// Ports, and whether a connection is opened (RFC 9293 section 3.1).
#[inline(always)]
fn tcp(packet: &Packet, offset: usize) -> Option<([u8; 4], bool)> {
    let header = packet.header::<[u8; 20]>(offset)?;
    let [a, b, c, d, ..] = *header;
    Some(([a, b, c, d], header[13] & (FLAG_SYN | FLAG_ACK) == FLAG_SYN))
}

/// Ports (RFC 768). Nothing in UDP says that a flow begins.
#[inline(always)]
fn udp(packet: &Packet, offset: usize) -> Option<([u8; 4], bool)> {
    let [a, b, c, d, ..] = *packet.header::<[u8; 8]>(offset)?;
    Some(([a, b, c, d], false))
}
