//! What nobody sends in good faith, dropped by name at a VIP and nowhere else.

use std::net::IpAddr;

use lb_common::{
    counter::Reason::{self, BadFlags, BadHeader, BogusSource, Land, NotOurs, Transmitted},
    guard::Refusal,
};
use lb_tests::packet::{Packet, TCP, UDP};

use crate::harness::{Harness, service};

const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8:113::10";
const HOST: [&str; 1] = ["198.51.100.11"];
const FORWARDS: &str = "[service.guard]\nmalformed = \"forward\"\n";

/// Where a TCP header's flags are in a frame without tags, options and extension headers.
const FLAGS_V4: usize = 14 + 20 + 13;
const FLAGS_V6: usize = 14 + 40 + 13;

fn services(protocol: &str, more: &str) -> String {
    let rest = format!("protocol = \"{protocol}\"\nforwarding = \"ipip\"\n{more}");
    [service("four", V4, "80", &rest, &HOST), service("six", V6, "80", &rest, &HOST)].concat()
}

fn balancer() -> Harness {
    Harness::new(&services("tcp", ""))
}

fn of_source(text: &str) -> Packet {
    let source: IpAddr = text.parse().expect("an address");
    Packet { source, ..if source.is_ipv4() { Packet::default() } else { Packet::v6() } }
}

/// A packet that is not for a VIP.
fn elsewhere(packet: Packet) -> Packet {
    let destination = if packet.destination.is_ipv4() { "203.0.113.99" } else { "2001:db8:113::99" };
    Packet { destination: destination.parse().expect("an address"), ..packet }
}

#[test]
fn impossible_flags_are_dropped_in_both_families() {
    let mut balancer = balancer();
    for (flags, reason) in [
        (0x00, BadFlags),
        (0x01, BadFlags),
        (0x03, BadFlags),
        (0x06, BadFlags),
        (0x08, BadFlags),
        (0x15, BadFlags),
        (0x20, BadFlags),
        (0x29, BadFlags),
        (0x3f, BadFlags),
        (0xff, BadFlags),
        (0x02, Transmitted),
        (0xc2, Transmitted),
        (0x04, Transmitted),
        (0x10, Transmitted),
        (0x11, Transmitted),
        (0x12, Transmitted),
        (0x14, Transmitted),
        (0x18, Transmitted),
        (0x38, Transmitted),
    ] {
        for (packet, at) in [(Packet::default(), FLAGS_V4), (Packet::v6(), FLAGS_V6)] {
            let mut frame = packet.build();
            frame[at] = flags;
            assert_eq!(balancer.run(&frame).reason, reason, "{flags:#04x} to {}", packet.destination);
        }
    }
}

#[test]
fn sources_that_nobody_can_have_are_dropped() {
    let mut balancer = balancer();
    for source in
        ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.9.9.9", "240.0.0.1", "255.255.255.255"]
    {
        assert_eq!(balancer.run(&of_source(source).build()).reason, BogusSource, "{source}");
    }
    for source in ["::", "::1", "::ffff:192.0.2.1", "ff02::1", "ff0e::1"] {
        assert_eq!(balancer.run(&of_source(source).build()).reason, BogusSource, "{source}");
    }
    for source in
        ["1.1.1.1", "10.0.0.1", "169.254.0.1", "223.255.255.255", "::2", "fe80::1", "fd00::1", "2001:db8::1"]
    {
        assert_eq!(balancer.run(&of_source(source).build()).reason, Transmitted, "{source}");
    }
}

#[test]
fn packet_from_the_vip_to_itself_is_dropped_with_any_port() {
    let mut balancer = balancer();
    for (vip, port) in [(V4, 80), (V4, 1024), (V6, 80), (V6, 1024)] {
        let packet = Packet { source_port: port, ..of_source(vip) };
        assert_eq!(balancer.run(&packet.build()).reason, Land, "{vip} from port {port}");
    }
}

#[test]
fn lengths_of_transport_headers_have_to_hold() {
    // The data offset of TCP is in words in the upper half of its byte; behind the header are five bytes.
    let mut tcp = balancer();
    for (offset, reason) in [
        (0x00, BadHeader),
        (0x40, BadHeader),
        (0x50, Transmitted),
        (0x60, Transmitted),
        (0x70, BadHeader),
        (0xf0, BadHeader),
    ] {
        for (packet, at) in
            [(Packet::default(), FLAGS_V4 - 1), (Packet { padding: 40, ..Packet::v6() }, FLAGS_V6 - 1)]
        {
            let mut frame = packet.build();
            frame[at] = offset;
            assert_eq!(tcp.run(&frame).reason, reason, "data offset {offset:#04x} to {}", packet.destination);
        }
    }
    let mut udp = Harness::new(&services("udp", ""));
    for (length, reason) in [
        (0, BadHeader),
        (7, BadHeader),
        (8, Transmitted),
        (13, Transmitted),
        (14, BadHeader),
        (u16::MAX, BadHeader),
    ] {
        for (packet, at) in
            [(Packet::default(), 14 + 20 + 4), (Packet { padding: 40, ..Packet::v6() }, 14 + 40 + 4)]
        {
            let mut frame = Packet { protocol: UDP, ..packet.clone() }.build();
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
            assert_eq!(udp.run(&frame).reason, reason, "length {length} to {}", packet.destination);
        }
    }
}

/// One packet of each kind, and why it is dropped.
fn malformed() -> Vec<(Reason, Vec<u8>)> {
    let mut frames = Vec::new();
    for (packet, at, bogus, vip) in
        [(Packet::default(), FLAGS_V4, "127.0.0.1", V4), (Packet::v6(), FLAGS_V6, "::1", V6)]
    {
        let mut christmas = packet.build();
        christmas[at] = 0x29;
        let mut short = packet.build();
        short[at - 1] = 0x40;
        frames.extend([
            (BadFlags, christmas),
            (BadHeader, short),
            (BogusSource, of_source(bogus).build()),
            (Land, of_source(vip).build()),
        ]);
    }
    frames
}

#[test]
fn whoever_wants_them_gets_malformed_packets_but_for_those_with_wrong_lengths() {
    let mut guarded = Harness::new(&services("tcp", FORWARDS));
    for (reason, frame) in malformed() {
        let expected = if reason == BadHeader { BadHeader } else { Transmitted };
        assert_eq!(guarded.run(&frame).reason, expected, "{reason:?}");
    }
    let mut unguarded = Harness::unguarded(&services("tcp", FORWARDS));
    for (reason, frame) in malformed() {
        assert_eq!(unguarded.run(&frame).reason, Transmitted, "{reason:?}");
    }
}

#[test]
fn what_is_not_for_a_vip_passes_whatever_it_is() {
    let mut balancer = balancer();
    for (packet, at) in [(elsewhere(Packet::default()), FLAGS_V4), (elsewhere(Packet::v6()), FLAGS_V6)] {
        let bogus = if packet.destination.is_ipv4() { "127.0.0.1" } else { "::1" };
        let land = Packet { source: packet.destination, ..packet.clone() };
        let bogus = Packet { source: bogus.parse().expect("an address"), ..packet.clone() };
        let mut christmas = packet.build();
        christmas[at] = 0x29;
        let mut short = packet.build();
        short[at - 1] = 0x40;
        for frame in [christmas, short, land.build(), bogus.build()] {
            let outcome = balancer.run(&frame);
            assert_eq!((outcome.reason, outcome.frame), (NotOurs, frame));
        }
    }
}

#[test]
fn malformed_packets_are_counted_for_their_service() {
    let mut balancer = balancer();
    for _ in 0..3 {
        balancer.run(&of_source("127.0.0.1").build());
    }
    balancer.run(&of_source("::1").build());
    let refused = |vip: &str| {
        let id = balancer.service_id(vip.parse().expect("an address"), 80, TCP);
        balancer.dataplane.refusals(id)[Refusal::Malformed as usize]
    };
    assert_eq!((refused(V4), refused(V6)), (3, 1));
}
