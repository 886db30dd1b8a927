//! Guards in front of translation: what they turn away begins no session.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use lb_common::counter::Reason::{
    self, BackendFull, Denied, NoSession, Refused, Returned, ServiceRate, SourceRate, Transmitted,
};
use lb_tests::packet::{End, Packet};
use sluice::dataplane::DataPlane as _;

use super::{V4_BACKEND, forwarded, pool, reason, reply, source_port};
use crate::harness::{Harness, service};

const OTHER_BACKEND: &str = "198.51.100.12";
const BOTH: [&str; 2] = [V4_BACKEND, OTHER_BACKEND];
const GOOD: &str = "192.0.2.1";
const BAD: &str = "198.18.0.1";

/// A service that translates, with a list, both rates and limits, and these keys of each backend.
fn balancer(more: &str, guard: &str, limits: &str, backends: &[&str]) -> Harness {
    let list = "[[list]]\nname = \"bad\"\nprefixes = [\"198.18.0.0/15\"]\n";
    let rest = format!(
        "protocol = \"tcp\"\nforwarding = \"nat\"\n{more}\n[service.guard]\ndeny = [\"bad\"]\n{guard}\n"
    );
    let service = service("web", "203.0.113.10", "80", &rest, backends)
        .replace("address = \"198", &format!("{limits}\naddress = \"198"));
    Harness::new(&(pool("20000-20999") + list + &service))
}

fn syn(source: &str, source_port: u16) -> Packet {
    let source: IpAddr = source.parse().expect("an address");
    Packet { source, source_port, ..Packet::default() }
}

/// What becomes of a SYN, then of the flow's next packet.
fn both(balancer: &mut Harness, packet: &Packet) -> (Reason, Reason) {
    let next = Packet { syn: false, ack: true, ..packet.clone() };
    (reason(balancer, packet), reason(balancer, &next))
}

/// Sessions that are there.
fn sessions(balancer: &mut Harness) -> u32 {
    let hour = |_| Some(Duration::from_hours(1));
    balancer.dataplane.sweep(sluice::daemon::now(), &hour).expect("the maps are read");
    let found = balancer.dataplane.translated();
    found.sessions + found.openings
}

#[test]
fn what_guards_turn_away_begins_no_session() {
    let guard = "max_new_per_source = { rate = 1, burst = 2 }\nmax_new = { rate = 1, burst = 3 }";
    let mut balancer = balancer("", guard, "max_connections = 100", &BOTH[..1]);
    for (packet, expected) in [
        (syn(BAD, 1), (Denied, Denied)),
        (syn(GOOD, 1), (Transmitted, Transmitted)),
        (syn(GOOD, 2), (Transmitted, Transmitted)),
        // What goes on is none of a rate's business, and without a session nobody's.
        (syn(GOOD, 3), (SourceRate, NoSession)),
        (syn("192.0.2.2", 1), (Transmitted, Transmitted)),
        (syn("192.0.2.3", 1), (ServiceRate, NoSession)),
    ] {
        assert_eq!(both(&mut balancer, &packet), expected, "{packet:?}");
    }
    assert_eq!(sessions(&mut balancer), 3);
}

#[test]
fn backend_that_is_full_leaves_a_translated_flow_to_the_next_one() {
    let guard = "max_new_per_source = { rate = 1000, burst = 1000 }";
    let mut balancer = balancer("", guard, "max_connections = 5", &BOTH);
    let mut taken: HashMap<u8, Vec<Packet>> = HashMap::new();
    for port in 1..=10 {
        let outcome = balancer.run(&syn(GOOD, port).build());
        assert_eq!(outcome.reason, Transmitted, "{port}");
        let pool_port = source_port(&outcome.frame);
        let backend = if outcome.frame[33] == 11 { V4_BACKEND } else { OTHER_BACKEND };
        let there = Packet {
            destination: backend.parse().expect("an address"),
            ..forwarded(&syn(GOOD, port), pool_port, 80)
        };
        assert_eq!(reason(&mut balancer, &reply(&there)), Returned, "{port}");
        taken.entry(outcome.frame[33]).or_default().push(syn(GOOD, port));
    }
    assert_eq!(taken.values().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
    assert_eq!(reason(&mut balancer, &syn(GOOD, 11)), BackendFull);
    // Each flow stays where it is, and makes room once its client has ended it.
    for (&backend, flows) in &taken {
        for packet in flows {
            let next = Packet { syn: false, ack: true, ..packet.clone() };
            assert_eq!(balancer.run(&next.build()).frame[33], backend, "{packet:?}");
        }
    }
    let last = Packet { syn: false, ack: true, end: Some(End::Fin), ..taken[&11][0].clone() };
    assert_eq!(reason(&mut balancer, &last), Transmitted);
    assert_eq!(balancer.run(&syn(GOOD, 12).build()).frame[33], 11);
    assert_eq!(reason(&mut balancer, &syn(GOOD, 13)), BackendFull);
}

#[test]
fn service_that_is_full_refuses_a_translated_flow() {
    let mut balancer = balancer("on_full = \"refuse\"", "", "max_connections = 1", &BOTH[..1]);
    assert_eq!(both(&mut balancer, &syn(GOOD, 1)), (Transmitted, Transmitted));
    assert_eq!(both(&mut balancer, &syn(GOOD, 2)), (Refused, NoSession));
    assert_eq!(sessions(&mut balancer), 1);
}
