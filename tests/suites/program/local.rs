//! A backend that is the balancer's own host.

use std::collections::BTreeMap;

use lb_common::counter::{
    Fate,
    Reason::{Local, Transmitted},
};
use lb_tests::packet::{Packet, UDP};

use crate::harness::{Harness, service};

const OWN: &str = "198.51.100.12";

fn balancer(rest: &str) -> Harness {
    let rest = format!("forwarding = \"ipip\"\n{rest}");
    let backends = ["198.51.100.11", OWN];
    let mut balancer = Harness::new(
        &[
            service("v4", "203.0.113.10", "80", &format!("protocol = \"tcp\"\n{rest}"), &backends),
            service("v6", "2001:db8:113::10", "80", &format!("protocol = \"udp\"\n{rest}"), &backends),
        ]
        .concat(),
    );
    balancer.own(OWN);
    balancer
}

fn packets() -> impl Iterator<Item = Packet> {
    let udp = Packet { protocol: UDP, ..Packet::v6() };
    (1..=64).flat_map(move |source_port| {
        [Packet { source_port, ..Packet::default() }, Packet { source_port, ..udp.clone() }]
    })
}

#[test]
fn own_host_gets_its_share_as_it_came() {
    let mut balancer = balancer("");
    let mut reasons = BTreeMap::new();
    for packet in packets() {
        let frame = packet.build();
        let outcome = balancer.run(&frame);
        assert!(outcome.reason != Local || outcome.frame == frame, "what passes is as it came");
        *reasons.entry(outcome.reason as u32).or_insert(0) += 1;
    }
    let [own, other] = [Local, Transmitted].map(|reason| reasons[&(reason as u32)]);
    assert!(own > 32 && other > 32 && own + other == 128, "{reasons:?}");
}

/// It counts as a packet for the service, and for the backend.
#[test]
fn what_own_host_gets_is_counted_for_it() {
    use sluice::dataplane::DataPlane as _;
    let mut balancer = balancer("");
    for packet in packets() {
        balancer.run(&packet.build());
    }
    let of = |balancer: &Harness, vip: &str, port, protocol| {
        let id = balancer.service_id(vip.parse().expect("an address"), port, protocol);
        balancer.dataplane.service_traffic(id).packets
    };
    assert_eq!(of(&balancer, "203.0.113.10", 80, 6), 64);
    assert_eq!(of(&balancer, "2001:db8:113::10", 80, 17), 64);
}

#[test]
fn flow_stays_with_own_host_when_its_slot_moves() {
    let mut balancer = balancer("track = \"always\"");
    let goes_on = |packet: Packet| Packet { syn: false, ack: true, ..packet }.build();
    let opened: Vec<_> = packets()
        .filter(|packet| packet.destination.is_ipv4() && balancer.run(&packet.build()).reason == Local)
        .collect();
    let drained = "admin = \"drain\"\naddress = \"198.51.100.12\"";
    let toml = service(
        "v4",
        "203.0.113.10",
        "80",
        "protocol = \"tcp\"\nforwarding = \"ipip\"\ntrack = \"always\"",
        &["198.51.100.11", OWN],
    );
    balancer.reload(&toml.replace("address = \"198.51.100.12\"", drained));
    for packet in opened {
        assert_eq!(balancer.run(&goes_on(packet)).reason, Local);
    }
    for packet in packets().filter(|packet| packet.destination.is_ipv4()) {
        let another = Packet { source_port: packet.source_port + 1000, ..packet };
        assert_eq!(balancer.run(&another.build()).reason.fate(), Fate::Forward, "new flows go elsewhere");
    }
}

#[test]
fn address_that_leaves_the_host_is_reached_as_the_file_says() {
    let mut balancer = balancer("");
    balancer.view.own.clear();
    balancer.advance(std::time::Duration::ZERO);
    assert!(packets().all(|packet| balancer.run(&packet.build()).reason == Transmitted));
}
