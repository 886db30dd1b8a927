//! How sessions begin, go on and end.

use std::{collections::HashSet, time::Duration};

use lb_common::counter::Reason::{NatFull, NoSession, NotRemembered, Returned, Transmitted};
use lb_tests::packet::{End, Packet, UDP};
use sluice::{dataplane::DataPlane as _, health::Health};

use super::{V4_BACKEND, balancer, forwarded, openings, pool, reason, reply, send, services, source_port};
use crate::harness::{Harness, service};

/// Packets of an established connection.
fn going_on(packet: &Packet) -> Packet {
    Packet { syn: false, ack: true, ..packet.clone() }
}

/// Opens a session and has it seen from both sides; gives its port.
fn establish(balancer: &mut Harness, packet: &Packet) -> u16 {
    let port = send(balancer, packet);
    assert_eq!(reason(balancer, &reply(&forwarded(packet, port, 80))), Returned);
    assert_eq!(send(balancer, &going_on(packet)), port);
    port
}

/// Ends what was silent for so long; gives how many sessions are left: those that went on, and the others.
fn sweep(balancer: &mut Harness, silent: Duration) -> (u32, u32) {
    let idle = |_| Some(Duration::from_mins(5));
    balancer.dataplane.sweep(sluice::daemon::now() + silent, &idle).expect("the maps are read");
    let found = balancer.dataplane.translated();
    (found.sessions, found.openings)
}

#[test]
fn flow_keeps_its_port_and_flows_have_different_ones() {
    let mut balancer = balancer(None);
    let mut ports = HashSet::new();
    for source_port in 40_000..40_050 {
        let packet = Packet { source_port, ..Packet::default() };
        let port = establish(&mut balancer, &packet);
        assert!(ports.insert(port), "{port} has two flows");
        assert_eq!(send(&mut balancer, &packet), port, "a SYN that is sent again");
        assert_eq!(send(&mut balancer, &going_on(&packet)), port);
    }
    assert_eq!(sweep(&mut balancer, Duration::ZERO), (50, 0));
}

#[test]
fn one_port_is_enough_for_flows_to_different_backends() {
    let rest = "protocol = \"tcp\"\nforwarding = \"nat\"";
    let backends = [V4_BACKEND, "198.51.100.12", "198.51.100.13"];
    let mut balancer =
        Harness::new(&(pool("20000-20000") + &service("web", "203.0.113.10", "80", rest, &backends)));
    let mut reached = HashSet::new();
    for source_port in 40_000..40_040 {
        let outcome = balancer.run(&Packet { source_port, ..Packet::default() }.build());
        assert_eq!(outcome.reason, Transmitted);
        reached.insert(outcome.frame[33]);
    }
    assert_eq!(reached.len(), 3, "{reached:?}");
}

#[test]
fn sessions_that_went_on_keep_their_ports_and_openings_lose_them_to_others() {
    let mut balancer = Harness::new(&(pool("20000-20000") + &services("", None)));
    let [first, second, third] = [1, 2, 3].map(|n| Packet { source_port: 40_000 + n, ..Packet::default() });
    let port = send(&mut balancer, &first);
    assert_eq!(send(&mut balancer, &second), port);
    // The port is the second one's now, and so is the reply.
    let outcome = balancer.run(&reply(&forwarded(&second, port, 80)).build());
    assert_eq!(outcome.reason, Returned);
    assert_eq!(u16::from_be_bytes([outcome.frame[36], outcome.frame[37]]), second.source_port);
    assert_eq!(send(&mut balancer, &going_on(&second)), port);
    for packet in [&first, &going_on(&first), &third] {
        assert_eq!(reason(&mut balancer, packet), NatFull, "{packet:?}");
    }
    assert_eq!(send(&mut balancer, &going_on(&second)), port);
}

#[test]
fn openings_have_a_budget() {
    let mut balancer = Harness::with_limits("inserts = 1\n", &(pool("20000-60000") + &services("", None)));
    let cpus = std::thread::available_parallelism().expect("it is known").get() as u16;
    let reasons: HashSet<_> = (0..=2 * cpus)
        .map(|n| reason(&mut balancer, &Packet { source_port: 40_000 + n, ..Packet::default() }))
        .collect();
    assert!(reasons.contains(&Transmitted) && reasons.contains(&NotRemembered), "{reasons:?}");
}

#[test]
fn opening_ends_after_half_a_minute_and_a_session_after_its_services_timeout() {
    let mut balancer = balancer(None);
    for packet in openings() {
        send(&mut balancer, &packet);
        establish(&mut balancer, &Packet { source_port: 40_001, ..packet });
    }
    assert_eq!(sweep(&mut balancer, Duration::from_secs(29)), (4, 4));
    // UDP has nothing that tells an opening from a session.
    assert_eq!(sweep(&mut balancer, Duration::from_secs(31)), (4, 2));
    assert_eq!(sweep(&mut balancer, Duration::from_secs(299)), (4, 2));
    assert_eq!(sweep(&mut balancer, Duration::from_secs(301)), (0, 0));
    let late = going_on(&Packet { source_port: 40_001, ..Packet::default() });
    assert_eq!(reason(&mut balancer, &late), NoSession);
}

#[test]
fn session_ends_a_minute_after_both_sides_have_said_so() {
    let ends = |packet: &Packet, end| Packet { end: Some(end), ..going_on(packet) };
    for (end, both) in [(End::Fin, false), (End::Fin, true), (End::Rst, false)] {
        let mut balancer = balancer(None);
        let packet = Packet::default();
        let port = establish(&mut balancer, &packet);
        send(&mut balancer, &ends(&packet, end));
        if both {
            let answer = Packet { syn: false, end: Some(end), ..reply(&forwarded(&packet, port, 80)) };
            assert_eq!(reason(&mut balancer, &answer), Returned);
        }
        let over = both || end == End::Rst;
        assert_eq!(sweep(&mut balancer, Duration::from_secs(59)), (1, 0));
        assert_eq!(sweep(&mut balancer, Duration::from_secs(61)), (u32::from(!over), 0), "{end:?} {both}");
    }
}

#[test]
fn client_that_connects_again_goes_on_with_the_session_that_was_over() {
    let mut balancer = balancer(None);
    let packet = Packet::default();
    let port = establish(&mut balancer, &packet);
    send(&mut balancer, &Packet { end: Some(End::Rst), ..going_on(&packet) });
    assert_eq!(send(&mut balancer, &packet), port);
    assert_eq!(sweep(&mut balancer, Duration::from_secs(61)), (1, 0));
}

#[test]
fn session_stays_where_it_is_while_its_backend_keeps_its_flows() {
    let rest = "protocol = \"tcp\"\nforwarding = \"nat\"\ndown_grace = \"1s\"";
    let backends = [V4_BACKEND, "198.51.100.12"];
    let web = |rest: &str| pool("20000-20999") + &service("web", "203.0.113.10", "80", rest, &backends);
    for track in ["moved", "always", "never"] {
        let mut balancer =
            Harness::new(&(web(&format!("{rest}\ntrack = \"{track}\"\n[service.probe]\nport = 80"))));
        let flows: Vec<_> =
            (0..20).map(|n| Packet { source_port: 40_000 + n, ..Packet::default() }).collect();
        let outcomes: Vec<_> = flows.iter().map(|packet| balancer.run(&packet.build())).collect();
        let of_first: Vec<_> =
            flows.iter().zip(outcomes).filter(|(_, outcome)| outcome.frame[33] == 11).collect();
        assert!(of_first.len() > 3 && of_first.len() < 17);
        balancer.set_health("web", "b11", Health::Down);
        for (packet, outcome) in &of_first {
            let next = balancer.run(&going_on(packet).build());
            assert_eq!(next.frame[33], 11, "{track}: {packet:?}");
            assert_eq!(source_port(&next.frame), source_port(&outcome.frame));
            let other = Packet { source_port: packet.source_port + 1000, ..(*packet).clone() };
            assert_eq!(balancer.run(&other.build()).frame[33], 12, "{track}: a new flow");
        }
        // It gives up its flows: the other one gets them, which knows nothing of them.
        balancer.advance(Duration::from_secs(2));
        for (packet, _) in &of_first {
            assert_eq!(balancer.run(&going_on(packet).build()).frame[33], 12, "{track}: {packet:?}");
        }
    }
}

#[test]
fn protocols_are_told_apart() {
    let mut balancer = balancer(None);
    let tcp = Packet::default();
    let udp = Packet { protocol: UDP, ..Packet::default() };
    let (tcp_port, udp_port) = (establish(&mut balancer, &tcp), establish(&mut balancer, &udp));
    assert_eq!(send(&mut balancer, &going_on(&tcp)), tcp_port);
    assert_eq!(send(&mut balancer, &udp), udp_port);
    assert_eq!(reason(&mut balancer, &reply(&forwarded(&tcp, tcp_port, 80))), Returned);
    assert_eq!(reason(&mut balancer, &reply(&forwarded(&udp, udp_port, 80))), Returned);
}

#[test]
fn flows_keep_an_address_that_is_taken_out_of_the_pool() {
    let mut balancer = balancer(None);
    let packet = Packet::default();
    let port = establish(&mut balancer, &packet);
    let reply_before = reply(&forwarded(&packet, port, 80));
    sweep(&mut balancer, Duration::ZERO);
    balancer.view.translated = balancer.dataplane.translated().addresses.keys().copied().collect();
    let other = pool("20000-20999").replace("198.51.100.250", "198.51.100.251");
    balancer.reload(&(other + &services("", None)));
    assert_eq!(reason(&mut balancer, &reply_before), Returned);
    assert_eq!(send(&mut balancer, &going_on(&packet)), port);
    let new = balancer.run(&Packet { source_port: 45_000, ..Packet::default() }.build());
    assert_eq!(new.frame[26..30], [198, 51, 100, 251]);

    sweep(&mut balancer, Duration::from_secs(301));
    balancer.view.translated = balancer.dataplane.translated().addresses.keys().copied().collect();
    assert!(balancer.view.translated.is_empty());
    balancer.advance(Duration::ZERO);
    assert_eq!(reason(&mut balancer, &reply_before), lb_common::counter::Reason::NotOurs);
}
