//! One balancer with everything on.

use std::time::Duration;

use lb_tests::packet::{TCP, UDP};
use sluice::health::Health;

use crate::harness::{Harness, service};

/// Something that packets are sent to.
#[derive(Clone, Copy)]
pub struct Target {
    pub address: &'static str,
    pub port: u16,
    pub protocol: u8,
}

const fn target(address: &'static str, port: u16, protocol: u8) -> Target {
    Target { address, port, protocol }
}

/// The VIPs, and addresses that are none.
pub const TARGETS: [Target; 14] = [
    target("203.0.113.10", 80, TCP),
    target("203.0.113.10", 443, UDP),
    target("203.0.113.11", 80, TCP),
    target("203.0.113.12", 53, UDP),
    target("203.0.113.13", 80, TCP),
    target("2001:db8:113::10", 80, TCP),
    target("2001:db8:113::10", 443, UDP),
    target("2001:db8:113::11", 80, TCP),
    target("2001:db8:113::12", 53, UDP),
    target("2001:db8:113::13", 80, TCP),
    target("203.0.113.14", 443, UDP),
    target("2001:db8:113::14", 443, UDP),
    target("203.0.113.99", 80, TCP),
    target("2001:db8:113::99", 80, UDP),
];

const LIMITS: &str = "connections = 1024\nopenings = 1024\nanswers = 10000000\n";

const V4: [&str; 4] = ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"];
const V6: [&str; 4] = ["2001:db8:51::11", "2001:db8:51::12", "2001:db8:51::13", "2001:db8:51::14"];

const QUIC: &str =
    "protocol = \"quic\"\nforwarding = \"ipip\"\nquic = { server_id_length = 2, config_id = 3 }";

const RESETS: &str = "forwarding = \"l2\"\ndown_grace = \"30s\"\non_down = \"reset\"\n\
                      probe = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }";

/// The balancer: slots that have moved, a backend that gives up its flows, one without a next hop.
pub fn balancer() -> Harness {
    let mut balancer = Harness::with_limits(LIMITS, &services(3));
    balancer.reload(&services(4));
    for family in ["4", "6"] {
        balancer.set_health(&format!("resets-{family}"), "b11", Health::Down);
    }
    balancer.advance(Duration::from_secs(31));
    balancer
}

/// Services of every kind for both families, of so many backends of either.
fn services(backends: usize) -> String {
    let families = [("4", "203.0.113.", &V4[..backends]), ("6", "2001:db8:113::", &V6[..backends])];
    families
        .iter()
        .map(|(family, vip, own)| {
            let other = if *family == "4" { &V6[..backends] } else { &V4[..backends] };
            let of = |name: &str, last: &str, port: &str, rest: &str, backends: &[&str]| {
                service(&format!("{name}-{family}"), &format!("{vip}{last}"), port, rest, backends)
            };
            [
                of("l2", "10", "80", "protocol = \"tcp\"\nforwarding = \"l2\"", own),
                of("ipip", "10", "443", "protocol = \"udp\"\nforwarding = \"ipip\"", own),
                of(
                    "any",
                    "11",
                    "\"any\"",
                    "protocol = \"tcp\"\nforwarding = \"ipip\"\naffinity = \"source\"",
                    other,
                ),
                of("dns", "12", "53", "protocol = \"udp\"\nforwarding = \"l2\"\ntrack = \"never\"", own),
                with_server_ids(&of("quic", "14", "443", QUIC, own)),
                of("resets", "13", "80", &format!("protocol = \"tcp\"\n{RESETS}"), own),
            ]
            .concat()
        })
        .collect()
}

/// A service each of whose backends has a server id.
fn with_server_ids(service: &str) -> String {
    const BACKEND: &str = "[[service.backend]]\n";
    let mut parts = service.split(BACKEND);
    let head = parts.next().unwrap_or_default().to_owned();
    (0..).zip(parts).fold(head, |toml, (number, rest)| {
        toml + BACKEND + &format!("server_id = \"0b{number:02x}\"\n{rest}")
    })
}
