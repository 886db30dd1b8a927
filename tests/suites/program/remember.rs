//! What is remembered of flows, in which table, and what a flood can and cannot do to it.

use std::{collections::HashMap, ops::Range, time::Duration};

use lb_common::counter::Reason::{NotRemembered, Transmitted};
use lb_tests::packet::{End, Packet, UDP};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sluice::dataplane::{DataPlane as _, Tracking};

use crate::harness::{Harness, service};

const TCP_L2: &str = "protocol = \"tcp\"\nforwarding = \"l2\"";
const ALL: [&str; 4] = ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"];
const PORTS: Range<u16> = 10_000..10_200;

fn web(rest: &str, backends: &[&str]) -> String {
    service("web", "203.0.113.10", "80", rest, backends)
}

fn syn(port: u16) -> Packet {
    Packet { source_port: port, ..Packet::default() }
}

fn ack(port: u16) -> Packet {
    Packet { syn: false, ack: true, ..syn(port) }
}

fn backends(balancer: &mut Harness, packet: fn(u16) -> Packet) -> HashMap<u16, u8> {
    PORTS.map(|port| (port, balancer.backend_of(&packet(port).build()))).collect()
}

/// What is remembered of flows that were seen at most `silent` ago.
fn tracking(balancer: &mut Harness, silent: Duration) -> Tracking {
    let day = |_| Some(Duration::from_hours(24));
    balancer.dataplane.sweep(sluice::daemon::now() + silent, &day).expect("the kernel walks the tables");
    balancer.dataplane.tracking()
}

/// A balancer all of whose slots have moved: every backend but `b14` drains, and they had the flows of before.
fn all_moved(prelude: &str) -> Harness {
    let mut balancer = Harness::with_limits(prelude, &web(TCP_L2, &ALL[..3]));
    balancer.reload(&web(TCP_L2, &ALL[3..]));
    balancer
}

#[test]
fn flow_passes_to_the_connections_with_its_second_packet() {
    let mut balancer = all_moved("");
    let opened = backends(&mut balancer, syn);
    let kept = tracking(&mut balancer, Duration::ZERO);
    assert_eq!((kept.openings, kept.connections), (200, 0));
    assert_eq!(backends(&mut balancer, ack), opened);
    let kept = tracking(&mut balancer, Duration::ZERO);
    assert_eq!((kept.openings, kept.connections), (0, 200));
}

/// The program runs on a million flows' first and second packets, with nothing between it and the kernel's count.
#[test]
fn million_flows_of_settled_slots_leave_no_entry() {
    const FLOWS: u32 = 1_000_000;
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let frames = [syn(1).build(), ack(1).build()];
    let program = balancer.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
    for number in 0..FLOWS {
        // The source address; its header's checksum is the stack's to check.
        let source = (0xc612_0000 + number).to_be_bytes();
        for frame in &frames {
            let mut frame = frame.clone();
            frame[26..30].copy_from_slice(&source);
            crate::harness::run(program, &frame);
        }
    }
    let forwarded = balancer.dataplane.reasons()[Transmitted as usize].packets;
    let kept = tracking(&mut balancer, Duration::ZERO);
    println!("{forwarded} packets of {FLOWS} flows forwarded, then {kept:?}");
    assert_eq!(forwarded, u64::from(2 * FLOWS));
    assert_eq!((kept.connections, kept.openings), (0, 0));
}

#[test]
fn syn_on_a_known_tuple_stays_where_new_flows_may_go() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..3]));
    let opened = backends(&mut balancer, syn);
    balancer.reload(&web(TCP_L2, &ALL));
    assert_eq!(backends(&mut balancer, ack), opened);
    assert_eq!(backends(&mut balancer, syn), opened);
}

#[test]
fn syn_on_a_known_tuple_chooses_anew_where_they_may_not() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    balancer.reload(&format!("{}admin = \"drain\"\n", web(TCP_L2, &ALL)));
    // Twice: what went on is in the other table.
    for _ in 0..2 {
        assert_eq!(backends(&mut balancer, ack), opened);
    }
    let reopened = backends(&mut balancer, syn);
    assert!(reopened.values().all(|&backend| backend != 14));
    assert!(reopened.iter().all(|(port, backend)| opened[port] == *backend || opened[port] == 14));
    assert_eq!(backends(&mut balancer, ack), reopened, "and stays there");
}

#[test]
fn flood_of_syns_pushes_out_no_connection_that_went_on() {
    // Far more openings than either table holds.
    let mut balancer = all_moved("connections = 1024\nopenings = 1024\ninserts = 100000000\n");
    let opened = backends(&mut balancer, syn);
    assert_eq!(backends(&mut balancer, ack), opened);
    for number in 0..5_000u16 {
        let source = std::net::Ipv4Addr::new(198, 18, (number >> 8) as u8, number as u8).into();
        assert_eq!(balancer.run(&Packet { source, ..syn(1) }.build()).reason, Transmitted);
    }
    let kept = tracking(&mut balancer, Duration::ZERO);
    assert_eq!(kept.connections, 200);
    assert!(kept.openings > 512, "{kept:?}");
    assert_eq!(backends(&mut balancer, ack), opened);
}

#[test]
fn flow_that_cannot_be_remembered_goes_where_its_next_packet_will() {
    let mut balancer = Harness::with_limits("inserts = 1\n", &web(TCP_L2, &ALL[..3]));
    let before = backends(&mut balancer, syn);
    // Nobody drains, so all may get new flows.
    balancer.reload(&web(TCP_L2, &ALL));
    spend_budget(&mut balancer);
    let opened = backends(&mut balancer, syn);
    assert_eq!(backends(&mut balancer, ack), opened);
    assert_eq!(opened, before);
    assert!(tracking(&mut balancer, Duration::ZERO).refused[0] > 0);
}

#[test]
fn flow_that_can_neither_be_remembered_nor_go_back_is_dropped_by_name() {
    let mut balancer = Harness::with_limits("inserts = 1\n", &web(TCP_L2, &ALL[..3]));
    let before = backends(&mut balancer, ack);
    balancer.reload(&web(TCP_L2, &ALL[3..]));
    spend_budget(&mut balancer);
    assert_eq!(balancer.run(&syn(1).build()).reason, NotRemembered);
    assert_eq!(backends(&mut balancer, ack), before, "flows of before need no entry");
}

/// Opens flows until the budget of one a second is spent. Each CPU has its own, so the test stays on one.
fn spend_budget(balancer: &mut Harness) {
    stay_on_one_cpu();
    for port in 30_000..30_200 {
        balancer.run(&syn(port).build());
    }
}

fn stay_on_one_cpu() {
    let allowed = sched_getaffinity(None).expect("the kernel tells where this thread may run");
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu)).expect("a thread runs somewhere");
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).expect("a thread may stay where it may run");
}

#[test]
fn connection_that_ends_is_forgotten_after_a_minute() {
    for end in [End::Fin, End::Rst] {
        let mut balancer = all_moved("");
        for packet in [syn(1), ack(1), Packet { end: Some(end), ..ack(1) }] {
            balancer.run(&packet.build());
        }
        assert_eq!(tracking(&mut balancer, Duration::from_secs(55)).connections, 1, "{end:?}");
        assert_eq!(tracking(&mut balancer, Duration::from_secs(65)).connections, 0, "{end:?}");
    }
}

#[test]
fn connection_that_is_opened_again_has_not_ended() {
    let mut balancer = all_moved("");
    for packet in [syn(1), ack(1), Packet { end: Some(End::Fin), ..ack(1) }, syn(1), ack(1)] {
        balancer.run(&packet.build());
    }
    assert_eq!(tracking(&mut balancer, Duration::from_secs(65)).connections, 1);
}

#[test]
fn reset_from_somebody_else_is_forgotten_with_the_next_packet() {
    let mut balancer = all_moved("");
    for packet in [syn(1), ack(1), Packet { end: Some(End::Rst), ..ack(1) }, ack(1)] {
        balancer.run(&packet.build());
    }
    assert_eq!(tracking(&mut balancer, Duration::from_secs(65)).connections, 1);
}

#[test]
fn last_packet_of_an_unknown_flow_is_not_remembered() {
    let mut balancer = all_moved("");
    balancer.run(&Packet { end: Some(End::Rst), ..ack(1) }.build());
    balancer.run(&Packet { end: Some(End::Fin), ..ack(2) }.build());
    assert_eq!(tracking(&mut balancer, Duration::ZERO).openings, 0);
}

#[test]
fn tracked_tcp_flow_of_before_keeps_its_backend_without_an_entry() {
    let always = format!("{TCP_L2}\ntrack = \"always\"");
    let mut balancer = Harness::new(&web(&always, &ALL[..3]));
    let opened = backends(&mut balancer, syn);
    // As if they had been silent until their entries were pushed out.
    let nothing = |_| None;
    balancer.dataplane.sweep(sluice::daemon::now() + Duration::from_secs(1), &nothing).unwrap();
    balancer.reload(&web(&always, &ALL));
    assert_eq!(backends(&mut balancer, ack), opened);
}

#[test]
fn source_chooses_the_backend_of_all_its_flows() {
    for (rest, neighbour_shares) in [("\"source\"", false), ("{ ipv4 = 24, ipv6 = 64 }", true)] {
        let mut balancer = Harness::new(&web(&format!("{TCP_L2}\naffinity = {rest}"), &ALL));
        let from = |host: u8, port| Packet { source: [192, 0, 2, host].into(), ..syn(port) }.build();
        let mut seen = std::collections::BTreeSet::new();
        let mut differs = false;
        for host in 1..=60 {
            let backend = balancer.backend_of(&from(host, 1));
            assert!((2..20).all(|port| balancer.backend_of(&from(host, port)) == backend), "{rest}");
            differs |= backend != balancer.backend_of(&from(1, 1));
            seen.insert(backend);
        }
        assert_eq!(differs, !neighbour_shares, "{rest}: {seen:?}");
        assert_eq!(seen.len(), if neighbour_shares { 1 } else { 4 }, "{rest}");
    }
}

#[test]
fn change_of_affinity_moves_no_flow() {
    let by_source = format!("{TCP_L2}\naffinity = \"source\"");
    for (before, after) in [(TCP_L2, by_source.as_str()), (by_source.as_str(), TCP_L2)] {
        let mut balancer = Harness::new(&web(before, &ALL));
        let opened = backends(&mut balancer, syn);
        balancer.reload(&web(after, &ALL));
        assert_eq!(backends(&mut balancer, ack), opened);
    }
}

#[test]
fn udp_of_a_service_that_tracks_all_begins_among_the_openings() {
    let udp = |port| Packet { protocol: UDP, ..syn(port) };
    let mut balancer = Harness::new(&web("protocol = \"udp\"\nforwarding = \"l2\"", &ALL));
    let first = backends(&mut balancer, udp);
    let kept = tracking(&mut balancer, Duration::ZERO);
    assert_eq!((kept.openings, kept.connections), (200, 0));
    assert_eq!(backends(&mut balancer, udp), first);
    let kept = tracking(&mut balancer, Duration::ZERO);
    assert_eq!((kept.openings, kept.connections), (0, 200));
}

#[test]
fn flow_of_a_moved_slot_that_goes_on_is_told_once() {
    let mut balancer = all_moved("");
    let ports = |balancer: &mut Harness| -> Vec<u16> {
        let told = balancer.dataplane.news(1000);
        told.iter().map(|tracked| u16::from_be_bytes(tracked.flow.source_port)).collect()
    };
    backends(&mut balancer, syn);
    assert_eq!(ports(&mut balancer), Vec::<u16>::new());
    backends(&mut balancer, ack);
    assert_eq!(ports(&mut balancer), PORTS.collect::<Vec<_>>());
    backends(&mut balancer, ack);
    assert_eq!(ports(&mut balancer), Vec::<u16>::new());
}
