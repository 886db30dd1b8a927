//! What settled packets cost, counted in instructions and helper calls of the translated program.

use lb_common::knobs::{FEATURE_GUE, FEATURE_STRICT, FEATURE_TRACKING};
use lb_tests::{
    packet::Packet,
    translated::{Program, Walk},
};

use crate::harness::{Harness, INGRESS, run, service};

/// Calls that make room for an outer header.
const PUSH: &[&str] = &["bpf_xdp_adjust_head"];

/// A kind of packet, and the most that it may cost. Compilers differ by a few instructions; a stage more is more than that.
struct Case {
    name: &'static str,
    vip: &'static str,
    helpers: &'static [&'static str],
    most: usize,
}

const CASES: &[Case] = &[
    Case { name: "l2, IPv4", vip: "203.0.113.1", helpers: &[], most: 450 },
    Case { name: "ipip, IPv4", vip: "203.0.113.2", helpers: PUSH, most: 550 },
    Case { name: "gue, IPv4", vip: "203.0.113.3", helpers: PUSH, most: 620 },
    Case { name: "not ours, IPv4", vip: "203.0.113.99", helpers: &[], most: 260 },
    Case { name: "l2, IPv6", vip: "2001:db8:113::1", helpers: &[], most: 580 },
    Case { name: "ipip, IPv6", vip: "2001:db8:113::2", helpers: PUSH, most: 680 },
    Case { name: "gue, IPv6", vip: "2001:db8:113::3", helpers: PUSH, most: 750 },
    Case { name: "not ours, IPv6", vip: "2001:db8:113::99", helpers: &[], most: 330 },
];

/// A service of each kind in both families.
fn balancer(features: u32) -> Harness {
    let malformed = if features & FEATURE_STRICT == 0 { "forward" } else { "drop" };
    let service = |(number, forwarding): (usize, &str)| {
        let rest = format!(
            "protocol = \"tcp\"\nforwarding = \"{forwarding}\"\n[service.guard]\nmalformed = \"{malformed}\""
        );
        let of = |family: &str, vip: &str, backend: &str| {
            service(&format!("{forwarding}{family}"), vip, "80", &rest, &[backend])
        };
        [
            of("4", &format!("203.0.113.{number}"), "198.51.100.11"),
            of("6", &format!("2001:db8:113::{number}"), "2001:db8:51::11"),
        ]
        .concat()
    };
    let toml: String = (1..).zip(["l2", "ipip", "gue"]).map(service).collect();
    Harness::only_for(features, &toml)
}

fn packet(vip: &str) -> Packet {
    let packet = if vip.contains(':') { Packet::v6() } else { Packet::default() };
    Packet { destination: vip.parse().expect("an address"), syn: false, ack: true, ..packet }
}

/// Walks every case, and has the kernel run it too.
fn walk_all(features: u32) -> Vec<(&'static Case, Walk)> {
    let mut balancer = balancer(features);
    let loaded = balancer.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
    let program = Program::loaded(loaded.info().expect("a loaded program").id())
        .unwrap_or_else(|error| panic!("{error:#}"));
    let walked = |case: &'static Case| {
        let frame = packet(case.vip).build();
        let walk = program.walk(&frame, INGRESS).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        assert_eq!((walk.action, walk.packet.clone()), run(loaded, &frame), "{}", case.name);
        (case, walk)
    };
    CASES.iter().map(walked).collect()
}

#[test]
fn settled_packets_call_nothing_but_for_room() {
    for features in [FEATURE_TRACKING | FEATURE_GUE, FEATURE_TRACKING | FEATURE_GUE | FEATURE_STRICT] {
        for (case, walk) in walk_all(features) {
            println!(
                "{}: {} instructions, {:?}, {:?}",
                case.name,
                walk.instructions.len(),
                walk.helpers,
                walk.lines
            );
            assert_eq!(walk.helpers, case.helpers, "{}", case.name);
            assert!(
                walk.instructions.len() <= case.most,
                "{}: {} instructions",
                case.name,
                walk.instructions.len()
            );
        }
    }
}
