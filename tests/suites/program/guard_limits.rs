//! Backends that may be given only so many flows: where others go, and when there is room again.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader};
use lb_common::counter::Reason::{self, BackendFull, NotRemembered, Refused, Transmitted};
use lb_tests::packet::{BALANCER_MAC, CLIENT_MAC, End, Packet, TCP, UDP, link};
use sluice::dataplane::DataPlane as _;

use crate::harness::{Harness, service};

const ALL: [&str; 4] = ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"];

/// A service whose backends all have the same limit.
fn limited(protocol: &str, more: &str, limit: &str, backends: &[&str]) -> String {
    let rest = format!("protocol = \"{protocol}\"\nforwarding = \"l2\"\n{more}");
    service("web", "203.0.113.10", "80", &rest, backends)
        .replace("address = \"198", &format!("{limit}\naddress = \"198"))
}

fn syn(port: u16) -> Packet {
    Packet { source_port: port, ..Packet::default() }
}

fn ack(port: u16) -> Packet {
    Packet { syn: false, ack: true, ..syn(port) }
}

fn open(balancer: &mut Harness, ports: std::ops::Range<u16>) -> Vec<Reason> {
    ports.map(|port| balancer.run(&syn(port).build()).reason).collect()
}

/// Walks through the tables as if so much time had passed.
fn walk(balancer: &mut Harness, after: Duration) {
    let idle = |_| Some(Duration::from_hours(1));
    balancer.dataplane.sweep(sluice::daemon::now() + after, &idle).expect("the kernel walks the table");
}

#[test]
fn full_backend_refuses_until_a_connection_ends() {
    for end in [End::Fin, End::Rst] {
        let refuse = "on_full = \"refuse\"";
        let mut balancer = Harness::new(&limited("tcp", refuse, "max_connections = 2", &ALL[..1]));
        assert_eq!(open(&mut balancer, 1..5), [Transmitted, Transmitted, Refused, Refused]);
        let last = Packet { end: Some(end), ..ack(1) };
        assert_eq!(balancer.run(&last.build()).reason, Transmitted);
        assert_eq!(open(&mut balancer, 5..7), [Transmitted, Refused], "{end:?}");
        assert_eq!(balancer.run(&last.build()).reason, Transmitted);
        assert_eq!(open(&mut balancer, 7..8), [Refused], "a flow ends once");
    }
}

#[test]
fn connection_that_is_opened_again_is_the_same_one() {
    let refuse = "on_full = \"refuse\"";
    let mut balancer = Harness::new(&limited("tcp", refuse, "max_connections = 2", &ALL[..1]));
    assert_eq!(open(&mut balancer, 1..2), open(&mut balancer, 1..2));
    balancer.run(&ack(1).build());
    balancer.run(&Packet { end: Some(End::Fin), ..ack(1) }.build());
    assert_eq!(open(&mut balancer, 1..2), [Transmitted]);
    assert_eq!(open(&mut balancer, 2..4), [Transmitted, Refused]);
}

#[test]
fn others_take_what_a_full_backend_cannot() {
    let mut balancer = Harness::new(&limited("tcp", "", "max_connections = 10", &ALL));
    let mut taken: HashMap<u8, u32> = HashMap::new();
    let mut placed = HashMap::new();
    for port in 1..=40 {
        let backend = balancer.backend_of(&syn(port).build());
        placed.insert(port, backend);
        *taken.entry(backend).or_default() += 1;
    }
    assert_eq!(taken, HashMap::from([(11, 10), (12, 10), (13, 10), (14, 10)]));
    for (port, backend) in placed {
        assert_eq!(balancer.backend_of(&ack(port).build()), backend, "port {port} stays where it began");
    }
    assert_eq!(open(&mut balancer, 100..102), [BackendFull, BackendFull]);
}

#[test]
fn udp_flow_that_no_backend_has_room_for_is_dropped() {
    for on_full in ["next", "refuse"] {
        let more = format!("on_full = \"{on_full}\"");
        let mut balancer = Harness::new(&limited("udp", &more, "max_connections = 1", &ALL[..1]));
        let udp = |port| Packet { protocol: UDP, ..syn(port) }.build();
        let reasons: Vec<_> = [1, 2, 1].map(|port| balancer.run(&udp(port)).reason).into();
        assert_eq!(reasons, [Transmitted, BackendFull, Transmitted]);
    }
}

#[test]
fn backend_is_given_new_flows_at_its_rate() {
    // One in ten seconds would be the rate of 0.1, which cannot be said; one a second leaves a burst of one.
    let mut balancer = Harness::new(&limited("tcp", "", "max_new_per_sec = 1", &ALL[..1]));
    assert_eq!(open(&mut balancer, 1..4), [Transmitted, BackendFull, BackendFull]);
    assert_eq!(balancer.run(&ack(1).build()).reason, Transmitted);
}

#[test]
fn walk_through_the_tables_corrects_what_a_backend_has() {
    let mut balancer = Harness::new(&limited("tcp", "", "max_connections = 2", &ALL[..1]));
    assert_eq!(open(&mut balancer, 1..4), [Transmitted, Transmitted, BackendFull]);
    balancer.run(&ack(1).build());
    walk(&mut balancer, Duration::ZERO);
    assert_eq!(open(&mut balancer, 4..5), [BackendFull], "both are there");
    walk(&mut balancer, Duration::from_secs(11));
    assert_eq!(open(&mut balancer, 5..7), [Transmitted, BackendFull], "port 2 has not gone on");
    walk(&mut balancer, Duration::from_hours(2));
    assert_eq!(open(&mut balancer, 7..10), [Transmitted, Transmitted, BackendFull], "nobody is there");
}

#[test]
fn limit_follows_the_file_and_goes_with_it() {
    let with = |limit: &str| limited("tcp", "track = \"always\"", limit, &ALL[..1]);
    let mut balancer = Harness::new(&with("max_connections = 1"));
    assert_eq!(open(&mut balancer, 1..3), [Transmitted, BackendFull]);
    balancer.reload(&with("max_connections = 2"));
    assert_eq!(open(&mut balancer, 3..5), [Transmitted, BackendFull]);
    balancer.reload(&with("weight = 1"));
    assert_eq!(open(&mut balancer, 5..7), [Transmitted, Transmitted]);
}

#[test]
fn backends_keep_what_they_have_when_their_entries_move() {
    let with = |backends: &[&str]| limited("tcp", "", "max_connections = 1", backends);
    let mut balancer = Harness::new(&with(&ALL[..1]));
    assert_eq!(open(&mut balancer, 1..2), [Transmitted]);
    // Outgrows its entries, which then lie elsewhere.
    balancer.reload(&with(&ALL[..2]));
    let taken: Vec<_> = (2..4).map(|port| balancer.run(&syn(port).build()).reason).collect();
    assert_eq!(taken, [Transmitted, BackendFull], "one place at the backend that is added");
}

#[test]
fn flow_that_cannot_be_remembered_is_not_begun() {
    let toml = limited("tcp", "", "max_connections = 1000", &ALL[..1]);
    let mut balancer = Harness::with_limits("inserts = 1\n", &toml);
    let reasons = open(&mut balancer, 1..200);
    assert!(reasons.contains(&NotRemembered), "{reasons:?}");
    assert!(reasons.iter().all(|reason| [Transmitted, NotRemembered].contains(reason)), "{reasons:?}");
}

/// The answer to a SYN as another implementation writes it: its number is 1.
fn refusal(packet: &Packet) -> Vec<u8> {
    let mut tcp = TcpHeader::new(80, packet.source_port, 0, 0);
    (tcp.rst, tcp.ack, tcp.acknowledgment_number) = (true, true, 2);
    let ip = match (packet.source, packet.destination) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let mut ip = Ipv4Header::new(20, 64, IpNumber(TCP), vip.octets(), client.octets()).expect("fits");
            ip.header_checksum = ip.calc_header_checksum();
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).expect("fits");
            ip.to_bytes().to_vec()
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            let ip = Ipv6Header {
                payload_length: 20,
                next_header: IpNumber(TCP),
                hop_limit: 64,
                source: vip.octets(),
                destination: client.octets(),
                ..Ipv6Header::default()
            };
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, &[]).expect("fits");
            ip.to_bytes().to_vec()
        }
        _ => unreachable!("one family"),
    };
    let link = link(CLIENT_MAC, BALANCER_MAC, &packet.tags, packet.ether_type());
    [link, ip, tcp.to_bytes().to_vec()].concat()
}

#[test]
fn refused_syn_is_answered_with_a_reset_that_its_client_takes() {
    for packet in [Packet::default(), Packet { tags: vec![(0x8100, 7)], ..Packet::default() }, Packet::v6()] {
        let toml = limited("tcp", "on_full = \"refuse\"", "max_connections = 1", &ALL[..1]);
        let mut balancer = Harness::new(&toml.replace("203.0.113.10", &packet.destination.to_string()));
        assert_eq!(balancer.run(&Packet { source_port: 1, ..packet.clone() }.build()).reason, Transmitted);
        let outcome = balancer.run(&packet.build());
        assert_eq!((outcome.reason, outcome.frame), (Refused, refusal(&packet)));
    }
}
