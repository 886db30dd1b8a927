//! What a forwarded packet looks like, byte by byte, in every mode and mix of families.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6Header};
use lb_common::counter::Reason::{self, NoNextHop, Redirected, TooBig, Transmitted};
use lb_tests::{
    answers,
    packet::{Packet, TCP, UDP, link},
};
use sluice::dataplane::DataPlane as _;

use crate::harness::{EGRESS_MAC, Harness, INGRESS, V4_BACKEND, V6_BACKEND, WAYS, backend_mac, service};

/// Services for both families' default packets, all with one backend.
fn balancer_with(forwarding: &str, backend: &str, rest: &str) -> String {
    let rest = |protocol: &str| format!("protocol = \"{protocol}\"\nforwarding = \"{forwarding}\"\n{rest}");
    [
        service("v4", "203.0.113.10", "80", &rest("tcp"), &[backend]),
        service("v6", "2001:db8:113::10", "80", &rest("tcp"), &[backend]),
        service("udp4", "203.0.113.10", "80", &rest("udp"), &[backend]),
        service("udp6", "2001:db8:113::10", "80", &rest("udp"), &[backend]),
    ]
    .concat()
}

fn variants() -> Vec<(&'static str, Packet)> {
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let routing = (43, vec![2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        ("IPv4 TCP", Packet::default()),
        ("IPv4 UDP", Packet { protocol: UDP, ..Packet::default() }),
        ("IPv4 with options", Packet { options: vec![1; 8], ..Packet::default() }),
        ("IPv4 with all the options there can be", Packet { options: vec![1; 40], ..Packet::default() }),
        ("IPv4 with DSCP and ECN", Packet { traffic_class: 0xb9, ..Packet::default() }),
        ("IPv4 in a padded frame", Packet { payload: Vec::new(), padding: 6, ..Packet::default() }),
        ("IPv6 TCP", Packet::v6()),
        ("IPv6 UDP", Packet { protocol: UDP, ..Packet::v6() }),
        ("IPv6 with a traffic class", Packet { traffic_class: 0xb9, ..Packet::v6() }),
        ("IPv6 with extension headers", Packet { extensions: vec![hop_by_hop, routing], ..Packet::v6() }),
    ]
}

#[test]
fn l2_changes_the_mac_addresses_and_nothing_else() {
    for backend in [V4_BACKEND, V6_BACKEND] {
        let mut balancer = Harness::new(&balancer_with("l2", backend, ""));
        for (name, packet) in variants() {
            let frame = packet.build();
            let outcome = balancer.run(&frame);
            assert_eq!(outcome.reason, Transmitted, "{name} to {backend}");
            let macs = link(backend_mac(backend.parse().unwrap()), EGRESS_MAC, &[], packet.ether_type());
            assert_eq!(outcome.frame, [&macs, &frame[14..]].concat(), "{name} to {backend}");
        }
    }
}

#[test]
fn ipip_adds_a_right_outer_header_around_the_packet_one_hop_further() {
    for backend in [V4_BACKEND, V6_BACKEND] {
        let mut balancer = Harness::new(&balancer_with("ipip", backend, ""));
        for (name, packet) in variants() {
            let outcome = balancer.run(&packet.build());
            assert_eq!(outcome.reason, Transmitted, "{name} to {backend}");
            assert_encapsulated(&outcome.frame, &packet, backend.parse().unwrap(), name);
        }
    }
}

/// Takes the frame apart with etherparse.
fn assert_encapsulated(frame: &[u8], packet: &Packet, backend: IpAddr, name: &str) {
    let ether_type = if backend.is_ipv4() { 0x0800 } else { 0x86dd };
    assert_eq!(frame[..14], link(backend_mac(backend), EGRESS_MAC, &[], ether_type), "{name}: link layer");
    let inner = [packet.passed_on().ip(), vec![0; packet.padding]].concat();
    let inner_protocol = if packet.destination.is_ipv4() { IpNumber::IPV4 } else { IpNumber::IPV6 };
    match backend {
        IpAddr::V4(backend) => {
            let (outer, rest) = Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
            assert_eq!(usize::from(outer.total_len), 20 + packet.ip().len(), "{name}: total length");
            assert_eq!(outer.header_checksum, outer.calc_header_checksum(), "{name}: checksum");
            assert_eq!((outer.protocol, outer.destination), (inner_protocol, backend.octets()), "{name}");
            assert_eq!(outer.source, [198, 51, 100, 1], "{name}: the route's source");
            assert_eq!(
                (outer.time_to_live, outer.dont_fragment, outer.more_fragments),
                (64, true, false),
                "{name}"
            );
            assert_eq!(
                outer.dscp.value() << 2 | outer.ecn.value(),
                packet.traffic_class,
                "{name}: traffic class"
            );
            assert_eq!(rest, inner, "{name}: inner packet");
        }
        IpAddr::V6(backend) => {
            let (outer, rest) = Ipv6Header::from_slice(&frame[14..]).expect("an IPv6 header");
            assert_eq!(usize::from(outer.payload_length), packet.ip().len(), "{name}: payload length");
            assert_eq!((outer.next_header, outer.destination), (inner_protocol, backend.octets()), "{name}");
            assert_eq!(outer.source[15], 1, "{name}: the route's source");
            assert_eq!((outer.hop_limit, outer.traffic_class), (64, packet.traffic_class), "{name}");
            assert_eq!(rest, inner, "{name}: inner packet");
        }
    }
}

#[test]
fn outer_header_varies_with_the_flow_within_the_prefix_and_only_there() {
    let sources = "tunnel_source = [\"192.0.2.0/24\", \"2001:db8:ff::/96\"]";
    let seen = |backend: &str, at: std::ops::Range<usize>| {
        let mut balancer = Harness::new(&balancer_with("ipip", backend, sources));
        let frames = (0..64).map(|port| Packet { source_port: 1000 + port, ..Packet::default() }.build());
        frames.map(|frame| balancer.run(&frame).frame[at.clone()].to_vec()).collect::<Vec<_>>()
    };
    let v4 = seen(V4_BACKEND, 26..30);
    assert!(v4.iter().all(|source| source[..3] == [192, 0, 2]), "{v4:?}");
    assert!(distinct(&v4) > 40, "64 flows have {} sources", distinct(&v4));
    let v6 = seen(V6_BACKEND, 22..38);
    assert!(
        v6.iter().all(|source| source[..12] == [0x20, 1, 0xd, 0xb8, 0, 0xff, 0, 0, 0, 0, 0, 0]),
        "{v6:?}"
    );
    assert!(distinct(&v6) > 40, "64 flows have {} sources", distinct(&v6));
    let labels = seen(V6_BACKEND, 15..18);
    assert!(distinct(&labels) > 40, "64 flows have {} flow labels", distinct(&labels));
}

#[test]
fn gue_puts_the_packet_into_udp() {
    for (backend, variant) in [(V4_BACKEND, 0), (V4_BACKEND, 1), (V6_BACKEND, 0), (V6_BACKEND, 1)] {
        let gue = format!("gue = {{ port = 6081, variant = {variant} }}");
        let mut balancer = Harness::new(&balancer_with("gue", backend, &gue));
        for (name, packet) in variants() {
            let outcome = balancer.run(&packet.build());
            assert_eq!(outcome.reason, Transmitted, "{name} to {backend}");
            assert_in_udp(&outcome.frame, &packet, variant, name);
        }
    }
}

/// Takes the frame apart with etherparse.
fn assert_in_udp(frame: &[u8], packet: &Packet, variant: u8, name: &str) {
    let headers = etherparse::PacketHeaders::from_ethernet_slice(frame).expect("headers");
    let Some(etherparse::TransportHeader::Udp(udp)) = headers.transport else { panic!("{name}: no UDP") };
    assert!(udp.source_port >= 0xc000, "{name}: source port {}", udp.source_port);
    assert_eq!((udp.destination_port, udp.checksum), (6081, 0), "{name}");
    let protocol = if packet.destination.is_ipv4() { 4 } else { 41 };
    let header = if variant == 0 { vec![0, protocol, 0, 0] } else { vec![] };
    let inside = [header, packet.passed_on().ip()].concat();
    assert_eq!(usize::from(udp.length), 8 + inside.len(), "{name}: UDP length");
    assert_eq!(headers.payload.slice(), inside, "{name}: what is inside");
    match headers.net.expect("an IP header") {
        etherparse::NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "{name}: checksum");
            assert_eq!(usize::from(ip.total_len), 28 + inside.len(), "{name}: total length");
            assert_eq!(ip.dscp.value() << 2 | ip.ecn.value(), packet.traffic_class, "{name}");
        }
        etherparse::NetHeaders::Ipv6(ip, _) => {
            assert_eq!(usize::from(ip.payload_length), 8 + inside.len(), "{name}: payload length");
            assert_eq!(ip.traffic_class, packet.traffic_class, "{name}");
        }
        other @ etherparse::NetHeaders::Arp(_) => panic!("{name}: {other:?}"),
    }
}

#[test]
fn source_port_of_gue_varies_with_the_flow() {
    let mut balancer = Harness::new(&balancer_with("gue", V4_BACKEND, ""));
    let frames = (0..64).map(|port| Packet { source_port: 1000 + port, ..Packet::default() }.build());
    let ports: Vec<_> = frames.map(|frame| balancer.run(&frame).frame[34..36].to_vec()).collect();
    assert!(distinct(&ports) > 40, "64 flows have {} ports", distinct(&ports));
}

fn distinct(values: &[Vec<u8>]) -> usize {
    values.iter().collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn outer_header_is_the_same_for_all_packets_of_a_flow() {
    let mut balancer =
        Harness::new(&balancer_with("ipip", V6_BACKEND, "tunnel_source = [\"2001:db8:ff::/64\"]"));
    let opening = balancer.run(&Packet::default().build()).frame;
    let later = balancer.run(&Packet { syn: false, ack: true, ..Packet::default() }.build()).frame;
    assert_eq!(opening[14..54], later[14..54]);
}

#[test]
fn another_interface_means_redirect() {
    let other = |next_hop: &mut sluice::neighbours::NextHop| next_hop.ifindex = INGRESS + 1;
    for forwarding in ["l2", "ipip"] {
        let mut balancer = Harness::with_next_hops(&balancer_with(forwarding, V4_BACKEND, ""), other);
        assert_eq!(balancer.run(&Packet::default().build()).reason, Redirected, "{forwarding}");
    }
}

/// Tags on arrival, whether the packet leaves by the same interface, VLAN of the next hop, tags on departure.
type TagCase = (Vec<(u16, u16)>, bool, u16, Vec<(u16, u16)>);

#[test]
fn vlan_tags_follow_the_next_hop() {
    let (one, two) = (vec![(0x8100, 0x2064)], vec![(0x88a8, 0x0005), (0x8100, 0x0006)]);
    let cases: Vec<TagCase> = vec![
        (one.clone(), true, 0, one.clone()),
        (two.clone(), true, 0, two.clone()),
        (one.clone(), false, 0, vec![]),
        (two.clone(), false, 0, vec![]),
        (vec![], true, 7, vec![(0x8100, 7)]),
        (one, true, 7, vec![(0x8100, 7)]),
        (two, false, 7, vec![(0x8100, 7)]),
    ];
    for (arrive, same, vlan, depart) in cases {
        for forwarding in ["l2", "ipip"] {
            let adjust = |next_hop: &mut sluice::neighbours::NextHop| {
                (next_hop.ifindex, next_hop.vlan) = (if same { INGRESS } else { INGRESS + 1 }, vlan);
            };
            let mut balancer = Harness::with_next_hops(&balancer_with(forwarding, V4_BACKEND, ""), adjust);
            let packet = Packet { tags: arrive.clone(), ..Packet::default() };
            let outcome = balancer.run(&packet.build());
            let link = link(backend_mac(V4_BACKEND.parse().unwrap()), EGRESS_MAC, &depart, 0x0800);
            let context =
                format!("{forwarding}, {arrive:?} on the same interface: {same}, next hop in VLAN {vlan}");
            assert_eq!(outcome.frame[..link.len()], link, "{context}");
            let inner = if forwarding == "l2" { packet.ip() } else { packet.passed_on().ip() };
            assert_eq!(outcome.frame[outcome.frame.len() - inner.len()..], inner, "{context}");
        }
    }
}

#[test]
fn packet_that_does_not_fit_is_answered_with_what_would() {
    for (forwarding, backend, overhead) in WAYS {
        let mut balancer = Harness::new(&balancer_with(forwarding, backend, ""));
        let sized = |ip: u16| Packet { payload: vec![0; usize::from(ip) - 40], ..Packet::default() };
        assert_eq!(
            balancer.run(&sized(1500 - overhead).build()).reason,
            Transmitted,
            "{forwarding} {backend}"
        );
        let larger = sized(1501 - overhead);
        let outcome = balancer.run(&larger.build());
        assert_eq!(outcome.reason, TooBig, "{forwarding} {backend}");
        assert_eq!(outcome.frame, answers::too_big(&larger, 1500 - overhead), "{forwarding} {backend}");
    }
}

#[test]
fn l2_backend_behind_a_gateway_is_not_sent_to() {
    let gateway = |next_hop: &mut sluice::neighbours::NextHop| {
        next_hop.gateway = Some("198.51.100.254".parse().unwrap());
    };
    let frame = Packet::default().build();
    let mut l2 = Harness::with_next_hops(&balancer_with("l2", V4_BACKEND, ""), gateway);
    assert_eq!(l2.run(&frame).reason, Reason::NoBackend);
    let mut ipip = Harness::with_next_hops(&balancer_with("ipip", V4_BACKEND, ""), gateway);
    assert_eq!(ipip.run(&frame).reason, Transmitted);
}

#[test]
fn backend_that_loses_its_next_hop_drops_its_flows_by_name() {
    let mut balancer = Harness::new(&balancer_with("ipip", V4_BACKEND, ""));
    assert_eq!(balancer.run(&Packet::default().build()).reason, Transmitted);
    balancer.view.next_hops.clear();
    balancer.advance(std::time::Duration::ZERO);
    let established = Packet { syn: false, ack: true, ..Packet::default() };
    assert_eq!(balancer.run(&established.build()).reason, NoNextHop);
}

#[test]
fn forwarded_packets_are_counted_for_service_and_backend() {
    let mut balancer = Harness::new(&balancer_with("ipip", V4_BACKEND, ""));
    let frame = Packet::default().build();
    for _ in 0..3 {
        balancer.run(&frame);
    }
    balancer.run(&Packet { destination_port: 81, ..Packet::default() }.build());
    let id = balancer.service_id("203.0.113.10".parse().unwrap(), 80, TCP);
    let traffic = balancer.dataplane.service_traffic(id);
    assert_eq!((traffic.packets, traffic.bytes), (3, 3 * frame.len() as u64));
    let udp = balancer.service_id("203.0.113.10".parse().unwrap(), 80, UDP);
    assert_eq!(balancer.dataplane.service_traffic(udp).packets, 0);
    let (_, service) = balancer.applied.services().find(|(_, service)| service.id == id).unwrap();
    let backend = service.backend_id(V4_BACKEND.parse().unwrap()).unwrap();
    assert_eq!(balancer.dataplane.backend_traffic(backend), traffic);
}
