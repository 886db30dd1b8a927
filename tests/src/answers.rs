//! What a balancer answers, written by etherparse from the packet that is answered.

use std::net::IpAddr;

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
    icmpv6,
};

use crate::packet::{BALANCER_MAC, CLIENT_MAC, ICMP, ICMPV6, Packet, link};

/// Fragmentation needed, or packet too big: `packet` would have to be of at most `mtu` bytes.
#[must_use]
pub fn too_big(packet: &Packet, mtu: u16) -> Vec<u8> {
    let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    let (v4, v6) = (
        Icmpv4Type::DestinationUnreachable(needed),
        Icmpv6Type::PacketTooBig { mtu: u32::from(mtu).max(1280) },
    );
    error(packet, v4, v6)
}

/// Time exceeded in transit.
#[must_use]
pub fn time_exceeded(packet: &Packet) -> Vec<u8> {
    let v6 = Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded);
    error(packet, Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit), v6)
}

/// An error about `packet`, quoting as much of it as an error may be long.
fn error(packet: &Packet, v4: Icmpv4Type, v6: Icmpv6Type) -> Vec<u8> {
    let mut quote = packet.ip();
    quote.truncate(if packet.source.is_ipv4() { 576 - 28 } else { 1280 - 48 });
    from_vip(packet, v4, v6, &quote)
}

/// A ping of the VIP of `packet`, and its answer.
#[must_use]
pub fn ping(packet: &Packet, payload: &[u8]) -> (Packet, Vec<u8>) {
    let echo = IcmpEchoHeader { id: 0x1234, seq: 7 };
    let (v4, v6) = (Icmpv4Type::EchoRequest(echo), Icmpv6Type::EchoRequest(echo));
    let message = message(packet.source, packet.destination, v4, v6, payload);
    let protocol = if packet.source.is_ipv4() { ICMP } else { ICMPV6 };
    let ping = Packet { protocol, payload: message, ..packet.clone() };
    (ping, from_vip(packet, Icmpv4Type::EchoReply(echo), Icmpv6Type::EchoReply(echo), payload))
}

/// A frame from the VIP of `packet` to its sender.
fn from_vip(packet: &Packet, v4: Icmpv4Type, v6: Icmpv6Type, payload: &[u8]) -> Vec<u8> {
    let message = message(packet.destination, packet.source, v4, v6, payload);
    let ip = match (packet.source, packet.destination) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let length = message.len() as u16;
            let mut ip =
                Ipv4Header::new(length, 64, IpNumber(ICMP), vip.octets(), client.octets()).expect("fits");
            ip.header_checksum = ip.calc_header_checksum();
            ip.to_bytes().to_vec()
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            let ip = Ipv6Header {
                payload_length: message.len() as u16,
                next_header: IpNumber(ICMPV6),
                hop_limit: 64,
                source: vip.octets(),
                destination: client.octets(),
                ..Ipv6Header::default()
            };
            ip.to_bytes().to_vec()
        }
        _ => unreachable!("one family"),
    };
    let link = link(CLIENT_MAC, BALANCER_MAC, &packet.tags, packet.ether_type());
    [link, ip, message].concat()
}

/// An ICMP message with its checksum.
fn message(from: IpAddr, to: IpAddr, v4: Icmpv4Type, v6: Icmpv6Type, payload: &[u8]) -> Vec<u8> {
    let header = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Icmpv6Header::with_checksum(v6, from.octets(), to.octets(), payload).expect("fits");
            header.to_bytes().to_vec()
        }
        _ => Icmpv4Header::with_checksum(v4, payload).to_bytes().to_vec(),
    };
    [header, payload.to_vec()].concat()
}
