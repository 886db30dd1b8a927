//! What is none of the balancer's business, and leaves as it came.

use lb_common::counter::Reason::{NotIp, NotOurs, OtherProtocol};
use lb_tests::packet::{BALANCER_MAC, CLIENT_MAC, End, ICMP, Packet, UDP, link};

use crate::{
    case::Case,
    scenes::{IPIP_V4, L2_V4, ip},
};

/// IGMP, SCTP and the rest of what a VIP may get besides TCP and UDP, by IANA's numbers.
const OTHERS: [(&str, u8); 8] = [
    ("IGMP", 2),
    ("IPv4 in IP", 4),
    ("IPv6 in IP", 41),
    ("GRE", 47),
    ("ESP", 50),
    ("AH", 51),
    ("OSPF", 89),
    ("SCTP", 132),
];

fn elsewhere() -> Packet {
    Packet { destination: ip("203.0.113.99"), ..Packet::default() }
}

fn elsewhere_v6() -> Packet {
    Packet { destination: ip("2001:db8:113::99"), ..Packet::v6() }
}

/// A frame of an EtherType.
fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&link(BALANCER_MAC, CLIENT_MAC, &[], ether_type), payload].concat()
}

/// The packet that a server sends back.
fn reply(packet: Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        syn: true,
        ack: true,
        ..packet
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = link_layer();
    cases.extend(addresses());
    cases.extend(ports());
    for (name, protocol) in OTHERS {
        let (v4, v6) = (Packet { protocol, ..Packet::default() }, Packet { protocol, ..Packet::v6() });
        cases.push(IPIP_V4.passes(format!("{name} to an IPv4 VIP"), v4, OtherProtocol));
        cases.push(IPIP_V4.passes(format!("{name} to an IPv6 VIP"), v6, OtherProtocol));
        let other = Packet { protocol, ..elsewhere() };
        cases.push(IPIP_V4.passes(format!("{name} to another address"), other, NotOurs));
    }
    cases
}

fn link_layer() -> Vec<Case> {
    let three = vec![(0x88a8, 5), (0x8100, 6), (0x8100, 7)];
    vec![
        L2_V4.passes("ARP", ethernet(0x0806, &[0; 46]), NotIp),
        L2_V4.passes("LLDP", ethernet(0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1, 0, 0]), NotIp),
        L2_V4.passes("MPLS", ethernet(0x8847, &Packet::default().ip()), NotIp),
        L2_V4.passes("PPPoE", ethernet(0x8864, &Packet::default().ip()), NotIp),
        L2_V4.passes("MACsec", ethernet(0x88e5, &[0; 60]), NotIp),
        L2_V4.passes("spanning tree's length in place of an EtherType", ethernet(38, &[0x42; 46]), NotIp),
        L2_V4.passes("an EtherType that nobody has", ethernet(0xfffe, &[0xff; 64]), NotIp),
        L2_V4.passes("nothing but an Ethernet header", ethernet(0x0800, &[]), NotIp),
        L2_V4.passes("ARP in a VLAN", link(BALANCER_MAC, CLIENT_MAC, &[(0x8100, 7)], 0x0806), NotIp),
        L2_V4.passes("three VLAN tags", Packet { tags: three, ..Packet::default() }, NotIp),
        L2_V4.passes("IPv6 announced as IPv4", ethernet(0x0800, &Packet::v6().ip()), NotIp),
        L2_V4.passes("IPv4 announced as IPv6", ethernet(0x86dd, &Packet::default().ip()), NotIp),
        L2_V4.passes("IP of version 0", ethernet(0x0800, &[0; 60]), NotIp),
        L2_V4.passes("IP of version 15", ethernet(0x86dd, &[0xff; 60]), NotIp),
    ]
}

fn addresses() -> Vec<Case> {
    let to = |destination| Packet { destination: ip(destination), ..Packet::default() };
    let to_v6 = |destination| Packet { destination: ip(destination), ..Packet::v6() };
    vec![
        L2_V4.passes("another IPv4 address", elsewhere(), NotOurs),
        L2_V4.passes("another IPv6 address", elsewhere_v6(), NotOurs),
        L2_V4.passes("a backend's address", to("198.51.100.11"), NotOurs),
        L2_V4.passes("broadcast", to("255.255.255.255"), NotOurs),
        L2_V4.passes("IPv4 multicast", to("224.0.0.251"), NotOurs),
        L2_V4.passes("IPv6 multicast", to_v6("ff02::1"), NotOurs),
        L2_V4.passes("IPv6 link-local", to_v6("fe80::1"), NotOurs),
        L2_V4.passes("a VIP's bytes as IPv4-mapped IPv6", to_v6("::ffff:203.0.113.10"), NotIp),
        L2_V4.passes("a VIP's bytes as IPv4-compatible IPv6", to_v6("::203.0.113.10"), NotOurs),
        L2_V4.passes("a reply from an IPv4 VIP", reply(Packet::default()), NotOurs),
        L2_V4.passes("a reply from an IPv6 VIP", reply(Packet::v6()), NotOurs),
        L2_V4.passes("ICMP to another address", Packet { protocol: ICMP, ..elsewhere() }, NotOurs),
        L2_V4.passes("ICMPv6 to another address", Packet { protocol: 58, ..elsewhere_v6() }, NotOurs),
        L2_V4.passes("options to another address", Packet { options: vec![1; 40], ..elsewhere() }, NotOurs),
        L2_V4.passes("TTL at its end for another address", with_ttl(&elsewhere(), 1), NotOurs),
        L2_V4.passes("a packet from nowhere for another address", from_nowhere(), NotOurs),
        L2_V4.passes("impossible TCP flags for another address", christmas_tree(), NotOurs),
        L2_V4.passes("a jumbo frame for another address", jumbo(), NotOurs),
    ]
}

/// The frame with another TTL, its checksum left as it was: that is not the balancer's to look at.
fn with_ttl(packet: &Packet, ttl: u8) -> Vec<u8> {
    let mut frame = packet.build();
    frame[22] = ttl;
    frame
}

fn from_nowhere() -> Packet {
    Packet { source: ip("0.0.0.0"), ..elsewhere() }
}

fn christmas_tree() -> Packet {
    Packet { syn: true, ack: true, end: Some(End::Fin), ..elsewhere() }
}

/// The largest frame that the kernel's test run takes in one piece, about.
fn jumbo() -> Packet {
    Packet { payload: vec![7; 3_200], ..elsewhere() }
}

fn ports() -> Vec<Case> {
    let to = |destination_port| Packet { destination_port, ..Packet::default() };
    let to_v6 = |destination_port| Packet { destination_port, ..Packet::v6() };
    let udp = |destination_port| Packet { protocol: UDP, ..to(destination_port) };
    vec![
        L2_V4.passes("another TCP port over IPv4", to(81), NotOurs),
        L2_V4.passes("another TCP port over IPv6", to_v6(81), NotOurs),
        L2_V4.passes("another UDP port", udp(53), NotOurs),
        L2_V4.passes("port 0", to(0), NotOurs),
        L2_V4.passes("the last port", to(65_535), NotOurs),
        L2_V4.passes("the service's port in the other byte order", to(80u16.swap_bytes()), NotOurs),
        L2_V4.passes("the service's port as source", Packet { source_port: 80, ..to(40_000) }, NotOurs),
    ]
}
