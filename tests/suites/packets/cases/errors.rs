//! ICMP errors about a flow, and what only looks like one.

use std::net::IpAddr;

use lb_common::counter::Reason::{
    BadHeader, ErrorLost, Fragment, NoBackend, NoNextHop, NotOurs, OtherProtocol, Transmitted,
};
use lb_tests::{
    errors::{FRAGMENTATION_NEEDED, Kind, PACKET_TOO_BIG, about, of_family, reply, to},
    packet::{ICMP, Packet, UDP},
};
use libtest_mimic::Trial;

use crate::{
    case::Case,
    expected::{ipip, l2},
    scenes::{EMPTY, IPIP_V4, L2_V4, PORTS, QUIC_IPIP, UNRESOLVED, V4, WAYS, Way, ip},
};

/// A flow of each family and protocol.
fn flows() -> [(&'static str, Packet); 4] {
    let udp = |packet: Packet| Packet { protocol: UDP, ..packet };
    [
        ("IPv4 TCP", Packet::default()),
        ("IPv4 UDP", udp(Packet::default())),
        ("IPv6 TCP", Packet::v6()),
        ("IPv6 UDP", udp(Packet::v6())),
    ]
}

fn too_big(packet: &Packet) -> Kind {
    if packet.destination.is_ipv4() { FRAGMENTATION_NEEDED } else { PACKET_TOO_BIG }
}

pub fn cases() -> Vec<Case> {
    [in_every_way(), shapes(), foreign(), lost()].into_iter().flatten().collect()
}

/// Every error about every flow through every way.
fn in_every_way() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in &WAYS {
        for (flow, packet) in flows() {
            for &kind in of_family(&packet) {
                let error = to(&packet, kind);
                let expected = (way.expected)(&error, ip(way.backend));
                cases.push(way.scene.sends(format!("{}: {flow}, {}", way.name, kind.0), error, expected));
            }
        }
    }
    cases
}

/// Errors and quotes of unusual shapes.
fn shapes() -> Vec<Case> {
    let sends = |name: &str, error: Packet| {
        let expected = l2(&error, ip(V4));
        L2_V4.sends(name, error, expected)
    };
    let (v4, v6) = (reply(&Packet::default()), reply(&Packet::v6()));
    let of = |quoted: &Packet| about(&quoted.ip()[..200], quoted.source, too_big(quoted));
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let tags = vec![(0x88a8, 5), (0x8100, 6)];
    let any_port = Packet { destination_port: 4711, ..Packet::default() };
    let quic = Packet { protocol: UDP, destination_port: 443, source_port: 2, ..Packet::default() };
    let quoting = |bytes: usize| about(&v4.ip()[..bytes], v4.source, FRAGMENTATION_NEEDED);
    let about_quic = to(&quic, FRAGMENTATION_NEEDED);
    let to_any_port = to(&any_port, FRAGMENTATION_NEEDED);
    let any_port =
        PORTS.sends("to the service of every port", &to_any_port, l2(&to_any_port, ip("198.51.100.12")));
    vec![
        any_port,
        sends("eight bytes of transport header quoted", quoting(28)),
        sends("just the ports quoted", quoting(24)),
        sends("quote with options", of(&Packet { options: vec![1; 40], ..v4.clone() })),
        sends(
            "quote with an extension header",
            of(&Packet { extensions: vec![hop_by_hop.clone()], ..v6.clone() }),
        ),
        sends("quote of a first fragment", of(&Packet { fragment: Some((0, true)), ..v4.clone() })),
        sends("quote of a first fragment of IPv6", of(&Packet { fragment: Some((0, true)), ..v6.clone() })),
        sends("error with options", Packet { options: vec![1; 40], ..of(&v4) }),
        sends("error with an extension header", Packet { extensions: vec![hop_by_hop], ..of(&v6) }),
        sends("error in QinQ", Packet { tags: tags.clone(), ..of(&v4) }),
        sends("error of IPv6 in QinQ", Packet { tags, ..of(&v6) }),
        sends("error in a padded frame", Packet { padding: 9, ..of(&v4) }),
        sends("error at the end of its TTL", Packet { hops: 1, ..of(&v4) }),
        QUIC_IPIP.sends("about a QUIC connection", &about_quic, ipip(&about_quic, ip(V4))),
    ]
}

/// What is no error about a flow of a service.
fn foreign() -> Vec<Case> {
    let passes = |name: &str, error: Packet| L2_V4.passes(name, error, OtherProtocol);
    let (v4, v6) = (reply(&Packet::default()), reply(&Packet::v6()));
    let of = |quoted: &Packet| about(&quoted.ip()[..200], ip_of_vip(quoted), too_big(quoted));
    let kind = |kind, code| about(&v4.ip()[..200], v4.source, ("", kind, code, [0; 4]));
    let kind_v6 = |kind, code| about(&v6.ip()[..200], v6.source, ("", kind, code, [0; 4]));
    let quoting =
        |packet: &Packet, bytes: usize| about(&packet.ip()[..bytes], packet.source, too_big(packet));
    let changed = |packet: &Packet, at: usize, byte: u8| {
        let mut quoted = packet.ip()[..200].to_vec();
        quoted[at] = byte;
        about(&quoted, packet.source, too_big(packet))
    };
    let elsewhere = |quoted: &Packet| Packet { destination: ip("203.0.113.99"), ..of(quoted) };
    vec![
        passes("source quench", kind(4, 0)),
        passes("redirect", kind(5, 1)),
        passes("ICMPv6 of a type that nobody has defined", kind_v6(5, 0)),
        passes("ICMPv6 type 0", kind_v6(0, 0)),
        passes("about a packet of somebody else", of(&Packet { source: ip("203.0.113.99"), ..v4.clone() })),
        passes(
            "about a packet of somebody else in IPv6",
            of(&Packet { source: ip("2001:db8::99"), ..v6.clone() }),
        ),
        passes("about a port that no service has", of(&Packet { source_port: 81, ..v4.clone() })),
        passes("about a ping", of(&Packet { protocol: ICMP, ..v4.clone() })),
        passes("about a later fragment", of(&Packet { fragment: Some((9, true)), ..v4.clone() })),
        passes("about a later fragment of IPv6", of(&Packet { fragment: Some((9, true)), ..v6.clone() })),
        passes("no quote", quoting(&v4, 0)),
        passes("no quote in ICMPv6", quoting(&v6, 0)),
        passes("a quote without whole ports", quoting(&v4, 23)),
        passes("a quote of IPv6 without whole ports", quoting(&v6, 43)),
        passes("a quote of another version", changed(&v4, 0, 0x65)),
        passes("a quote of IPv6 of another version", changed(&v6, 0, 0x40)),
        passes("a quote with a header of 16 bytes", changed(&v4, 0, 0x44)),
        passes(
            "a quote with a header longer than itself",
            quoting(&Packet { options: vec![1; 40], ..v4.clone() }, 60),
        ),
        L2_V4.passes("an error to somebody else", elsewhere(&v4), NotOurs),
    ]
}

/// Whom an error about `quoted` is sent to here: the VIP of its family.
fn ip_of_vip(quoted: &Packet) -> IpAddr {
    if quoted.source.is_ipv4() { Packet::default().destination } else { Packet::v6().destination }
}

/// What cannot reach a backend.
fn lost() -> Vec<Case> {
    let packet = Packet::default();
    let error = to(&packet, FRAGMENTATION_NEEDED);
    let whole = about(&reply(&packet).ip(), packet.destination, FRAGMENTATION_NEEDED);
    let fragment = Packet { fragment: Some((0, true)), ..error.clone() };
    let mut bad = error.build();
    bad[16] = 0xff;
    vec![
        EMPTY.drops("about a service without backends", &error, NoBackend),
        UNRESOLVED.drops("about a flow whose backend has no next hop", &error, NoNextHop),
        IPIP_V4.drops(
            "at the end of its TTL before a tunnel",
            Packet { hops: 1, ..error.clone() },
            ErrorLost,
        ),
        IPIP_V4.drops(
            "an error that does not fit into the tunnel",
            Packet { payload: [whole.payload, vec![0; 40]].concat(), ..error.clone() },
            ErrorLost,
        ),
        L2_V4.drops("a fragment of an error", fragment, Fragment),
        L2_V4.drops("an error longer than its frame", bad, BadHeader),
    ]
}

/// Errors whose quote ends at every byte, through every way.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for way in &WAYS {
        for (flow, packet) in flows() {
            let name = format!("errors::{}: {flow}, quote cut at every byte", way.name);
            trials.push(Trial::test(name, move || {
                cut_quotes(way, &packet);
                Ok(())
            }));
        }
    }
    trials
}

/// The error ends with its quote, and its headers say so.
fn cut_quotes(way: &'static Way, packet: &Packet) {
    let quoted = reply(packet).ip();
    let ports_end = if packet.destination.is_ipv4() { 24 } else { 44 };
    for length in 0..80 {
        let error = about(&quoted[..length], packet.destination, too_big(packet));
        let outcome = way.scene.with(|balancer| balancer.run(&error.build()));
        if length < ports_end {
            assert_eq!((outcome.reason, outcome.frame), (OtherProtocol, error.build()), "{length} bytes");
        } else {
            assert_eq!(outcome.reason, Transmitted, "{length} bytes");
            assert!((way.expected)(&error, ip(way.backend)).is(&outcome.frame), "{length} bytes");
        }
    }
}
