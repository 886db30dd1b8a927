//! Fragments of services that want them: where they go, and which are nobody's.

use std::time::Duration;

use lb_common::counter::Reason::{self, Fragment, FragmentUnknown, NotOurs, Transmitted, Truncated};
use lb_tests::packet::{End, Packet, UDP};
use sluice::dataplane::DataPlane as _;

use crate::harness::{Harness, service};

const HOSTS: [&str; 3] = ["198.51.100.11", "198.51.100.12", "198.51.100.13"];
const FIRST: (u16, bool) = (0, true);
const MIDDLE: (u16, bool) = (2, true);
const LAST: (u16, bool) = (4, false);

/// Services of both protocols and families.
fn services(rest: &str, hosts: &[&str]) -> String {
    let mut toml = String::new();
    for (vip, family) in [("203.0.113.10", 4), ("2001:db8:113::10", 6)] {
        for protocol in ["tcp", "udp"] {
            let rest = format!("protocol = \"{protocol}\"\nforwarding = \"l2\"\n{rest}");
            toml += &service(&format!("{protocol}-{family}"), vip, "80", &rest, hosts);
        }
    }
    toml
}

fn balancer() -> Harness {
    Harness::new(&services("fragments = true", &HOSTS))
}

/// The packets whose fragments are tried, each from an address of its own, since all have the same identification.
fn packets(port: u16) -> Vec<Packet> {
    let of = |packet: Packet| Packet { source_port: port, ..packet };
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let packets = [
        of(Packet::default()),
        of(Packet { protocol: UDP, ..Packet::default() }),
        of(Packet { options: vec![1; 8], tags: vec![(0x88a8, 100), (0x8100, 200)], ..Packet::default() }),
        of(Packet::v6()),
        of(Packet { protocol: UDP, extensions: vec![hop_by_hop], ..Packet::v6() }),
        of(Packet { tags: vec![(0x8100, 200)], ..Packet::v6() }),
    ];
    let from = |n: usize, packet: Packet| {
        let prefix = if packet.source.is_ipv4() { "192.0.2." } else { "2001:db8:c::" };
        Packet { source: format!("{prefix}{}", 10 + n).parse().expect("an address"), ..packet }
    };
    packets.into_iter().enumerate().map(|(n, packet)| from(n, packet)).collect()
}

/// A fragment of `packet` that has no transport header.
fn later(packet: &Packet, fragment: (u16, bool)) -> Packet {
    // Bytes that would be the ports of another flow.
    Packet { fragment: Some(fragment), source_port: 1, destination_port: 2, ..packet.clone() }
}

fn first(packet: &Packet) -> Packet {
    Packet { fragment: Some(FIRST), ..packet.clone() }
}

#[test]
fn fragments_go_where_the_whole_packet_goes() {
    let mut balancer = balancer();
    for port in 10_000..10_016 {
        for packet in packets(port) {
            let whole = balancer.backend_of(&packet.build());
            assert_eq!(balancer.backend_of(&first(&packet).build()), whole, "first of {packet:?}");
            for place in [MIDDLE, LAST, MIDDLE] {
                assert_eq!(
                    balancer.backend_of(&later(&packet, place).build()),
                    whole,
                    "{place:?} of {packet:?}"
                );
            }
        }
    }
}

#[test]
fn fragment_leaves_whole() {
    let mut balancer = balancer();
    for packet in packets(10_000) {
        for fragment in [first(&packet), later(&packet, LAST)] {
            let frame = fragment.build();
            let outcome = balancer.run(&frame);
            assert_eq!((outcome.reason, &outcome.frame[12..]), (Transmitted, &frame[12..]), "{fragment:?}");
        }
    }
}

fn reason(balancer: &mut Harness, packet: &Packet) -> Reason {
    balancer.run(&packet.build()).reason
}

#[test]
fn later_fragment_of_another_packet_is_nobodys() {
    let mut balancer = balancer();
    for packet in packets(10_000) {
        assert_eq!(reason(&mut balancer, &later(&packet, LAST)), FragmentUnknown, "{packet:?}");
        assert_eq!(reason(&mut balancer, &first(&packet)), Transmitted);
        let source = if packet.source.is_ipv4() { "192.0.2.8" } else { "2001:db8:c::8" };
        let other = Packet { source: source.parse().expect("an address"), ..later(&packet, LAST) };
        assert_eq!(reason(&mut balancer, &other), FragmentUnknown, "{other:?}");
    }
    let mut frame = later(&Packet::default(), LAST).build();
    frame[18] ^= 1;
    assert_eq!(balancer.run(&frame).reason, FragmentUnknown, "another identification");
    let mut frame = later(&Packet::v6(), LAST).build();
    frame[14 + 40 + 4] ^= 1;
    assert_eq!(balancer.run(&frame).reason, FragmentUnknown, "another identification over IPv6");
}

#[test]
fn protocols_of_ipv4_have_identifications_of_their_own() {
    let mut balancer = balancer();
    assert_eq!(reason(&mut balancer, &first(&Packet::default())), Transmitted);
    let udp = Packet { protocol: UDP, ..later(&Packet::default(), LAST) };
    assert_eq!(reason(&mut balancer, &udp), FragmentUnknown);
}

#[test]
fn fragments_are_dropped_where_they_are_not_wanted() {
    let wanted = service(
        "web",
        "203.0.113.10",
        "80",
        "protocol = \"tcp\"\nforwarding = \"l2\"\nfragments = true",
        &HOSTS,
    );
    let unwanted = service("other", "203.0.113.10", "81", "protocol = \"tcp\"\nforwarding = \"l2\"", &HOSTS);
    let mut balancer = Harness::new(&(wanted + &unwanted));
    let at = |port| Packet { destination_port: port, ..Packet::default() };
    assert_eq!(reason(&mut balancer, &first(&at(80))), Transmitted);
    assert_eq!(reason(&mut balancer, &first(&at(81))), Fragment);
    assert_eq!(reason(&mut balancer, &later(&at(81), LAST)), Fragment, "its first one was seen");
    assert_eq!(reason(&mut balancer, &first(&at(82))), NotOurs);
    assert_eq!(reason(&mut balancer, &first(&Packet { protocol: 47, ..at(80) })), Fragment);
    let elsewhere = Packet { destination: [203, 0, 113, 99].into(), ..at(80) };
    assert_eq!(reason(&mut balancer, &first(&elsewhere)), NotOurs);
    assert_eq!(reason(&mut balancer, &later(&elsewhere, LAST)), NotOurs);
    assert_eq!(reason(&mut Harness::new(&services("", &HOSTS)), &first(&at(80))), Fragment);
}

#[test]
fn first_fragment_that_is_too_short_for_its_ports_is_dropped() {
    let mut balancer = balancer();
    let mut frame = first(&Packet { payload: Vec::new(), ..Packet::default() }).build();
    frame.truncate(frame.len() - 8);
    frame[17] -= 8;
    assert_eq!(balancer.run(&frame).reason, Truncated);
}

#[test]
fn later_fragment_neither_opens_nor_ends_a_connection() {
    let track = "fragments = true\ntrack = \"always\"";
    let mut balancer = Harness::new(&services(track, &HOSTS));
    let connection = Packet { source_port: 10_000, ..Packet::default() };
    let ack = Packet { syn: false, ack: true, ..connection.clone() };
    for packet in [&connection, &ack, &first(&ack)] {
        assert_eq!(reason(&mut balancer, packet), Transmitted);
    }
    for flags in [
        Packet { end: Some(End::Rst), ..ack.clone() },
        Packet { end: Some(End::Fin), ..ack.clone() },
        connection,
    ] {
        assert_eq!(reason(&mut balancer, &later(&flags, LAST)), Transmitted);
    }
    let idle = |_| Some(Duration::from_hours(24));
    let live = balancer
        .dataplane
        .sweep(sluice::daemon::now() + Duration::from_mins(2), &idle)
        .expect("the kernel walks the tables");
    assert_eq!(live.len(), 1, "one that ends is forgotten after a minute");
}
