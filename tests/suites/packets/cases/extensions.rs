//! IPv6 extension headers: read through, within bounds.

use lb_common::counter::Reason::{NotOurs, OtherProtocol, TooManyHeaders, Truncated};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    expected::ipip,
    scenes::{IPIP_V4, IPIP_V6, V4, V6, ip},
};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// An extension header of `units` times eight bytes beyond the first eight.
fn extension(number: u8, units: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![units];
    rest.resize(7 + usize::from(units) * 8, 0);
    (number, rest)
}

fn with(extensions: Vec<(u8, Vec<u8>)>) -> Packet {
    Packet { extensions, ..Packet::v6() }
}

pub fn cases() -> Vec<Case> {
    [readable(), unreadable()].into_iter().flatten().collect()
}

fn readable() -> Vec<Case> {
    let chains = [
        ("a hop-by-hop header", vec![extension(HOP_BY_HOP, 0)]),
        ("a routing header of 24 bytes", vec![extension(ROUTING, 2)]),
        ("destination options", vec![extension(DESTINATION, 1)]),
        ("hop-by-hop, then routing", vec![extension(HOP_BY_HOP, 0), extension(ROUTING, 2)]),
        ("four headers", (0..4).map(|_| extension(DESTINATION, 0)).collect()),
        (
            "the chain that RFC 8200 foresees",
            vec![
                extension(HOP_BY_HOP, 0),
                extension(DESTINATION, 0),
                extension(ROUTING, 2),
                extension(DESTINATION, 0),
            ],
        ),
        ("a header of 900 bytes", vec![extension(DESTINATION, 112)]),
    ];
    let mut cases = Vec::new();
    for (name, chain) in chains {
        let tcp = with(chain);
        cases.push(IPIP_V4.sends(format!("{name} before TCP"), &tcp, ipip(&tcp, ip(V4))));
        let udp = Packet { protocol: UDP, ..tcp };
        cases.push(IPIP_V6.sends(format!("{name} before UDP"), &udp, ipip(&udp, ip(V6))));
    }
    cases
}

fn unreadable() -> Vec<Case> {
    let five = || with((0..5).map(|_| extension(DESTINATION, 0)).collect());
    let long = || with(vec![extension(DESTINATION, 130)]);
    let elsewhere = |packet| Packet { destination: ip("2001:db8:113::99"), ..packet };
    let of = |protocol, extensions| Packet { protocol, ..with(extensions) };
    vec![
        IPIP_V4.drops("five headers", five(), TooManyHeaders),
        IPIP_V4.drops("a kilobyte of options", long(), TooManyHeaders),
        IPIP_V4.drops("headers that add up to a kilobyte", adding_up(), TooManyHeaders),
        IPIP_V4.passes("five headers for another address", elsewhere(five()), NotOurs),
        IPIP_V4.passes("a kilobyte of options for another address", elsewhere(long()), NotOurs),
        IPIP_V4.passes("no next header", of(59, vec![]), OtherProtocol),
        IPIP_V4.passes(
            "no next header behind a hop-by-hop header",
            of(59, vec![extension(0, 0)]),
            OtherProtocol,
        ),
        IPIP_V4.passes("a header that nobody has defined", of(253, vec![]), OtherProtocol),
        IPIP_V4.passes("a mobility header", of(135, vec![]), OtherProtocol),
        IPIP_V4.drops("a header that ends behind the packet", beyond_the_end(), Truncated),
        IPIP_V4.drops("a chain that ends with the packet", nothing_behind(), Truncated),
    ]
}

fn adding_up() -> Packet {
    with(vec![extension(HOP_BY_HOP, 60), extension(DESTINATION, 60), extension(ROUTING, 0)])
}

/// Options that announce 512 bytes where 28 are left.
fn beyond_the_end() -> Vec<u8> {
    let mut frame = with(vec![extension(DESTINATION, 0)]).build();
    frame[55] = 63;
    frame
}

/// A hop-by-hop header that announces another one, and the packet ends.
fn nothing_behind() -> Packet {
    Packet { protocol: DESTINATION, payload: Vec::new(), ..with(vec![extension(HOP_BY_HOP, 0)]) }
}
