//! What nobody sends in good faith, dropped by name.

use std::net::IpAddr;

use lb_common::counter::Reason::{BadFlags, BogusSource, Land};
use lb_tests::packet::{End, Packet, UDP};

use crate::{
    case::Case,
    expected::l2,
    scenes::{IPIP_V6, L2_V4, STRICT, V4, ip},
};

/// SYN, ACK, and what ends a connection.
type Flags = (bool, bool, Option<End>);

const IMPOSSIBLE: [(&str, Flags); 5] = [
    ("no control bit", (false, false, None)),
    ("FIN alone", (false, false, Some(End::Fin))),
    ("SYN and FIN", (true, false, Some(End::Fin))),
    ("SYN and RST", (true, false, Some(End::Rst))),
    ("SYN, FIN and ACK", (true, true, Some(End::Fin))),
];

const NOBODY: [&str; 7] = ["0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"];

/// Sources that share their first bits with some that nobody can have.
const SOMEBODY: [&str; 8] = [
    "1.1.1.1",
    "3.0.0.1",
    "124.0.0.1",
    "126.255.255.254",
    "223.255.255.254",
    "::2",
    "64:ff9b::c000:201",
    "fd00::1",
];

/// The same where nothing else is guarded, which another program does, and faster.
fn by_the_fast_way() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        let tagged = |packet: &Packet| Packet { tags: vec![(0x8100, 7)], ..packet.clone() };
        for (what, (syn, ack, end)) in IMPOSSIBLE {
            let odd = Packet { syn, ack, end, ..packet.clone() };
            cases.push(STRICT.drops(format!("{family} TCP with {what}, by the fast way"), &odd, BadFlags));
            cases.push(STRICT.drops(format!("{family} TCP in a VLAN with {what}"), tagged(&odd), BadFlags));
        }
        let land = Packet { source: packet.destination, ..packet.clone() };
        cases.push(STRICT.drops(format!("{family} from the VIP to itself, by the fast way"), &land, Land));
        cases.push(STRICT.drops(format!("{family} from the VIP to itself in a VLAN"), tagged(&land), Land));
        let neighbour = Packet { source: near(packet.destination), ..packet };
        cases.push(STRICT.sends(
            format!("{family} from the VIP's neighbour"),
            &neighbour,
            l2(&neighbour, ip(V4)),
        ));
    }
    for source in NOBODY.map(ip) {
        let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
        let packet = Packet { source, protocol: UDP, ..packet };
        cases.push(STRICT.drops(format!("UDP from {source}, by the fast way"), packet, BogusSource));
    }
    cases
}

/// An address that differs from another one in its last bit.
fn near(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from_bits(v4.to_bits() ^ 1).into(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from_bits(v6.to_bits() ^ 1).into(),
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        for (what, (syn, ack, end)) in IMPOSSIBLE {
            let packet = Packet { syn, ack, end, ..packet.clone() };
            cases.push(L2_V4.drops(format!("{family} TCP with {what}"), packet, BadFlags));
        }
        let land = Packet { source: packet.destination, source_port: packet.destination_port, ..packet };
        cases.push(L2_V4.drops(format!("{family} TCP from the VIP to itself"), &land, Land));
        cases.push(IPIP_V6.drops(
            format!("{family} UDP from the VIP to itself"),
            Packet { protocol: UDP, ..land },
            Land,
        ));
    }
    for source in SOMEBODY.map(ip) {
        let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
        let packet = Packet { source, ..packet };
        cases.push(L2_V4.sends(format!("TCP from {source}, which looks odd"), &packet, l2(&packet, ip(V4))));
        cases.push(STRICT.sends(format!("TCP from {source}, by the fast way"), &packet, l2(&packet, ip(V4))));
    }
    cases.extend(by_the_fast_way());
    for source in NOBODY.map(ip) {
        let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
        let packet = Packet { source, ..packet };
        cases.push(IPIP_V6.drops(
            format!("UDP from {source}"),
            Packet { protocol: UDP, ..packet.clone() },
            BogusSource,
        ));
        cases.push(L2_V4.drops(format!("TCP from {source}"), packet, BogusSource));
    }
    cases
}
