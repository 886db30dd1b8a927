//! What is counted of how connections open.

mod failures;

use lb_common::passive::Signs;
use lb_tests::packet::Packet;

use crate::harness::{Harness, service};

const ALWAYS: &str = "protocol = \"tcp\"\nforwarding = \"l2\"\ntrack = \"always\"";

fn web(rest: &str) -> Harness {
    Harness::unguarded(&service("web", "203.0.113.10", "80", rest, &["198.51.100.11"]))
}

/// What was counted of the first backend of the first service.
fn signs(balancer: &Harness) -> Signs {
    let service = balancer.plan.services.first().expect("a service");
    let id = balancer.applied.service(&service.key).expect("an applied service").entry.first_backend;
    balancer.dataplane.signs(id)
}

fn syn(port: u16) -> Vec<u8> {
    Packet { source_port: port, ..Packet::default() }.build()
}

fn ack(port: u16) -> Vec<u8> {
    Packet { source_port: port, syn: false, ack: true, ..Packet::default() }.build()
}

#[test]
fn syn_that_is_sent_again_counts_once() {
    let mut balancer = web(ALWAYS);
    for (frame, opened, again) in [
        (syn(1), 1, 0),
        (syn(2), 2, 0),
        (syn(1), 2, 1),
        (syn(1), 2, 1),
        (ack(2), 2, 1),
        (syn(3), 3, 1),
        (syn(2), 3, 1),
    ] {
        balancer.run(&frame);
        assert_eq!(signs(&balancer), Signs { opened, again, ..Signs::default() });
    }
}

#[test]
fn flow_that_is_not_remembered_is_not_counted() {
    let mut balancer = web("protocol = \"tcp\"\nforwarding = \"l2\"");
    for frame in [syn(1), syn(1), ack(1)] {
        balancer.run(&frame);
    }
    assert_eq!(signs(&balancer), Signs::default(), "a settled slot keeps nothing of a flow");
}
