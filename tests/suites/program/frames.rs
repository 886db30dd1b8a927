//! Frames of several pieces: as long as they are, whatever of them can be read.

use std::sync::Arc;

use lb_common::{
    counter::Reason::{BadHeader, Echo, NotOurs, TooBig, Transmitted},
    knobs::FEATURE_FRAMES,
};
use lb_tests::{
    answers,
    packet::{ICMP, Packet, TCP},
};
use sluice::dataplane::DataPlane as _;

use crate::{
    decap::Decapsulator,
    harness::{Harness, V4_BACKEND, WAYS, service},
};

/// MTU of every way.
const JUMBO: u16 = 9000;

fn balancer(forwarding: &str, backend: &str) -> Harness {
    let rest = format!("protocol = \"tcp\"\nforwarding = \"{forwarding}\"");
    let v4 = service("v4", "203.0.113.10", "80", &rest, &[backend]);
    let v6 = service("v6", "2001:db8:113::10", "80", &rest, &[backend]);
    let mut balancer = Harness::with_features(FEATURE_FRAMES, "", &(v4 + &v6));
    balancer.view.next_hops.values_mut().for_each(|hop| Arc::make_mut(hop).mtu = JUMBO);
    balancer.advance(std::time::Duration::ZERO);
    balancer
}

/// A packet of `ip` bytes that does not repeat itself.
fn sized(packet: &Packet, ip: usize) -> Packet {
    let headers = if packet.destination.is_ipv4() { 40 } else { 60 };
    let payload = (0..ip - headers).map(|at| (at * 7 + at / 256) as u8).collect();
    Packet { payload, ..packet.clone() }
}

#[test]
fn jumbo_frame_reaches_its_backend_whole_in_every_mode() {
    for (forwarding, backend, outer) in WAYS {
        let outer = usize::from(outer);
        let mut balancer = balancer(forwarding, backend);
        for packet in [Packet::default(), Packet::v6()] {
            for ip in [200, 3500, 8000, usize::from(JUMBO) - outer] {
                let sent = sized(&packet, ip);
                let outcome = balancer.run(&sent.build());
                assert_eq!(outcome.reason, Transmitted, "{forwarding} to {backend}, {ip} bytes");
                let inner = if outer > 0 { sent.passed_on() } else { sent };
                assert!(outcome.frame[14 + outer..] == inner.ip(), "{forwarding} to {backend}, {ip} bytes");
            }
        }
    }
}

#[test]
fn jumbo_frame_that_does_not_fit_is_answered_with_what_would() {
    let mut balancer = balancer("ipip", V4_BACKEND);
    for packet in [Packet::default(), Packet::v6()] {
        let larger = sized(&packet, usize::from(JUMBO) - 19);
        let outcome = balancer.run(&larger.build());
        assert_eq!(outcome.reason, TooBig);
        assert!(outcome.frame == answers::too_big(&larger, JUMBO - 20));
    }
}

#[test]
fn jumbo_frame_is_counted_whole() {
    let mut balancer = balancer("l2", V4_BACKEND);
    let frame = sized(&Packet::default(), 8000).build();
    balancer.run(&frame);
    let id = balancer.service_id("203.0.113.10".parse().unwrap(), 80, TCP);
    assert_eq!(balancer.dataplane.service_traffic(id).bytes, frame.len() as u64);
}

#[test]
fn jumbo_ping_is_answered_and_what_is_not_ours_passes() {
    let mut balancer = balancer("l2", V4_BACKEND);
    let (ping, _) = answers::ping(&Packet::default(), &[0x5a; 7000]);
    assert_eq!(ping.protocol, ICMP);
    assert_eq!(balancer.run(&ping.build()).reason, Echo);
    let elsewhere =
        Packet { destination: "203.0.113.99".parse().unwrap(), ..sized(&Packet::default(), 8000) };
    let outcome = balancer.run(&elsewhere.build());
    assert_eq!(outcome.reason, NotOurs);
    assert!(outcome.frame == elsewhere.build());
}

#[test]
fn header_that_promises_more_than_all_pieces_hold_is_bad() {
    let mut balancer = balancer("l2", V4_BACKEND);
    let frame = sized(&Packet::default(), 8000).build();
    assert_eq!(balancer.run(&frame[..frame.len() - 1]).reason, BadHeader);
}

#[test]
fn backend_takes_the_outer_header_off_jumbo_frames() {
    let mut balancer = balancer("ipip", V4_BACKEND);
    let mut decapsulator = Decapsulator::for_frames();
    let packet = sized(&Packet::default(), 8000);
    let tunnelled = balancer.run(&packet.build()).frame;
    assert!(decapsulator.run(&tunnelled)[14..] == packet.passed_on().ip());
}
