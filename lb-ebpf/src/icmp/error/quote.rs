//! The packet that an error quotes: one from the VIP that the error has come to, with ports.

use lb_common::{address::Address, flow::Flow};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    icmp::{ICMP, ICMPV6, MESSAGE_LEN},
    packet::{MAX_OFFSET, Packet},
    parse::{self, FRAGMENT, FRAGMENT_OFFSET, Fault, IPV4_BE, Ip, TCP, UDP},
};

/// Destination unreachable, time exceeded and parameter problem (RFC 792). Source quench and redirect are none: nobody
/// sends the one any more (RFC 6633), and the other is for hosts.
const ERRORS: [u8; 3] = [3, 11, 12];
/// Destination unreachable, packet too big, time exceeded and parameter problem (RFC 4443 section 3).
const ERRORS_V6: [u8; 4] = [1, 2, 3, 4];

/// The header that is quoted, as far as it matters.
pub struct Quoted {
    /// Who has sent the packet.
    source: Address,
    /// Whom it was for.
    pub destination: Address,
    /// What it carries: IANA's number.
    pub protocol: u8,
    /// Where that begins.
    pub ports_at: usize,
}

/// Where the parts of an error lie.
pub struct Places {
    /// The ICMP message.
    pub message_at: usize,
    /// The IP header that it quotes.
    pub header_at: usize,
    /// The ports that it quotes.
    pub ports_at: usize,
    /// The end of the error.
    pub end: usize,
    /// Whether it is ICMP, and not ICMPv6.
    pub is_v4: bool,
}

/// The flow that an error is about: what it quotes, turned round.
#[inline(always)]
pub(super) fn flow(packet: &Packet) -> Option<Flow> {
    let (places, ip, quoted) = read(packet)?;
    quoted.flow(packet, &ip, places.end)
}

/// Where the parts of an error lie that [`flow`] has read.
#[inline(always)]
pub fn places(packet: &Packet) -> Option<Places> {
    read(packet).map(|(places, ..)| places)
}

/// Reads an error, down to the packet that it quotes.
#[inline(always)]
pub fn read(packet: &Packet) -> Option<(Places, Ip, Quoted)> {
    let link = parse::link(packet)?;
    let ip = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?;
    let is_v4 = link.ether_type_be == IPV4_BE;
    let kind = packet.header::<[u8; MESSAGE_LEN]>(ip.payload_at)?[0];
    let at = ip.payload_at + MESSAGE_LEN;
    let quoted = if is_v4 && ip.protocol == ICMP && ERRORS.contains(&kind) {
        ipv4(packet, at)?
    } else if !is_v4 && ip.protocol == ICMPV6 && ERRORS_V6.contains(&kind) {
        ipv6(packet, at)?
    } else {
        return None;
    };
    let (message_at, ports_at, end) = (ip.payload_at, quoted.ports_at, link.len() + usize::from(ip.length));
    Some((Places { message_at, header_at: at, ports_at, end, is_v4 }, ip, quoted))
}

/// A later fragment has no ports.
#[inline(always)]
fn ipv4(packet: &Packet, at: usize) -> Option<Quoted> {
    let header = packet.header::<Ipv4Hdr>(at)?;
    let header_len = usize::from(header.vihl & 0x0f) * 4;
    let is_later = u16::from_be_bytes(header.frags) & FRAGMENT_OFFSET != 0;
    if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || is_later {
        return None;
    }
    let (source, destination) = (Address::from_v4(header.src_addr), Address::from_v4(header.dst_addr));
    Some(Quoted { source, destination, protocol: header.proto, ports_at: at + header_len })
}

#[inline(always)]
fn ipv6(packet: &Packet, at: usize) -> Option<Quoted> {
    if at + Ipv6Hdr::LEN > MAX_OFFSET {
        return None;
    }
    let header = packet.header::<Ipv6Hdr>(at)?;
    if header.vcf[0] >> 4 != 6 {
        return None;
    }
    let (source, destination) = (Address::from_v6(header.src_addr), Address::from_v6(header.dst_addr));
    let (protocol, ports_at) = parse::ipv6_payload(packet, header.next_hdr, at + Ipv6Hdr::LEN).ok()?;
    if protocol != FRAGMENT {
        return Some(Quoted { source, destination, protocol, ports_at });
    }
    let [protocol, _, offset @ .., _, _, _, _] = *packet.header::<[u8; 8]>(ports_at)?;
    let is_later = u16::from_be_bytes(offset) & 0xfff8 != 0;
    let ports_at = ports_at + 8;
    (!is_later && ports_at <= MAX_OFFSET).then_some(Quoted { source, destination, protocol, ports_at })
}

impl Quoted {
    /// The flow that the packet is an answer in, if its ports are quoted before `end` and the error `ip` has come to the
    /// one who sent it.
    #[inline(always)]
    pub fn flow(&self, packet: &Packet, ip: &Ip, end: usize) -> Option<Flow> {
        if self.protocol != TCP && self.protocol != UDP || self.source != ip.destination {
            return None;
        }
        let [a, b, c, d] = *packet.header::<[u8; 4]>(self.ports_at)?;
        (self.ports_at + 4 <= end).then_some(Flow {
            source: self.destination,
            destination: self.source,
            source_port: [c, d],
            destination_port: [a, b],
            protocol: u32::from(self.protocol),
        })
    }
}
