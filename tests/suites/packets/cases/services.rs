//! Which service a packet is for, and what becomes of it where that service can do nothing.

use lb_common::counter::Reason::{NoBackend, NoHeadroom, NoNextHop, NotOurs, Redirected};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    expected::{ipip, ipip_tagged, l2, l2_tagged},
    scenes::{
        EMPTY, IPIP_ELSEWHERE, IPIP_GATEWAY, IPIP_V4, IPIP_V6, L2_ELSEWHERE, L2_GATEWAY, L2_V4, PORTS,
        UNRESOLVED, V4, V6, ip,
    },
};

pub fn cases() -> Vec<Case> {
    [ports(), without_backend(), ways()].into_iter().flatten().collect()
}

fn ports() -> Vec<Case> {
    let to = |destination_port| Packet { destination_port, ..Packet::default() };
    let to_v6 = |destination_port| Packet { destination_port, protocol: UDP, ..Packet::v6() };
    let udp = |destination_port| Packet { protocol: UDP, ..to(destination_port) };
    let sent = |name: &str, packet: Packet, backend| PORTS.sends(name, &packet, l2(&packet, ip(backend)));
    vec![
        sent("the service of one port goes before that of every port", to(80), "198.51.100.11"),
        sent("a port that only the service of every port has", to(443), "198.51.100.12"),
        sent("the first port there is", to(1), "198.51.100.12"),
        sent("the last port there is", to(65_535), "198.51.100.12"),
        sent("port 0 is a port too", to(0), "198.51.100.12"),
        sent("a service of UDP beside one of TCP", udp(53), "198.51.100.13"),
        sent("TCP to the port that UDP has", to(53), "198.51.100.12"),
        PORTS.passes("UDP to a VIP whose every port is of TCP", udp(54), NotOurs),
        PORTS.passes("UDP to the port that TCP has", udp(80), NotOurs),
        sent("one port of an IPv6 VIP", Packet::v6(), "198.51.100.14"),
        sent("every port of an IPv6 VIP", to_v6(80), "198.51.100.15"),
        sent("another port of an IPv6 VIP", to_v6(4433), "198.51.100.15"),
    ]
}

fn without_backend() -> Vec<Case> {
    let udp = Packet { protocol: UDP, ..Packet::default() };
    let other = Packet { destination_port: 81, ..Packet::default() };
    let mut cases = vec![
        EMPTY.drops("a service without backends, IPv4", Packet::default(), NoBackend),
        EMPTY.drops("a service without backends, IPv6", Packet::v6(), NoBackend),
        EMPTY.drops("a service without backends, UDP", udp, NoBackend),
        EMPTY.passes("another port of a VIP without backends", other, NotOurs),
        UNRESOLVED.drops(
            "an old flow whose backend's next hop is lost, IPv4",
            old(Packet::default()),
            NoNextHop,
        ),
        UNRESOLVED.drops("an old flow whose backend's next hop is lost, IPv6", old(Packet::v6()), NoNextHop),
        UNRESOLVED.drops("a new flow where the only next hop is lost", Packet::default(), NoBackend),
        L2_GATEWAY.drops("a backend behind a gateway by l2", Packet::default(), NoBackend),
    ];
    let packet = Packet::default();
    cases.push(IPIP_GATEWAY.sends("a backend behind a gateway by ipip", &packet, ipip(&packet, ip(V4))));
    cases
}

fn old(packet: Packet) -> Packet {
    Packet { syn: false, ack: true, ..packet }
}

fn ways() -> Vec<Case> {
    let (v4, v6) = (Packet::default(), Packet::v6());
    let gone = |scene: &'static crate::case::Scene, name, packet: &Packet, expected| {
        scene.gives(name, packet, Redirected, expected)
    };
    vec![
        gone(&L2_ELSEWHERE, "another interface by l2, IPv4", &v4, l2_tagged(&v4, ip(V4), &[])),
        gone(&L2_ELSEWHERE, "another interface by l2, IPv6", &v6, l2_tagged(&v6, ip(V4), &[])),
        gone(&IPIP_ELSEWHERE, "another interface by ipip, IPv4", &v4, ipip_tagged(&v4, ip(V4), &[])),
        gone(&IPIP_ELSEWHERE, "another interface by ipip, IPv6", &v6, ipip_tagged(&v6, ip(V4), &[])),
        IPIP_V4.drops("no room for an outer IPv4 header", &v4, NoHeadroom).behind(216),
        IPIP_V6.drops("no room for an outer IPv6 header", &v4, NoHeadroom).behind(216),
        L2_V4.sends("no room is needed by l2", &v4, l2(&v4, ip(V4))).behind(216),
        IPIP_V4.sends("metadata leaves room enough", &v4, ipip(&v4, ip(V4))).behind(32),
        IPIP_V6.sends("metadata leaves room for IPv6", &v6, ipip(&v6, ip(V6))).behind(32),
    ]
}
