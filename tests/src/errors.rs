//! ICMP errors as routers and hosts send them to a VIP, about what a backend has sent to a client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};

use crate::packet::{ICMP, ICMPV6, Packet, UDP};

/// Who sends errors.
pub const ROUTER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0xfe)),
];

/// One kind of message: its name, type, code, and the other four bytes of its header.
pub type Kind = (&'static str, u8, u8, [u8; 4]);

/// Fragmentation needed, next-hop MTU 1400.
pub const FRAGMENTATION_NEEDED: Kind = ("fragmentation needed", 3, 4, [0, 0, 0x05, 0x78]);
/// Packet too big, MTU 1400.
pub const PACKET_TOO_BIG: Kind = ("packet too big", 2, 0, [0, 0, 0x05, 0x78]);

/// The errors of ICMP (RFC 792, RFC 1812 section 5.2.7.1).
pub const ERRORS_V4: [Kind; 9] = [
    ("network unreachable", 3, 0, [0; 4]),
    ("host unreachable", 3, 1, [0; 4]),
    ("protocol unreachable", 3, 2, [0; 4]),
    ("port unreachable", 3, 3, [0; 4]),
    FRAGMENTATION_NEEDED,
    ("administratively prohibited", 3, 13, [0; 4]),
    ("time exceeded in transit", 11, 0, [0; 4]),
    ("reassembly time exceeded", 11, 1, [0; 4]),
    ("parameter problem", 12, 0, [20, 0, 0, 0]),
];

/// The errors of ICMPv6 (RFC 4443 section 3).
pub const ERRORS_V6: [Kind; 8] = [
    ("no route", 1, 0, [0; 4]),
    ("prohibited", 1, 1, [0; 4]),
    ("address unreachable", 1, 3, [0; 4]),
    ("port unreachable", 1, 4, [0; 4]),
    PACKET_TOO_BIG,
    ("hop limit exceeded", 3, 0, [0; 4]),
    ("reassembly time exceeded", 3, 1, [0; 4]),
    ("parameter problem", 4, 1, [0, 0, 0, 40]),
];

/// The errors of the family of `packet`.
#[must_use]
pub fn of_family(packet: &Packet) -> &'static [Kind] {
    if packet.destination.is_ipv4() { &ERRORS_V4 } else { &ERRORS_V6 }
}

/// What a backend answers in the flow of `packet`: a large packet, the other way.
#[must_use]
pub fn reply(packet: &Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        syn: false,
        ack: packet.protocol != UDP,
        payload: vec![0x5a; 1400],
        ..packet.clone()
    }
}

/// The error of a kind about `quoted`, a packet that `vip` has sent, or as much of one as is quoted.
#[must_use]
pub fn about(quoted: &[u8], vip: IpAddr, kind: Kind) -> Packet {
    between(ROUTER[usize::from(vip.is_ipv6())], vip, quoted, kind)
}

/// The same from somebody to somebody.
///
/// # Panics
///
/// Where the quote is too long for a packet.
#[must_use]
pub fn between(source: IpAddr, destination: IpAddr, quoted: &[u8], kind: Kind) -> Packet {
    let (_, type_u8, code_u8, bytes5to8) = kind;
    let (header, protocol) = if let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) {
        let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
        let header = Icmpv6Header::with_checksum(kind, source.octets(), destination.octets(), quoted);
        (header.expect("fits").to_bytes().to_vec(), ICMPV6)
    } else {
        let kind = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 };
        (Icmpv4Header::with_checksum(kind, quoted).to_bytes().to_vec(), ICMP)
    };
    Packet { source, destination, protocol, payload: [&header, quoted].concat(), ..Packet::default() }
}

/// The error of a kind about the backend's answer to `packet`, quoting as much of it as Linux does.
#[must_use]
pub fn to(packet: &Packet, kind: Kind) -> Packet {
    let mut quoted = reply(packet).ip();
    quoted.truncate(if packet.destination.is_ipv4() { 576 - 28 } else { 1280 - 48 });
    about(&quoted, packet.destination, kind)
}
