//! What is none of the balancer's business, and what it refuses: a table of packets that leave as they came, and one
//! of packets that do not leave.

use lb_common::counter::Reason::{
    self, BadHeader, Fragment, NotIp, NotOurs, OtherProtocol, TooManyHeaders, Truncated,
};
use lb_tests::packet::{ICMP, Packet, UDP};

use crate::harness::{Harness, service};

fn balancer() -> Harness {
    let tcp = "protocol = \"tcp\"\nforwarding = \"ipip\"";
    Harness::new(
        &[
            service("v4", "203.0.113.10", "80", tcp, &["198.51.100.11"]),
            service("v6", "2001:db8:113::10", "80", tcp, &["2001:db8:51::11"]),
        ]
        .concat(),
    )
}

fn elsewhere() -> Packet {
    Packet { destination: "203.0.113.99".parse().expect("an address"), ..Packet::default() }
}

/// Name, frame, reason.
type Case = (&'static str, Vec<u8>, Reason);

fn destination_options(units: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![units];
    rest.resize(7 + usize::from(units) * 8, 0);
    (60, rest)
}

#[test]
fn what_is_not_for_a_service_passes_as_it_came() {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x08, 0x06], &[0; 46]].concat();
    let mut three_tags = Packet { tags: vec![(0x88a8, 5), (0x8100, 6), (0x8100, 7)], ..Packet::default() };
    three_tags.padding = 4;
    let mut wrong_version = Packet::default().build();
    wrong_version[14] = 0x55;
    let cases: Vec<Case> = vec![
        ("ARP", arp, NotIp),
        ("three VLAN tags", three_tags.build(), NotIp),
        ("an EtherType that its IP version contradicts", wrong_version, NotIp),
        ("another address", elsewhere().build(), NotOurs),
        ("another port", Packet { destination_port: 81, ..Packet::default() }.build(), NotOurs),
        ("another protocol's port", Packet { protocol: UDP, ..Packet::default() }.build(), NotOurs),
        (
            "a fragment for another address",
            Packet { fragment: Some((8, true)), ..elsewhere() }.build(),
            NotOurs,
        ),
        ("ICMP to a VIP", Packet { protocol: ICMP, ..Packet::default() }.build(), OtherProtocol),
        ("ICMP to another address", Packet { protocol: ICMP, ..elsewhere() }.build(), NotOurs),
        ("ICMPv6 to a VIP", Packet { protocol: 58, ..Packet::v6() }.build(), OtherProtocol),
        ("IPv6 with no next header", Packet { protocol: 59, ..Packet::v6() }.build(), OtherProtocol),
        ("a reply from a VIP", swapped(Packet::default()).build(), NotOurs),
    ];
    let mut balancer = balancer();
    for (name, frame, reason) in cases {
        let outcome = balancer.run(&frame);
        assert_eq!(outcome.reason, reason, "{name}");
        assert_eq!(outcome.frame, frame, "{name}: a passed packet is unchanged");
    }
}

fn swapped(packet: Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..packet
    }
}

#[test]
fn what_is_wrong_with_a_packet_for_a_vip_has_a_name() {
    let mut short_ihl = Packet::default().build();
    short_ihl[14] = 0x44;
    let mut longer_than_the_frame = Packet::default().build();
    longer_than_the_frame[16..18].copy_from_slice(&2000u16.to_be_bytes());
    let mut shorter_than_its_header = Packet::default().build();
    shorter_than_its_header[16..18].copy_from_slice(&19u16.to_be_bytes());
    let mut v6_longer = Packet::v6().build();
    v6_longer[18..20].copy_from_slice(&2000u16.to_be_bytes());
    let five = vec![destination_options(0); 5];
    let cases: Vec<Case> = vec![
        ("header length below 20", short_ihl, BadHeader),
        ("total length beyond the frame", longer_than_the_frame, BadHeader),
        ("total length within the header", shorter_than_its_header, BadHeader),
        ("IPv6 payload beyond the frame", v6_longer, BadHeader),
        ("a first fragment", Packet { fragment: Some((0, true)), ..Packet::default() }.build(), Fragment),
        ("a later fragment", Packet { fragment: Some((8, true)), ..Packet::default() }.build(), Fragment),
        ("the last fragment", Packet { fragment: Some((8, false)), ..Packet::default() }.build(), Fragment),
        ("an IPv6 fragment", Packet { fragment: Some((0, true)), ..Packet::v6() }.build(), Fragment),
        ("five extension headers", Packet { extensions: five, ..Packet::v6() }.build(), TooManyHeaders),
        (
            "a kilobyte of options",
            Packet { extensions: vec![destination_options(130)], ..Packet::v6() }.build(),
            TooManyHeaders,
        ),
        ("ports in the padding", padding_as_ports(), Truncated),
        ("a TCP header cut short", cut(Packet::default(), 10), Truncated),
        ("a UDP header cut short", cut(Packet { protocol: UDP, ..Packet::default() }, 4), Truncated),
        ("an IPv6 TCP header cut short", cut(Packet::v6(), 10), Truncated),
    ];
    let mut balancer = balancer();
    for (name, frame, reason) in cases {
        assert_eq!(balancer.run(&frame).reason, reason, "{name}");
    }
}

/// A packet whose IP header announces no more than `keep` bytes of transport header, and whose frame ends there.
fn cut(packet: Packet, keep: usize) -> Vec<u8> {
    let mut frame = Packet { payload: Vec::new(), ..packet }.build();
    let v4 = frame[12] == 0x08;
    let header = if v4 { 20 } else { 40 };
    frame.truncate(14 + header + keep);
    let (at, length) = if v4 { (16, header + keep) } else { (18, keep) };
    frame[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
    frame
}

/// An IPv4 header without payload in a frame that goes on.
fn padding_as_ports() -> Vec<u8> {
    let mut frame = Packet::default().build();
    frame[16..18].copy_from_slice(&20u16.to_be_bytes());
    frame
}

#[test]
fn frame_cut_at_any_byte_is_never_forwarded_damaged() {
    let whole = Packet { payload: Vec::new(), ..Packet::default() }.build();
    let mut balancer = balancer();
    for length in 14..whole.len() {
        let outcome = balancer.run(&whole[..length]);
        let expected = if length < 34 { NotIp } else { BadHeader };
        assert_eq!(outcome.reason, expected, "{length} bytes");
    }
}
