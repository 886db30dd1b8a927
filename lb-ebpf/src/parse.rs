//! From bytes to facts: addresses, ports, and where the IP packet lies. Later stages read the facts, not the packet.
//!
//! What cannot be read down to its ports is not yet a fault: only the destination address tells whether it is any of
//! Sluice's business, so it comes back with the fault that it has if it is.

use lb_common::{address::Address, connection::Closing, counter::Reason, flow::Flow};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    fragment::{self, Part, Told},
    packet::{Ethernet, MAX_OFFSET, Packet, Tag},
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

/// IANA's number of TCP.
pub const TCP: u8 = 6;
/// IANA's number of UDP.
pub const UDP: u8 = 17;
/// IANA's number of the IPv6 Fragment header.
pub const FRAGMENT: u8 = 44;
/// Bits of IPv4's fragment field that say where in the packet a fragment lies (RFC 791 section 3.1).
pub const FRAGMENT_OFFSET: u16 = 0x1fff;
/// TCP's FIN (RFC 9293 section 3.1).
pub const FLAG_FIN: u8 = 0x01;
/// TCP's SYN (RFC 9293 section 3.1).
pub const FLAG_SYN: u8 = 0x02;
/// TCP's PSH (RFC 9293 section 3.1): what else than a SYN begins with, and so what QUIC's packets that open nothing have.
pub const FLAG_PSH: u8 = 0x08;
/// TCP's RST (RFC 9293 section 3.1).
pub const FLAG_RST: u8 = 0x04;
/// TCP's ACK.
pub const FLAG_ACK: u8 = 0x10;

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
const NO_TAG: Tag = Tag { tci_be: 0, ether_type_be: 0 };

impl Link {
    /// A link layer without tags.
    #[inline(always)]
    pub const fn untagged(ether_type_be: u16) -> Self {
        Self { tags: 0, first_be: ether_type_be, outer: NO_TAG, inner: NO_TAG, ether_type_be }
    }

    /// A link layer with one 802.1Q tag, `vlan` in host byte order.
    #[inline(always)]
    pub const fn tagged(vlan: u16, ether_type_be: u16) -> Self {
        let outer = Tag { tci_be: vlan.to_be(), ..NO_TAG };
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
    /// The control bits of TCP, also those that say of QUIC what they would say of TCP ([`crate::quic`]); none of any other
    /// protocol.
    pub flags: u8,
    /// Whether it is all of a packet. Of another part than the first nothing behind the IP header may be read, whatever
    /// the protocol.
    pub part: Part,
}

impl Facts {
    /// Whether the packet opens a connection: a SYN without ACK (RFC 9293 section 3.1).
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.flags & (FLAG_SYN | FLAG_ACK) == FLAG_SYN
    }

    /// Whether the packet says that it is of a connection that was there before: it has control bits, and opens none.
    #[inline(always)]
    pub const fn goes_on(&self) -> bool {
        self.flags != 0 && !self.opens()
    }

    /// What the packet says of the connection's end.
    #[inline(always)]
    pub const fn closing(&self) -> Closing {
        if self.flags & FLAG_RST != 0 {
            Closing::Reset
        } else if self.flags & FLAG_FIN != 0 {
            Closing::Fin
        } else {
            Closing::Open
        }
    }
}

/// Why a packet has no facts.
pub enum Fault {
    /// It is no IP packet.
    NotIp,
    /// It is something for this address whose ports cannot be read.
    Unreadable(Address, Reason),
}

/// An IP header's facts.
pub struct Ip {
    /// Its source.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
    /// Bytes of the IP packet by its own header.
    pub length: u16,
    /// IPv4 type of service or IPv6 traffic class.
    pub traffic_class: u8,
    /// Transport protocol; of a fragment over IPv6 that of the Fragment header.
    pub protocol: u8,
    /// Where the payload begins.
    pub payload_at: usize,
}

/// Reads a packet behind its link layer; `STRICT` faults a transport header whose own lengths cannot be.
#[inline(always)]
pub fn parse<const STRICT: bool>(packet: &Packet, link: Link) -> Result<Facts, Fault> {
    let ip = ip(packet, link)?;
    // The frame may hold more, but that is padding.
    let end = link.len() + usize::from(ip.length);
    let ports_and_flags = match ip.protocol {
        TCP => tcp(packet, ip.payload_at, end),
        UDP => udp(packet, ip.payload_at, end),
        _ => return Err(Fault::Unreadable(ip.destination, Reason::OtherProtocol)),
    };
    let (ports, flags) = ports_and_flags.ok_or(Fault::Unreadable(ip.destination, Reason::Truncated))?;
    if STRICT && !lengths_hold(packet, &ip, end) {
        return Err(Fault::Unreadable(ip.destination, Reason::BadHeader));
    }
    let (flow, part) = (flow(&ip, ports, ip.protocol), Part::Whole);
    Ok(Facts { link, flow, ip_len: ip.length, traffic_class: ip.traffic_class, flags, part })
}

/// Reads a packet that is a fragment; the reason to drop it where that is not possible.
#[inline(always)]
pub fn parse_fragment(packet: &Packet, link: Link) -> Result<Facts, Reason> {
    match fragment::told(packet) {
        Told::UNWANTED => Err(Reason::Fragment),
        Told::NO_FIRST => Err(Reason::FragmentUnknown),
        Told::TRUNCATED => Err(Reason::Truncated),
        told => {
            let ip = ip_of_any::<true>(packet, link).map_err(|_: Fault| Reason::Internal)?;
            let flow = flow(&ip, told.ports(), told.protocol());
            let (part, flags) = (told.part(), told.flags());
            Ok(Facts { link, flow, ip_len: ip.length, traffic_class: ip.traffic_class, flags, part })
        }
    }
}

/// The 5-tuple of a packet; of `ports` the source's are the lower half.
#[inline(always)]
pub fn flow(ip: &Ip, ports: u32, protocol: u8) -> Flow {
    Flow {
        source: ip.source,
        destination: ip.destination,
        source_port: (ports as u16).to_le_bytes(),
        destination_port: ((ports >> 16) as u16).to_le_bytes(),
        protocol: u32::from(protocol),
    }
}

/// Where a packet's payload lies.
#[derive(Clone, Copy)]
pub struct Payload {
    /// Its first byte.
    pub at: usize,
    /// The end of the IP packet.
    pub end: usize,
}

/// Where the payload of a UDP packet lies that [`parse`] has read.
#[inline(always)]
pub fn udp_payload(packet: &Packet) -> Option<Payload> {
    let link = link(packet)?;
    let ip = ip(packet, link).ok()?;
    Some(Payload { at: ip.payload_at + 8, end: link.len() + usize::from(ip.length) })
}

/// Reads an IP header, extension headers included, of a packet that is no fragment.
#[inline(always)]
pub fn ip(packet: &Packet, link: Link) -> Result<Ip, Fault> {
    ip_of_any::<false>(packet, link)
}

/// Reads an IP header; `FRAGMENTS` says whether that of a fragment too, or as a fault.
#[inline(always)]
pub fn ip_of_any<const FRAGMENTS: bool>(packet: &Packet, link: Link) -> Result<Ip, Fault> {
    match link.ether_type_be {
        IPV4_BE => ipv4::<FRAGMENTS>(packet, link.len()),
        IPV6_BE => ipv6::<FRAGMENTS>(packet, link.len()),
        _ => Err(Fault::NotIp),
    }
}

/// Reads the Ethernet header and at most two VLAN tags.
#[inline(always)]
pub fn link(packet: &Packet) -> Option<Link> {
    let first_be = packet.header::<Ethernet>(0)?.ether_type_be;
    if !is_tag(first_be) {
        return Some(Link::untagged(first_be));
    }
    let outer = *packet.header::<Tag>(14)?;
    let second_be = outer.ether_type_be;
    if !is_tag(second_be) {
        return Some(Link { tags: 1, first_be, outer, inner: NO_TAG, ether_type_be: second_be });
    }
    let inner = *packet.header::<Tag>(18)?;
    let ether_type_be = inner.ether_type_be;
    Some(Link { tags: 2, first_be, outer, inner, ether_type_be })
}

#[inline(always)]
const fn is_tag(ether_type_be: u16) -> bool {
    ether_type_be == VLAN_BE || ether_type_be == QINQ_BE
}

/// Reads an IPv4 header (RFC 791).
#[inline(always)]
fn ipv4<const FRAGMENTS: bool>(packet: &Packet, offset: usize) -> Result<Ip, Fault> {
    let header = packet.header::<Ipv4Hdr>(offset).ok_or(Fault::NotIp)?;
    if header.vihl >> 4 != 4 {
        return Err(Fault::NotIp);
    }
    let destination = Address::from_v4(header.dst_addr);
    let header_len = usize::from(header.vihl & 0x0f) * 4;
    let length = u16::from_be_bytes(header.tot_len);
    if header_len < Ipv4Hdr::LEN || usize::from(length) < header_len || !fits(packet, offset, length) {
        return Err(Fault::Unreadable(destination, Reason::BadHeader));
    }
    if !FRAGMENTS && is_fragment(header) {
        return Err(Fault::Unreadable(destination, Reason::Fragment));
    }
    Ok(Ip {
        source: Address::from_v4(header.src_addr),
        destination,
        length,
        traffic_class: header.tos,
        protocol: header.proto,
        payload_at: offset + header_len,
    })
}

/// Whether more fragments follow or this one has an offset (RFC 791 section 3.1).
#[inline(always)]
pub fn is_fragment(header: &Ipv4Hdr) -> bool {
    u16::from_be_bytes(header.frags) & 0x3fff != 0
}

/// Reads an IPv6 header (RFC 8200) and its extension headers.
#[inline(always)]
fn ipv6<const FRAGMENTS: bool>(packet: &Packet, offset: usize) -> Result<Ip, Fault> {
    let header = packet.header::<Ipv6Hdr>(offset).ok_or(Fault::NotIp)?;
    let version_and_class = u16::from_be_bytes([header.vcf[0], header.vcf[1]]);
    if version_and_class >> 12 != 6 {
        return Err(Fault::NotIp);
    }
    let destination = Address::from_v6(header.dst_addr);
    if destination.is_v4() {
        // A mapped address is on no wire (RFC 4942 section 2.2), and as a key it would be an IPv4 VIP's.
        return Err(Fault::NotIp);
    }
    let length = u16::from_be_bytes(header.payload_len).saturating_add(Ipv6Hdr::LEN as u16);
    if !fits(packet, offset, length) {
        return Err(Fault::Unreadable(destination, Reason::BadHeader));
    }
    let (protocol, payload_at) = ipv6_payload(packet, header.next_hdr, offset + Ipv6Hdr::LEN)
        .map_err(|reason| Fault::Unreadable(destination, reason))?;
    if !FRAGMENTS && protocol == FRAGMENT {
        return Err(Fault::Unreadable(destination, Reason::Fragment));
    }
    let source = Address::from_v6(header.src_addr);
    let traffic_class = (version_and_class >> 4) as u8;
    Ok(Ip { source, destination, length, traffic_class, protocol, payload_at })
}

/// Whether the frame holds as many bytes as the IP header says. It may hold more: short frames are padded.
#[inline(always)]
fn fits(packet: &Packet, offset: usize, ip_len: u16) -> bool {
    offset as u64 + u64::from(ip_len) <= packet.len()
}

/// Walks the extension headers (RFC 8200 section 4) to the transport protocol, or to a Fragment header.
#[inline(always)]
pub fn ipv6_payload(packet: &Packet, first: u8, first_offset: usize) -> Result<(u8, usize), Reason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let (mut next, mut offset) = (first, first_offset);
    for _ in 0..MAX_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [following, length] = *packet.header::<[u8; 2]>(offset).ok_or(Reason::Truncated)?;
                next = following;
                offset += (usize::from(length) + 1) * 8;
                if offset > MAX_OFFSET {
                    return Err(Reason::TooManyHeaders);
                }
            }
            _ => return Ok((next, offset)),
        }
    }
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION => Err(Reason::TooManyHeaders),
        _ => Ok((next, offset)),
    }
}

/// Ports, the source's in the lower half, and control bits (RFC 9293 section 3.1).
#[inline(always)]
pub fn tcp(packet: &Packet, offset: usize, end: usize) -> Option<(u32, u8)> {
    let header = packet.header::<[u8; 20]>(offset).filter(|_| offset + 20 <= end)?;
    let ports = u32::from_le_bytes(*header.first_chunk()?);
    Some((ports, header[13]))
}

/// Ports (RFC 768). Nothing in UDP says that a flow begins.
#[inline(always)]
pub fn udp(packet: &Packet, offset: usize, end: usize) -> Option<(u32, u8)> {
    let header = packet.header::<[u8; 8]>(offset).filter(|_| offset + 8 <= end)?;
    Some((u32::from_le_bytes(*header.first_chunk()?), 0))
}

/// Whether a TCP header is as long as one has to be and no longer than the packet (RFC 9293 section 3.1), or a UDP length
/// likewise (RFC 768).
#[inline(always)]
fn lengths_hold(packet: &Packet, ip: &Ip, end: usize) -> bool {
    let bounds = match ip.protocol {
        TCP => packet.header::<[u8; 20]>(ip.payload_at).map(|header| (20, usize::from(header[12] >> 4) * 4)),
        _ => packet
            .header::<[u8; 8]>(ip.payload_at)
            .map(|header| (8, usize::from(u16::from_be_bytes([header[4], header[5]])))),
    };
    bounds.is_some_and(|(least, length)| length >= least && ip.payload_at + length <= end)
}
