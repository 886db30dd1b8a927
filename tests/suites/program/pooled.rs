//! What the harness promises of a program that is used again.

use lb_common::counter::{
    Reason::{self, SourceRate, Transmitted},
    Traffic,
};
use lb_tests::packet::Packet;
use sluice::{dataplane::DataPlane as _, health::Health};

use crate::harness::{Harness, V4_BACKEND, service};

/// So many connections that no other test wants its program.
const LIMITS: &str = "connections = 2048\n";

const REST: &str = r#"
protocol = "tcp"
forwarding = "ipip"
probe = { type = "tcp", port = 80 }
guard = { max_new_per_source = { rate = 1, burst = 3 } }
"#;

#[test]
fn program_that_was_used_comes_with_nothing_in_its_maps() {
    let toml = service("web", "203.0.113.10", "80", REST, &[V4_BACKEND, "198.51.100.12"]);
    let mut balancer = Harness::with_limits(LIMITS, &toml);
    let new = held(&mut balancer);
    assert_eq!(reasons(&mut balancer), [Transmitted, Transmitted, Transmitted, SourceRate, SourceRate]);
    let used = held(&mut balancer);
    assert!(used.tables != new.tables && used.flows > 0 && used.reasons != new.reasons, "{used:?}");
    drop(balancer);

    let mut balancer = Harness::with_limits(LIMITS, &toml);
    assert_eq!(held(&mut balancer), new);
    assert_eq!(reasons(&mut balancer), [Transmitted, Transmitted, Transmitted, SourceRate, SourceRate]);
}

/// What there is of a balancer that packets change, or that decides what becomes of them.
#[derive(Debug, PartialEq)]
struct Held {
    /// The kernel's number of the program.
    program: u32,
    tables: String,
    flows: usize,
    reasons: [Traffic; Reason::COUNT],
    traffic: Traffic,
}

fn held(balancer: &mut Harness) -> Held {
    let program = balancer.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
    Held {
        program: program.info().expect("the kernel tells").id(),
        tables: format!("{:?}", balancer.dataplane.image()),
        flows: balancer.dataplane.remembered().expect("the map is read").len(),
        reasons: balancer.dataplane.reasons(),
        traffic: balancer.dataplane.service_traffic(0),
    }
}

/// What becomes of SYNs of one source, each with the packet that follows it, where a backend has failed.
fn reasons(balancer: &mut Harness) -> Vec<Reason> {
    balancer.set_health("web", "b11", Health::Down);
    let opening = |port| {
        let opening = Packet { source_port: port, ..Packet::default() };
        let reason = balancer.run(&opening.build()).reason;
        balancer.run(&Packet { syn: false, ack: true, ..opening }.build());
        reason
    };
    (1000..1005).map(opening).collect()
}
