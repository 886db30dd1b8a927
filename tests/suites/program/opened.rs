//! New flows, as they are counted for services and backends.

use lb_common::knobs::{FEATURE_GUE, FEATURE_TRACKING};
use lb_tests::packet::{End, Packet, TCP, UDP};

use crate::{
    harness::{Harness, UNGUARDED, service},
    quic,
};

const BACKENDS: &[&str] = &["198.51.100.11", "198.51.100.12"];

fn of_service(balancer: &Harness, number: usize) -> (u64, u64) {
    let key = balancer.plan.services[number].key;
    let applied = balancer.applied.service(&key).expect("an applied service");
    let first = applied.entry.first_backend;
    let backends = (first..).take(BACKENDS.len()).map(|id| balancer.dataplane.backend_opened(id));
    (balancer.dataplane.service_opened(applied.id), backends.sum())
}

/// Sends frames, each with how many flows are opened after it.
fn expect(balancer: &mut Harness, frames: Vec<(&str, Vec<u8>, u64)>) {
    for (what, frame, opened) in frames {
        balancer.run(&frame);
        assert_eq!(of_service(balancer, 0), (opened, opened), "{what}");
    }
}

fn tcp(port: u16) -> Packet {
    Packet { source_port: port, ..Packet::default() }
}

fn goes_on(port: u16) -> Packet {
    Packet { syn: false, ack: true, ..tcp(port) }
}

fn udp(port: u16) -> Packet {
    Packet { protocol: UDP, ..tcp(port) }
}

/// What a client sends, and how many flows are open after each.
fn conversation() -> Vec<(&'static str, Vec<u8>, u64)> {
    vec![
        ("a SYN", tcp(1).build(), 1),
        ("what follows", goes_on(1).build(), 1),
        ("another SYN", tcp(2).build(), 2),
        ("the same again", tcp(2).build(), 3),
        ("a SYN with ACK, which is an answer", Packet { ack: true, ..tcp(3) }.build(), 3),
        ("the end", Packet { end: Some(End::Fin), ..goes_on(1) }.build(), 3),
        ("the same port anew", tcp(1).build(), 4),
        ("a reset", Packet { end: Some(End::Rst), ..goes_on(9) }.build(), 4),
        ("with a tag", Packet { tags: vec![(0x8100, 7)], ..tcp(4) }.build(), 5),
    ]
}

#[test]
fn tcp_flows_are_counted_by_their_syns_whatever_places_them() {
    for track in ["never", "moved", "always"] {
        for forwarding in ["l2", "ipip"] {
            let rest = format!("protocol = \"tcp\"\nforwarding = \"{forwarding}\"\ntrack = \"{track}\"");
            let toml = service("web", "203.0.113.10", "80", &rest, BACKENDS);
            expect(&mut Harness::unguarded(&toml), conversation());
            expect(&mut Harness::only_for(FEATURE_TRACKING | FEATURE_GUE, &toml), conversation());
        }
    }
    let rest = "protocol = \"tcp\"\nforwarding = \"l2\"";
    expect(&mut Harness::new(&service("web", "203.0.113.10", "80", rest, BACKENDS)), conversation());
}

#[test]
fn flow_that_nobody_takes_is_not_opened() {
    let rest = "protocol = \"tcp\"\nforwarding = \"l2\"";
    let mut balancer = Harness::unguarded(&service("web", "203.0.113.10", "80", rest, &[]));
    expect(&mut balancer, vec![("a SYN", tcp(1).build(), 0)]);
}

#[test]
fn udp_flows_are_counted_as_they_begin_to_be_remembered() {
    let toml = |track: &str| {
        let rest = format!("protocol = \"udp\"\nforwarding = \"l2\"\ntrack = \"{track}\"");
        service("dns", "203.0.113.10", "80", &rest, BACKENDS)
    };
    let frames = [("a first", 1, 1), ("a second", 1, 1), ("another's", 2, 2), ("and again", 1, 2)];
    let packets = || frames.map(|(what, port, opened)| (what, udp(port).build(), opened)).to_vec();
    expect(&mut Harness::unguarded(&toml("always")), packets());
    expect(&mut Harness::new(&toml("always")), packets());
    let untold = packets().into_iter().map(|(what, frame, _)| (what, frame, 0)).collect();
    expect(&mut Harness::unguarded(&toml("moved")), untold);
}

#[test]
fn quic_flows_are_counted_by_their_initials() {
    let frames = vec![
        ("an Initial", quic::initial(1), 1),
        ("what goes on", quic::onward(1), 1),
        ("another Initial", quic::initial(2), 2),
    ];
    expect(&mut Harness::unguarded(&quic::web("", &[11, 12])), frames);
}

#[test]
fn translated_flows_are_counted_likewise() {
    let pool = "[balancer.nat]\naddresses = [\"198.51.100.250\"]\nports = \"20000-20999\"\n";
    for (protocol, packet) in [("tcp", tcp as fn(u16) -> Packet), ("udp", udp)] {
        let rest = format!("protocol = \"{protocol}\"\nforwarding = \"nat\"");
        let toml = pool.to_owned() + &service("web", "203.0.113.10", "80", &rest, BACKENDS);
        let next = |port| if packet(port).protocol == TCP { goes_on(port) } else { udp(port) };
        let frames = vec![
            ("a first", packet(1).build(), 1),
            ("a second", next(1).build(), 1),
            ("another's", packet(2).build(), 2),
        ];
        expect(&mut Harness::only_for(UNGUARDED, &toml), frames);
    }
}

#[test]
fn backend_that_changes_its_number_keeps_what_it_has_opened() {
    let rest = "protocol = \"tcp\"\nforwarding = \"l2\"";
    let toml = |backends: &[&str]| service("web", "203.0.113.10", "80", rest, backends);
    let mut balancer = Harness::unguarded(&toml(&BACKENDS[..1]));
    expect(&mut balancer, vec![("a SYN", tcp(1).build(), 1)]);
    let many: Vec<_> = (11..60).map(|n| format!("198.51.100.{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    balancer.reload(&toml(&many));
    assert_eq!(of_service(&balancer, 0), (1, 1), "the service has outgrown its place");
}
