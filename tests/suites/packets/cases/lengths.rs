//! Lengths that contradict the frame, each other, or what they count.

use lb_common::counter::Reason::{self, BadHeader, NotOurs, Truncated};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    scenes::{IPIP_V4, ip},
};

/// Where the length of an IP header lies in an untagged frame.
const V4_LENGTH: usize = 16;
const V6_LENGTH: usize = 18;

/// The packet's frame with two bytes changed, without anything else being told of it.
fn patched(packet: &Packet, at: usize, value: u16) -> Vec<u8> {
    let mut frame = packet.build();
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    frame
}

fn udp(packet: Packet) -> Packet {
    Packet { protocol: UDP, ..packet }
}

pub fn cases() -> Vec<Case> {
    [ipv4(), ipv6(), shortened()].into_iter().flatten().collect()
}

fn ipv4() -> Vec<Case> {
    let (v4, options) = (Packet::default(), Packet { options: vec![1; 8], ..Packet::default() });
    let vihl = |value: u8| {
        let mut frame = Packet::default().build();
        frame[14] = value;
        frame
    };
    let mut cases = vec![
        IPIP_V4.drops("a header of 16 bytes", vihl(0x44), BadHeader),
        IPIP_V4.drops("a header of no bytes", vihl(0x40), BadHeader),
        IPIP_V4.drops("a header longer than the packet", vihl(0x4f), BadHeader),
        IPIP_V4.drops(
            "options that end behind the total length",
            patched(&options, V4_LENGTH, 24),
            BadHeader,
        ),
    ];
    for (what, length) in [
        ("beyond the frame", 46),
        ("far beyond the frame", 65_535),
        ("of nothing", 0),
        ("within the header", 19),
    ] {
        let name = format!("an IPv4 total length {what}");
        cases.push(IPIP_V4.drops(name.clone(), patched(&v4, V4_LENGTH, length), BadHeader));
        let elsewhere = Packet { destination: ip("203.0.113.99"), ..Packet::default() };
        let frame = patched(&elsewhere, V4_LENGTH, length);
        cases.push(IPIP_V4.passes(format!("{name}, for another address"), frame, NotOurs));
    }
    cases
}

fn ipv6() -> Vec<Case> {
    let (v6, elsewhere) = (Packet::v6(), Packet { destination: ip("2001:db8:113::99"), ..Packet::v6() });
    vec![
        IPIP_V4.drops("an IPv6 payload a byte beyond the frame", patched(&v6, V6_LENGTH, 26), BadHeader),
        IPIP_V4.drops("an IPv6 payload far beyond the frame", patched(&v6, V6_LENGTH, 65_535), BadHeader),
        IPIP_V4.drops("an IPv6 jumbogram's length of 0", patched(&v6, V6_LENGTH, 0), Truncated),
        IPIP_V4.passes(
            "an IPv6 payload beyond the frame, for another address",
            patched(&elsewhere, V6_LENGTH, 26),
            NotOurs,
        ),
    ]
}

/// IP headers that announce less than a transport header, in frames that go on.
fn shortened() -> Vec<Case> {
    let cut = |name: &str, packet: Packet, at, length, reason: Reason| {
        IPIP_V4.drops(name, patched(&packet, at, length), reason)
    };
    vec![
        cut("ports in the padding of an IPv4 packet", Packet::default(), V4_LENGTH, 20, Truncated),
        cut("an IPv4 TCP header with a byte missing", Packet::default(), V4_LENGTH, 39, Truncated),
        cut("an IPv4 UDP header with a byte missing", udp(Packet::default()), V4_LENGTH, 27, Truncated),
        cut("an IPv6 TCP header with a byte missing", Packet::v6(), V6_LENGTH, 19, Truncated),
        cut("an IPv6 UDP header with a byte missing", udp(Packet::v6()), V6_LENGTH, 7, Truncated),
    ]
}
