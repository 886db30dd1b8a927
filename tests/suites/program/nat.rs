//! Address translation, both ways: bytes in, bytes out.

mod cookies;
mod guards;
mod session;

use std::net::IpAddr;

use lb_common::counter::Reason::{self, NoSession, NotOurs, Returned, TooBig, Transmitted, TtlExpired};
use lb_tests::{
    answers,
    netns::Netns,
    packet::{BALANCER_MAC, CLIENT_MAC, Packet, TCP, UDP, link},
};
use sluice::neighbours::NextHop;

use crate::harness::{EGRESS_MAC, Harness, V4_BACKEND, V6_BACKEND, backend_mac, service};

const V4_POOL: &str = "198.51.100.250";
const V6_POOL: &str = "2001:db8:51::fa";

fn pool(ports: &str) -> String {
    format!("[balancer.nat]\naddresses = [\"{V4_POOL}\", \"{V6_POOL}\"]\nports = \"{ports}\"\n")
}

/// Services of both families and protocols, whose backends listen on `port`.
fn services(rest: &str, port: Option<u16>) -> String {
    let own = port.map_or(String::new(), |port| format!("port = {port}\n"));
    let all = [("203.0.113.10", V4_BACKEND), ("2001:db8:113::10", V6_BACKEND)];
    let of = |(vip, backend): (&str, &str), protocol: &str| {
        let rest = format!("protocol = \"{protocol}\"\nforwarding = \"nat\"\n{rest}");
        service(&format!("{protocol}{}", vip.contains(':')), vip, "80", &rest, &[backend]) + &own
    };
    all.into_iter().flat_map(|family| [of(family, "tcp"), of(family, "udp")]).collect()
}

fn balancer(port: Option<u16>) -> Harness {
    Harness::new(&(pool("20000-20999") + &services("", port)))
}

fn pool_address(of: &Packet) -> IpAddr {
    if of.source.is_ipv4() { V4_POOL } else { V6_POOL }.parse().expect("an address")
}

fn backend_address(of: &Packet) -> IpAddr {
    if of.source.is_ipv4() { V4_BACKEND } else { V6_BACKEND }.parse().expect("an address")
}

/// Source port of a frame without tags and options.
fn source_port(frame: &[u8]) -> u16 {
    let at = if frame[12..14] == [0x08, 0x00] { 34 } else { 54 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// What a client's packet becomes.
fn forwarded(packet: &Packet, pool_port: u16, backend_port: u16) -> Packet {
    Packet {
        source: pool_address(packet),
        source_port: pool_port,
        destination: backend_address(packet),
        destination_port: backend_port,
        ..packet.passed_on()
    }
}

/// The answer to such a packet.
fn reply(to: &Packet) -> Packet {
    Packet {
        source: to.destination,
        source_port: to.destination_port,
        destination: to.source,
        destination_port: to.source_port,
        ack: true,
        hops: 64,
        payload: b"welcome".to_vec(),
        ..to.clone()
    }
}

/// The frame in which a packet leaves for its backend.
fn to_backend(packet: &Packet) -> Vec<u8> {
    let mac = backend_mac(packet.destination);
    [link(mac, EGRESS_MAC, &packet.tags, packet.ether_type()), packet.ip()].concat()
}

/// The frame in which one leaves for a client that sends with MAC address `mac`.
fn to_client(packet: &Packet, mac: [u8; 6]) -> Vec<u8> {
    [link(mac, BALANCER_MAC, &packet.tags, packet.ether_type()), packet.ip()].concat()
}

/// Sends a client's packet; gives the port of the pool that its flow has.
fn send(balancer: &mut Harness, packet: &Packet) -> u16 {
    let outcome = balancer.run(&packet.build());
    assert_eq!(outcome.reason, Transmitted, "{packet:?}");
    source_port(&outcome.frame)
}

fn reason(balancer: &mut Harness, packet: &Packet) -> Reason {
    balancer.run(&packet.build()).reason
}

fn openings() -> [Packet; 4] {
    let udp = |packet: Packet| Packet { protocol: UDP, ..packet };
    [Packet::default(), Packet::v6(), udp(Packet::default()), udp(Packet::v6())]
}

#[test]
fn flow_is_translated_both_ways() {
    let unguarded = |own| Harness::unguarded(&(pool("20000-20999") + &services("", own)));
    for (own, mut balancer) in [(None, balancer(None)), (Some(8080), unguarded(Some(8080)))] {
        for packet in openings() {
            let outcome = balancer.run(&packet.build());
            assert_eq!(outcome.reason, Transmitted, "{packet:?}");
            let port = source_port(&outcome.frame);
            assert!((20_000..21_000).contains(&port), "{port}");
            let there = forwarded(&packet, port, own.unwrap_or(80));
            assert_eq!(outcome.frame, to_backend(&there), "{packet:?}");

            let outcome = balancer.run(&reply(&there).build());
            assert_eq!(outcome.reason, Returned, "{packet:?}");
            let back = Packet { ack: true, payload: b"welcome".to_vec(), ..reply(&packet).passed_on() };
            assert_eq!(outcome.frame, to_client(&back, CLIENT_MAC), "{packet:?}");
        }
    }
}

#[test]
fn every_kind_of_header_is_translated() {
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let mut balancer = balancer(Some(8080));
    for (n, packet) in openings().into_iter().enumerate() {
        let options = if packet.source.is_ipv4() { vec![1; 8] } else { Vec::new() };
        let extensions = if packet.source.is_ipv4() { Vec::new() } else { vec![hop_by_hop.clone()] };
        for tags in [vec![], vec![(0x8100, 9)], vec![(0x88a8, 8), (0x8100, 9)]] {
            let source_port = 41_000 + 10 * n as u16 + tags.len() as u16;
            let plain = Packet { source_port, ..packet.clone() };
            let port = send(&mut balancer, &plain);
            let (options, extensions) = (options.clone(), extensions.clone());
            let special =
                Packet { options, extensions, tags, traffic_class: 0x2e, padding: 7, ..plain.clone() };
            let outcome = balancer.run(&special.build());
            let expected = Packet { padding: 0, ..forwarded(&special, port, 8080) };
            let padded = [to_backend(&expected), vec![0; 7]].concat();
            assert_eq!((outcome.reason, outcome.frame), (Transmitted, padded), "{special:?}");

            // The reply comes as the backend sends it, and leaves as the client's last packet came.
            let from_backend = Packet { tags: Vec::new(), padding: 0, ..reply(&expected) };
            let outcome = balancer.run(&from_backend.build());
            let back = Packet { padding: 0, ..reply(&special).passed_on() };
            assert_eq!(
                (outcome.reason, outcome.frame),
                (Returned, to_client(&back, CLIENT_MAC)),
                "{special:?}"
            );
        }
    }
}

#[test]
fn reply_leaves_by_the_way_that_the_clients_last_packet_came() {
    let mut balancer = balancer(None);
    let packet = Packet::default();
    let port = send(&mut balancer, &packet);
    let there = forwarded(&packet, port, 80);
    let other_mac = [2, 0, 0, 0, 0, 0xc2];
    let mut frame = Packet { tags: vec![(0x8100, 77)], ..packet.clone() }.build();
    frame[6..12].copy_from_slice(&other_mac);
    assert_eq!(balancer.run(&frame).reason, Transmitted);
    let back = Packet { tags: vec![(0x8100, 77)], ..reply(&packet).passed_on() };
    assert_eq!(balancer.run(&reply(&there).build()).frame, to_client(&back, other_mac));
}

#[test]
fn checksum_that_says_none_stays_so() {
    let mut balancer = balancer(None);
    let packet = Packet { protocol: UDP, ..Packet::default() };
    let port = send(&mut balancer, &packet);
    let without = |packet: &Packet| {
        let mut frame = packet.build();
        frame[40..42].fill(0);
        frame
    };
    let there = forwarded(&packet, port, 80);
    let outcome = balancer.run(&without(&packet));
    assert_eq!(outcome.frame[14..], without(&there)[14..]);
    let outcome = balancer.run(&without(&reply(&there)));
    assert_eq!(outcome.frame[14..], without(&reply(&packet).passed_on())[14..]);
}

#[test]
fn checksum_that_comes_to_none_is_written_as_its_other_zero() {
    let mut balancer = balancer(None);
    for packet in [Packet::default(), Packet::v6()] {
        let packet = Packet { protocol: UDP, payload: vec![0, 0], ..packet };
        let port = send(&mut balancer, &packet);
        let at = if packet.source.is_ipv4() { 40 } else { 60 };
        let check = |frame: &[u8]| u16::from_be_bytes([frame[at], frame[at + 1]]);
        // What is left to the full sum.
        let payload = check(&forwarded(&packet, port, 80).build()).to_be_bytes().to_vec();
        let packet = Packet { payload, ..packet };
        let outcome = balancer.run(&packet.build());
        assert_eq!(check(&outcome.frame), 0xffff);
        assert_eq!(outcome.frame, to_backend(&forwarded(&packet, port, 80)));
    }
}

#[test]
fn packet_at_the_end_of_its_ttl_is_answered_both_ways() {
    let mut balancer = balancer(Some(8080));
    for packet in openings() {
        let port = send(&mut balancer, &packet);
        let late = Packet { hops: 1, ..packet.clone() };
        let outcome = balancer.run(&late.build());
        assert_eq!((outcome.reason, outcome.frame), (TtlExpired, answers::time_exceeded(&late)), "{late:?}");
        let late = Packet { hops: 1, ..reply(&forwarded(&packet, port, 8080)) };
        let outcome = balancer.run(&late.build());
        assert_eq!((outcome.reason, outcome.frame), (TtlExpired, answers::time_exceeded(&late)), "{late:?}");
    }
}

#[test]
fn packet_that_the_way_to_the_backend_does_not_carry_is_answered() {
    let narrow = |next_hop: &mut NextHop| next_hop.mtu = 1400;
    let mut balancer = Harness::with_next_hops(&(pool("20000-20999") + &services("", None)), narrow);
    for packet in openings() {
        let packet = Packet { payload: vec![7; 1400], ..packet };
        let outcome = balancer.run(&packet.build());
        assert_eq!((outcome.reason, outcome.frame), (TooBig, answers::too_big(&packet, 1400)), "{packet:?}");
    }
}

/// The loopback device, which is every test's interface, has another MTU in a namespace of its own.
#[test]
fn reply_that_the_way_to_the_client_does_not_carry_is_answered() {
    let netns = Netns::new("narrow").expect("a namespace");
    netns.ip("link set lo mtu 1400 up").expect("the device is there");
    let replies = || {
        let mut balancer = balancer(Some(8080));
        for packet in openings() {
            let port = send(&mut balancer, &packet);
            let there = forwarded(&packet, port, 8080);
            let headers = reply(&there).ip().len() - reply(&there).payload.len();
            for (length, fits) in [(1400, true), (1401, false), (1500, false)] {
                let large = Packet { payload: vec![7; length - headers], ..reply(&there) };
                let outcome = balancer.run(&large.build());
                let back = Packet { ack: true, payload: large.payload.clone(), ..reply(&packet).passed_on() };
                let expected = if fits {
                    (Returned, to_client(&back, CLIENT_MAC))
                } else {
                    (TooBig, answers::too_big(&large, 1400))
                };
                assert!((outcome.reason, outcome.frame) == expected, "{length}: {:?}", outcome.reason);
            }
        }
    };
    netns.run(replies).expect("the namespace is entered");
}

#[test]
fn what_is_of_no_session_is_dropped_and_other_ports_are_the_hosts() {
    let mut balancer = balancer(None);
    for packet in openings() {
        let to_pool = |destination_port| Packet {
            source: backend_address(&packet),
            source_port: 80,
            destination: pool_address(&packet),
            destination_port,
            ..packet.clone()
        };
        for port in [20_000, 20_999] {
            assert_eq!(reason(&mut balancer, &to_pool(port)), NoSession, "{port}");
        }
        for port in [22, 19_999, 21_000] {
            let outcome = balancer.run(&to_pool(port).build());
            assert_eq!((outcome.reason, outcome.frame), (NotOurs, to_pool(port).build()), "{port}");
        }
        if packet.protocol == TCP {
            let late = Packet { syn: false, ack: true, source_port: 47_000, ..packet };
            assert_eq!(reason(&mut balancer, &late), NoSession);
        }
    }
}

#[test]
fn backend_that_is_a_client_of_the_vip_reaches_itself() {
    let mut balancer = balancer(Some(8080));
    for packet in openings() {
        let packet = Packet { source: backend_address(&packet), source_port: 48_000, ..packet };
        let outcome = balancer.run(&packet.build());
        let there = forwarded(&packet, source_port(&outcome.frame), 8080);
        assert_eq!((outcome.reason, outcome.frame), (Transmitted, to_backend(&there)), "{packet:?}");
        let outcome = balancer.run(&reply(&there).build());
        let back = reply(&packet).passed_on();
        assert_eq!((outcome.reason, outcome.frame), (Returned, to_client(&back, CLIENT_MAC)), "{packet:?}");
    }
}
