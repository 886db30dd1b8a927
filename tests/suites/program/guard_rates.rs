//! How often flows may be opened, by a source and in all.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_common::counter::Reason::{self, ServiceRate, SourceRate, Transmitted};
use lb_tests::packet::{Packet, UDP};

use crate::harness::{Harness, service};

const HOST: [&str; 1] = ["198.51.100.11"];

fn guarded(protocol: &str, guard: &str) -> String {
    guarded_as(protocol, "", guard)
}

fn guarded_as(protocol: &str, more: &str, guard: &str) -> String {
    let rest =
        format!("protocol = \"{protocol}\"\nforwarding = \"ipip\"\n{more}\n[service.guard]\n{guard}\n");
    [
        service("four", "203.0.113.10", "80", &rest, &HOST),
        service("six", "2001:db8:113::10", "80", &rest, &HOST),
    ]
    .concat()
}

fn from(source: &str, port: u16) -> Packet {
    let source: IpAddr = source.parse().expect("an address");
    let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
    Packet { source, source_port: port, ..packet }
}

/// What becomes of a SYN from each of `sources`, in turn, each from another port.
fn open(balancer: &mut Harness, sources: &[&str]) -> Vec<Reason> {
    let ports = 1_000..;
    sources.iter().zip(ports).map(|(source, port)| balancer.run(&from(source, port).build()).reason).collect()
}

#[test]
fn source_opens_as_many_flows_as_it_may() {
    let mut balancer = Harness::new(&guarded("tcp", "max_new_per_source = { rate = 1, burst = 3 }"));
    let same = ["192.0.2.7"; 5];
    assert_eq!(open(&mut balancer, &same), [Transmitted, Transmitted, Transmitted, SourceRate, SourceRate]);
    assert_eq!(open(&mut balancer, &["192.0.2.8", "192.0.2.7"]), [Transmitted, SourceRate]);
    let goes_on = Packet { syn: false, ack: true, ..from("192.0.2.7", 1_000) };
    assert_eq!(balancer.run(&goes_on.build()).reason, Transmitted, "flows that are there go on");
}

#[test]
fn source_is_a_prefix_of_its_familys_length() {
    let cases = [
        ("{ rate = 1, burst = 1 }", "192.0.2.7", "192.0.2.8", Transmitted),
        ("{ rate = 1, burst = 1, ipv4 = 24 }", "192.0.2.7", "192.0.2.8", SourceRate),
        ("{ rate = 1, burst = 1, ipv4 = 24 }", "192.0.2.7", "192.0.3.7", Transmitted),
        ("{ rate = 1, burst = 1 }", "2001:db8::1", "2001:db8::2", SourceRate),
        ("{ rate = 1, burst = 1 }", "2001:db8::1", "2001:db8:0:1::1", Transmitted),
        ("{ rate = 1, burst = 1, ipv6 = 128 }", "2001:db8::1", "2001:db8::2", Transmitted),
        ("{ rate = 1, burst = 1, ipv6 = 48 }", "2001:db8::1", "2001:db8:0:1::1", SourceRate),
    ];
    for (rate, first, second, reason) in cases {
        let mut balancer = Harness::new(&guarded("tcp", &format!("max_new_per_source = {rate}")));
        assert_eq!(open(&mut balancer, &[first, second]), [Transmitted, reason], "{rate}: {first}, {second}");
    }
}

#[test]
fn each_service_has_a_rate_of_its_own() {
    let services = ["203.0.113.10", "203.0.113.20"].map(|vip| {
        let rest = "protocol = \"tcp\"\nforwarding = \"ipip\"\n[service.guard]\nmax_new = { rate = 1, burst = 2 }\n\
                    max_new_per_source = { rate = 1, burst = 1 }\n";
        service(&format!("s{}", &vip[10..]), vip, "80", rest, &HOST)
    });
    let mut balancer = Harness::new(&services.concat());
    let to =
        |vip: &str, source: &str| Packet { destination: vip.parse().expect("an address"), ..from(source, 1) };
    for (vip, source, reason) in [
        ("203.0.113.10", "192.0.2.1", Transmitted),
        ("203.0.113.10", "192.0.2.1", SourceRate),
        ("203.0.113.20", "192.0.2.1", Transmitted),
        ("203.0.113.10", "192.0.2.2", Transmitted),
        ("203.0.113.10", "192.0.2.3", ServiceRate),
        ("203.0.113.20", "192.0.2.3", Transmitted),
    ] {
        assert_eq!(balancer.run(&to(vip, source).build()).reason, reason, "{source} to {vip}");
    }
}

#[test]
fn source_that_floods_takes_nothing_from_the_others() {
    let guard = "max_new = { rate = 1, burst = 3 }\nmax_new_per_source = { rate = 1, burst = 1 }";
    let mut balancer = Harness::new(&guarded("tcp", guard));
    assert_eq!(open(&mut balancer, &["192.0.2.7"; 100])[1..], [SourceRate; 99]);
    let others = ["192.0.2.8", "192.0.2.9", "192.0.2.10"];
    assert_eq!(open(&mut balancer, &others), [Transmitted, Transmitted, ServiceRate]);
}

#[test]
fn rest_gives_back_what_was_spent() {
    let mut balancer = Harness::new(&guarded("tcp", "max_new_per_source = { rate = 100, burst = 1 }"));
    assert_eq!(open(&mut balancer, &["192.0.2.7"]), [Transmitted]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while open(&mut balancer, &["192.0.2.7"]) != [Transmitted] {
        assert!(Instant::now() < deadline, "another flow may be opened after a hundredth of a second");
    }
}

#[test]
fn udp_flow_opens_with_its_first_packet_where_flows_are_remembered() {
    let mut balancer = Harness::new(&guarded("udp", "max_new = { rate = 1, burst = 2 }"));
    let udp = |port| Packet { protocol: UDP, ..from("192.0.2.7", port) }.build();
    let reasons: Vec<_> = [1, 1, 1, 2, 3, 2, 1].map(|port| balancer.run(&udp(port)).reason).into();
    let expected =
        [Transmitted, Transmitted, Transmitted, Transmitted, ServiceRate, Transmitted, Transmitted];
    assert_eq!(reasons, expected);
}

#[test]
fn every_udp_packet_opens_a_flow_where_none_is_remembered() {
    let rate = "max_new_per_source = { rate = 1, burst = 2 }";
    let mut balancer = Harness::new(&guarded_as("udp", "track = \"never\"", rate));
    let udp = Packet { protocol: UDP, ..from("192.0.2.7", 1) }.build();
    let reasons: Vec<_> = (0..3).map(|_| balancer.run(&udp).reason).collect();
    assert_eq!(reasons, [Transmitted, Transmitted, SourceRate]);
}
