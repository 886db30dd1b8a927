//! Flows that open too often. Each case has a source, or a service, of its own.

use lb_common::counter::Reason::{ServiceRate, SourceRate};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    expected::l2,
    scenes::{SERVICE_RATE, SOURCE_RATE, V4, ip},
};

pub fn cases() -> Vec<Case> {
    [by_source(), by_service()].into_iter().flatten().collect()
}

/// A SYN, or the first datagram of a flow, from another port of the same source.
fn another(packet: &Packet) -> Packet {
    Packet { source_port: packet.source_port + 1, ..packet.clone() }
}

fn goes_on(packet: &Packet) -> Packet {
    Packet { syn: false, ack: true, ..packet.clone() }
}

fn by_source() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, from) in [("IPv4", "192.0.2.1"), ("IPv6", "2001:db8:c:1::")] {
        let source = |last: &str| {
            let source = ip(&format!("{from}{last}"));
            Packet { source, ..if source.is_ipv4() { Packet::default() } else { Packet::v6() } }
        };
        let (tcp, udp) = (source("1"), Packet { protocol: UDP, ..source("1") });
        cases.push(
            SOURCE_RATE
                .drops(format!("a second {family} SYN of a source"), another(&tcp), SourceRate)
                .after(&tcp),
        );
        cases.push(
            SOURCE_RATE
                .drops(format!("a second {family} UDP flow of a source"), another(&udp), SourceRate)
                .after(&udp),
        );
        let old = goes_on(&tcp);
        let name = format!("an {family} connection of a source that has opened too many");
        cases.push(SOURCE_RATE.sends(name, &old, l2(&old, ip(V4))).after(&tcp).after(another(&tcp)));
    }
    let (one, other) = (from("192.0.2.21"), from("192.0.2.22"));
    cases.push(
        SOURCE_RATE
            .sends("the neighbour of a source that has opened one", &other, l2(&other, ip(V4)))
            .after(one),
    );
    let (one, other) = (from("2001:db8:c:2::1"), from("2001:db8:c:2::2"));
    cases.push(SOURCE_RATE.drops("another host of the same IPv6 network", other, SourceRate).after(one));
    let (one, other) = (from("2001:db8:c:3::1"), from("2001:db8:c:4::1"));
    cases.push(SOURCE_RATE.sends("a host of the next IPv6 network", &other, l2(&other, ip(V4))).after(one));
    cases
}

fn from(source: &str) -> Packet {
    let source = ip(source);
    Packet { source, ..if source.is_ipv4() { Packet::default() } else { Packet::v6() } }
}

fn by_service() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        for (protocol, packet) in
            [("TCP", packet.clone()), ("UDP", Packet { protocol: UDP, ..packet.clone() })]
        {
            let source = if packet.source.is_ipv4() { "192.0.2.99" } else { "2001:db8:99::1" };
            let other = Packet { source: ip(source), ..packet.clone() };
            let name = format!("a second {family} {protocol} flow for a service, from another source");
            cases.push(SERVICE_RATE.drops(name, other, ServiceRate).after(&packet));
        }
        let old = goes_on(&packet);
        let name = format!("an {family} connection of a service that has been asked for too many");
        cases.push(SERVICE_RATE.sends(name, &old, l2(&old, ip(V4))).after(&packet));
    }
    cases
}
