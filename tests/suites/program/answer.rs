//! What the balancer answers itself, byte by byte.

use lb_common::counter::Reason::{
    AnswerLimited, BogusSource, Echo, OtherProtocol, TooBig, Transmitted, TtlExpired,
};
use lb_tests::{
    answers,
    packet::{ICMP, ICMPV6, Packet},
};

use crate::harness::{Harness, V4_BACKEND, V6_BACKEND, service};

fn services(rest: &str, backend: &str) -> String {
    let rest = format!("protocol = \"tcp\"\n{rest}");
    [
        service("v4", "203.0.113.10", "80", &rest, &[backend]),
        service("v6", "2001:db8:113::10", "80", &rest, &[backend]),
    ]
    .concat()
}

fn balancer(forwarding: &str, backend: &str) -> Harness {
    Harness::new(&services(&format!("forwarding = \"{forwarding}\""), backend))
}

/// Packets of both families behind every kind of link layer and header.
fn variants() -> Vec<Packet> {
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let mut packets = Vec::new();
    for tags in [vec![], vec![(0x8100, 9)], vec![(0x88a8, 8), (0x8100, 9)]] {
        packets.push(Packet { tags: tags.clone(), ..Packet::default() });
        packets.push(Packet { tags: tags.clone(), padding: 9, ..Packet::default() });
        packets.push(Packet { tags: tags.clone(), ..Packet::v6() });
        packets.push(Packet { tags, extensions: vec![hop_by_hop.clone()], ..Packet::v6() });
    }
    packets
}

#[test]
fn ping_of_a_vip_is_answered() {
    let mut balancer = balancer("l2", V4_BACKEND);
    for packet in [Packet::default(), Packet::v6()] {
        for tags in [vec![], vec![(0x8100, 9)], vec![(0x88a8, 8), (0x8100, 9)]] {
            for payload in [&b""[..], b"x", &[0xff; 1000]] {
                let packet = Packet { tags: tags.clone(), hops: 3, ..packet.clone() };
                let (ping, mut answer) = answers::ping(&packet, payload);
                let outcome = balancer.run(&ping.build());
                assert_eq!(outcome.reason, Echo, "{ping:?}");
                if packet.source.is_ipv4() {
                    // The reply is the packet itself, which may be fragmented.
                    answer.truncate(14 + 4 * tags.len());
                    let reply = Packet { hops: 64, ..swapped(&ping) };
                    answer.extend(with_type(reply.ip(), 20, 0));
                }
                assert_eq!(outcome.frame, answer, "{ping:?}");
            }
        }
    }
}

fn swapped(packet: &Packet) -> Packet {
    Packet { source: packet.destination, destination: packet.source, ..packet.clone() }
}

/// An IPv4 packet with another ICMP type in the message at `at`.
fn with_type(mut packet: Vec<u8>, at: usize, kind: u8) -> Vec<u8> {
    let (mut header, payload) = etherparse::Icmpv4Header::from_slice(&packet[at..]).expect("a message");
    let etherparse::Icmpv4Type::EchoRequest(echo) = header.icmp_type else { panic!("{header:?}") };
    assert_eq!(kind, 0);
    header.icmp_type = etherparse::Icmpv4Type::EchoReply(echo);
    header.checksum = header.icmp_type.calc_checksum(payload);
    let bytes = header.to_bytes();
    packet[at..at + bytes.len()].copy_from_slice(&bytes);
    packet
}

#[test]
fn ping_passes_where_no_service_of_the_vip_answers() {
    let mut balancer = Harness::new(&services("forwarding = \"l2\"\necho = false", V4_BACKEND));
    for packet in [Packet::default(), Packet::v6()] {
        let (ping, _) = answers::ping(&packet, b"hello");
        let outcome = balancer.run(&ping.build());
        assert_eq!((outcome.reason, outcome.frame), (OtherProtocol, ping.build()));
    }
}

#[test]
fn vip_answers_pings_if_any_service_of_it_does() {
    let silent = "protocol = \"tcp\"\nforwarding = \"l2\"\necho = false";
    let silent = service("silent", "203.0.113.10", "81", silent, &[V4_BACKEND]);
    let mut balancer = Harness::new(&(silent.clone() + &services("forwarding = \"l2\"", V4_BACKEND)));
    let (ping, _) = answers::ping(&Packet::default(), b"hello");
    assert_eq!(balancer.run(&ping.build()).reason, Echo);
    balancer.reload(&silent);
    assert_eq!(balancer.run(&ping.build()).reason, OtherProtocol);
}

#[test]
fn packet_at_the_end_of_its_ttl_is_answered_where_it_would_be_encapsulated() {
    for backend in [V4_BACKEND, V6_BACKEND] {
        let mut balancer = balancer("ipip", backend);
        for packet in variants() {
            for hops in [0, 1] {
                let packet = Packet { hops, ..packet.clone() };
                let outcome = balancer.run(&packet.build());
                assert_eq!(outcome.reason, TtlExpired, "{packet:?}");
                assert_eq!(outcome.frame, answers::time_exceeded(&packet), "{packet:?}");
            }
        }
        assert_eq!(balancer.run(&Packet { hops: 2, ..Packet::default() }.build()).reason, Transmitted);
    }
}

#[test]
fn l2_does_not_look_at_the_ttl() {
    let mut balancer = balancer("l2", V4_BACKEND);
    assert_eq!(balancer.run(&Packet { hops: 1, ..Packet::default() }.build()).reason, Transmitted);
}

#[test]
fn packet_that_does_not_fit_is_quoted_as_far_as_an_error_may_be_long() {
    for (backend, overhead) in [(V4_BACKEND, 20), (V6_BACKEND, 40)] {
        let mut balancer = balancer("ipip", backend);
        for packet in variants() {
            for bytes in [1441, 1442, 1443, 1461] {
                let packet = Packet { payload: (0..=255).cycle().take(bytes).collect(), ..packet.clone() };
                let outcome = balancer.run(&packet.build());
                assert_eq!(outcome.reason, TooBig, "{packet:?}");
                assert_eq!(outcome.frame, answers::too_big(&packet, 1500 - overhead), "{packet:?}");
            }
        }
    }
}

#[test]
fn quote_is_the_whole_packet_where_that_is_short() {
    let narrow = |next_hop: &mut sluice::neighbours::NextHop| next_hop.mtu = 100;
    let mut balancer = Harness::with_next_hops(&services("forwarding = \"l2\"", V4_BACKEND), narrow);
    for bytes in 61..70 {
        let packet = Packet { payload: vec![0xa5; bytes], ..Packet::default() };
        assert_eq!(balancer.run(&packet.build()).frame, answers::too_big(&packet, 100), "{bytes}");
        // No host believes in a link of IPv6 that is narrower than 1280 bytes.
        let packet = Packet { payload: vec![0xa5; bytes], ..Packet::v6() };
        assert_eq!(balancer.run(&packet.build()).frame, answers::too_big(&packet, 1280), "{bytes}");
    }
}

#[test]
fn nobody_is_answered_at_an_address_that_nobody_has() {
    let mut balancer = balancer("ipip", V4_BACKEND);
    for source in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
        let source: std::net::IpAddr = source.parse().expect("an address");
        let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
        let packet = Packet { source, hops: 1, ..packet };
        assert_eq!(balancer.run(&packet.build()).reason, BogusSource, "{source}");
        let (ping, _) = answers::ping(&packet, b"hello");
        assert_eq!(balancer.run(&ping.build()).reason, BogusSource, "{source}");
    }
}

#[test]
fn answers_have_a_limit() {
    let mut balancer = Harness::with_limits("answers = 1\n", &services("forwarding = \"ipip\"", V4_BACKEND));
    let (ping, _) = answers::ping(&Packet::default(), b"hello");
    let late = Packet { hops: 1, ..Packet::default() };
    let frames = [ping.build(), late.build()];
    let mut reasons = Vec::new();
    // Each CPU has a budget of its own.
    for _ in 0..=std::thread::available_parallelism().expect("it is known").get() {
        reasons.extend(frames.iter().map(|frame| balancer.run(frame).reason));
    }
    assert_eq!(reasons[0], Echo);
    assert!(reasons.contains(&AnswerLimited), "{reasons:?}");
}

#[test]
fn what_is_no_ping_passes() {
    let mut balancer = balancer("l2", V4_BACKEND);
    let cases = [
        ("an echo reply", Packet { protocol: ICMP, payload: vec![0; 8], ..Packet::default() }),
        ("a ping cut short", Packet { protocol: ICMP, payload: vec![8, 0, 0, 0, 1], ..Packet::default() }),
        ("an IPv6 ping in IPv4", Packet { protocol: ICMPV6, payload: vec![128; 8], ..Packet::default() }),
        ("an IPv4 ping in IPv6", Packet { protocol: ICMP, payload: vec![8; 8], ..Packet::v6() }),
        ("an ICMPv6 reply", Packet { protocol: ICMPV6, payload: vec![129; 8], ..Packet::v6() }),
    ];
    for (name, packet) in cases {
        let outcome = balancer.run(&packet.build());
        assert_eq!((outcome.reason, outcome.frame), (OtherProtocol, packet.build()), "{name}");
    }
}
