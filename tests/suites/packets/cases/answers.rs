//! What the balancer answers itself: pings, and packets at the end of their TTL.

use lb_common::counter::Reason::{AnswerLimited, BogusSource, Echo, TtlExpired};
use lb_tests::{answers, packet::Packet};

use crate::{
    case::Case,
    expected::{Expected, l2},
    scenes::{FEW_ANSWERS, L2_V4, L2_V6, V6, WAYS, ip},
};

pub fn cases() -> Vec<Case> {
    [pings(), expired(), limited()].into_iter().flatten().collect()
}

fn families() -> [(&'static str, Packet); 2] {
    [("IPv4", Packet::default()), ("IPv6", Packet::v6())]
}

fn pings() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes = [
        ("without data", vec![], vec![]),
        ("with a byte", vec![], vec![7]),
        ("with 56 bytes", vec![], vec![0x5a; 56]),
        ("of a kilobyte", vec![], vec![0xff; 1024]),
        ("in a VLAN", vec![(0x8100, 9)], vec![1; 8]),
        ("in QinQ", vec![(0x88a8, 8), (0x8100, 9)], vec![2; 8]),
    ];
    for (what, tags, payload) in shapes {
        for (family, packet) in families() {
            let (ping, answer) = answers::ping(&Packet { tags: tags.clone(), ..packet }, &payload);
            let name = format!("an {family} ping {what}");
            cases.push(L2_V4.gives(name, ping, Echo, Expected::exactly(answer)));
        }
    }
    cases
}

/// Only a tunnel is a hop.
fn expired() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, packet) in families() {
        for hops in [0, 1] {
            let packet = Packet { hops, ..packet.clone() };
            for way in WAYS.iter().filter(|way| way.overhead > 0) {
                let told = Expected::exactly(answers::time_exceeded(&packet));
                let name = format!("{}: {family} with {hops} hops left", way.name);
                cases.push(way.scene.gives(name, &packet, TtlExpired, told));
            }
            let name = format!("l2: {family} with {hops} hops left");
            cases.push(L2_V6.sends(name, &packet, l2(&packet, ip(V6))));
        }
        for way in &WAYS {
            let packet = Packet { hops: 2, ..packet.clone() };
            let expected = (way.expected)(&packet, ip(way.backend));
            cases.push(way.scene.sends(format!("{}: {family} with 2 hops left", way.name), packet, expected));
        }
    }
    cases
}

fn limited() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, packet) in families() {
        let (ping, _) = answers::ping(&packet, b"hello");
        let name = format!("an {family} ping beyond the limit of answers");
        cases.push(FEW_ANSWERS.drops(name, &ping, AnswerLimited).after(&ping));
        let late = Packet { hops: 1, ..packet };
        let name = format!("{family} without hops beyond the limit of answers");
        cases.push(FEW_ANSWERS.drops(name, &late, AnswerLimited).after(&late));
    }
    for source in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
        let source = ip(source);
        let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
        let (ping, _) = answers::ping(&Packet { source, ..packet }, b"hello");
        cases.push(L2_V4.drops(format!("a ping from {source}"), ping, BogusSource));
    }
    cases
}
