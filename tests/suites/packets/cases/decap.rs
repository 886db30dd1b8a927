//! The backend's side of tunnels: what is taken off, and what is somebody else's tunnel.

use lb_common::counter::Reason::{Decapsulated, EcnLost, NotOurs};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    cases::modes,
    expected::{Expected, GUE_PORT},
    scenes::{DECAP, VIPS, ip},
};

/// What lies between the outer IP header and the packet.
#[derive(Clone, Copy)]
enum Tunnel {
    Ipip,
    Gue,
    GueDirect,
}

const TUNNELS: [(&str, Tunnel); 3] =
    [("ipip", Tunnel::Ipip), ("gue", Tunnel::Gue), ("gue without header", Tunnel::GueDirect)];

/// Hosts of either family: the balancer, and the backend.
const HOSTS: [(&str, &str, &str); 2] =
    [("IPv4", "198.51.100.1", "198.51.100.11"), ("IPv6", "2001:db8:51::1", "2001:db8:51::11")];

pub fn cases() -> Vec<Case> {
    [shapes(), frames(), congestion(), others(), strange_gue()].into_iter().flatten().collect()
}

/// `inner` in a tunnel between hosts of a family, in the frame and with the tags of `inner`.
fn packed(inner: &Packet, tunnel: Tunnel, (_, balancer, backend): (&str, &str, &str)) -> Packet {
    let number = if inner.destination.is_ipv4() { 4 } else { 41 };
    let outer = Packet {
        tags: inner.tags.clone(),
        source: ip(balancer),
        destination: ip(backend),
        traffic_class: inner.traffic_class,
        padding: inner.padding,
        ..Packet::default()
    };
    let gue = |header: &[u8]| Packet {
        protocol: UDP,
        source_port: 0xc123,
        destination_port: GUE_PORT,
        payload: [header, &inner.ip()].concat(),
        ..outer.clone()
    };
    match tunnel {
        Tunnel::Ipip => Packet { protocol: number, payload: inner.ip(), ..outer },
        Tunnel::Gue => gue(&[0, number, 0, 0]),
        Tunnel::GueDirect => gue(&[]),
    }
}

fn taken_off(name: String, outer: impl crate::case::Frame, inner: &Packet) -> Case {
    DECAP.gives(name, outer, Decapsulated, Expected::exactly(inner.build()))
}

fn shapes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (way, tunnel) in TUNNELS {
        for hosts in HOSTS {
            for (shape, inner) in modes::shapes() {
                cases.push(taken_off(
                    format!("{way} over {}: {shape}", hosts.0),
                    packed(&inner, tunnel, hosts),
                    &inner,
                ));
            }
        }
    }
    cases
}

fn frames() -> Vec<Case> {
    let mut cases = Vec::new();
    for (way, tunnel) in TUNNELS {
        for (what, tags) in [("a tag", vec![(0x8100, 9)]), ("QinQ", vec![(0x88a8, 8), (0x8100, 9)])] {
            for (family, inner) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
                let inner = Packet { tags: tags.clone(), ..inner };
                cases.push(taken_off(
                    format!("{way}: {family} with {what}"),
                    packed(&inner, tunnel, HOSTS[0]),
                    &inner,
                ));
            }
        }
        let nested = Packet { protocol: 4, payload: Packet::default().ip(), ..Packet::default() };
        cases.push(taken_off(
            format!("{way}: a tunnel in a tunnel loses one header"),
            packed(&nested, tunnel, HOSTS[0]),
            &nested,
        ));
        let fragment = Packet { fragment: Some((185, true)), ..Packet::default() };
        cases.push(taken_off(
            format!("{way}: a fragment inside"),
            packed(&fragment, tunnel, HOSTS[0]),
            &fragment,
        ));
    }
    cases
}

/// RFC 6040 section 4.2: a row for what the inner packet says, a column for what the outer one does.
fn congestion() -> Vec<Case> {
    const NOT: u8 = 0;
    const ECT1: u8 = 1;
    const ECT0: u8 = 2;
    const CE: u8 = 3;
    let rows = [
        (NOT, [Some(NOT), Some(NOT), Some(NOT), None]),
        (ECT0, [Some(ECT0), Some(ECT1), Some(ECT0), Some(CE)]),
        (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]),
        (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
    ];
    let mut cases = Vec::new();
    for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        for (inside, row) in rows {
            for (outside, combined) in [NOT, ECT1, ECT0, CE].into_iter().zip(row) {
                // DSCP is the inner packet's own.
                let inner = Packet { traffic_class: 0xb8 | inside, ..packet.clone() };
                let outer =
                    Packet { traffic_class: 0x28 | outside, ..packed(&inner, Tunnel::Ipip, HOSTS[0]) };
                let name = format!("{family}: ECN {inside:02b} in {outside:02b}");
                cases.push(match combined {
                    Some(ecn) => taken_off(name, outer, &Packet { traffic_class: 0xb8 | ecn, ..inner }),
                    None => DECAP.drops(name, outer, EcnLost),
                });
            }
        }
    }
    cases
}

/// Tunnels that the host may have of its own, and what is no tunnel.
fn others() -> Vec<Case> {
    let elsewhere = Packet { destination: ip("203.0.113.99"), ..Packet::default() };
    let elsewhere_v6 = Packet { destination: ip("2001:db8:113::99"), ..Packet::v6() };
    let plain = Packet { destination: ip("198.51.100.11"), ..Packet::default() };
    let outer = || packed(&Packet::default(), Tunnel::Ipip, HOSTS[0]);
    let mut cases = vec![
        DECAP.passes("a packet for the host itself", plain, NotOurs),
        DECAP.passes("a packet for a VIP without tunnel", Packet::default(), NotOurs),
        DECAP.passes("ARP", [&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat(), NotOurs),
        DECAP.passes("an outer header with options", Packet { options: vec![1; 4], ..outer() }, NotOurs),
        DECAP.passes("a fragment of a tunnel", Packet { fragment: Some((0, true)), ..outer() }, NotOurs),
        DECAP.passes(
            "a later fragment of a tunnel",
            Packet { fragment: Some((9, false)), ..outer() },
            NotOurs,
        ),
        DECAP.passes("GRE", Packet { protocol: 47, ..outer() }, NotOurs),
        DECAP.passes("IPv6 announced, IPv4 inside", Packet { protocol: 41, ..outer() }, NotOurs),
        DECAP.passes("a tunnel with nothing inside", Packet { payload: Vec::new(), ..outer() }, NotOurs),
        DECAP.passes(
            "a tunnel with half a header inside",
            Packet { payload: vec![0x45; 12], ..outer() },
            NotOurs,
        ),
    ];
    for (way, tunnel) in TUNNELS {
        for (family, inner) in [("IPv4", &elsewhere), ("IPv6", &elsewhere_v6)] {
            let name = format!("{way}: {family} for another address inside");
            cases.push(DECAP.passes(name, packed(inner, tunnel, HOSTS[1]), NotOurs));
        }
        let source = Packet { source: ip(VIPS[0]), ..elsewhere.clone() };
        cases.push(DECAP.passes(
            format!("{way}: from a VIP inside"),
            packed(&source, tunnel, HOSTS[0]),
            NotOurs,
        ));
    }
    cases
}

/// What a GUE header may say and this end does not understand.
fn strange_gue() -> Vec<Case> {
    let with = |header: [u8; 4]| Packet {
        payload: [&header[..], &Packet::default().ip()].concat(),
        ..packed(&Packet::default(), Tunnel::Gue, HOSTS[0])
    };
    let port = |destination_port| Packet { destination_port, ..with([0, 4, 0, 0]) };
    vec![
        DECAP.passes("a control message of GUE", with([0x20, 4, 0, 0]), NotOurs),
        DECAP.passes("GUE with optional fields", with([0x01, 4, 0, 0]), NotOurs),
        DECAP.passes("GUE with flags", with([0, 4, 0x80, 0]), NotOurs),
        DECAP.passes("GUE of variant 2", with([0x80, 4, 0, 0]), NotOurs),
        DECAP.passes("GUE of variant 3", with([0xc0, 4, 0, 0]), NotOurs),
        DECAP.passes("TCP right in GUE", with([0, 6, 0, 0]), NotOurs),
        DECAP.passes("UDP to the port before", port(GUE_PORT - 1), NotOurs),
        DECAP.passes("UDP to the port in the other byte order", port(GUE_PORT.swap_bytes()), NotOurs),
        DECAP.passes(
            "a datagram of three bytes",
            Packet { payload: vec![0, 4, 0], ..port(GUE_PORT) },
            NotOurs,
        ),
    ]
}
