//! One balancer with everything on.

use std::{fs, path::Path, process, time::Duration};

use aya::{EbpfLoader, programs::Xdp};
use lb_common::knobs::FEATURE_NEXT;
use lb_tests::{
    bpf::{BPFFS, ensure_bpffs},
    packet::{TCP, UDP},
};
use sluice::{
    dataplane::{OBJECT, next::NextProgram},
    health::Health,
};

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
pub const TARGETS: [Target; 34] = [
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
    target("203.0.113.15", 80, TCP),
    target("2001:db8:113::15", 80, TCP),
    target("203.0.113.15", 53, UDP),
    target("2001:db8:113::15", 53, UDP),
    target("203.0.113.16", 80, TCP),
    target("2001:db8:113::16", 80, TCP),
    target("203.0.113.17", 80, TCP),
    target("2001:db8:113::17", 80, TCP),
    target("203.0.113.18", 53, UDP),
    target("2001:db8:113::18", 53, UDP),
    target("203.0.113.19", 80, TCP),
    target("2001:db8:113::19", 80, TCP),
    target("203.0.113.19", 53, UDP),
    target("2001:db8:113::19", 53, UDP),
    target("203.0.113.20", 80, TCP),
    target("2001:db8:113::20", 80, TCP),
    target(POOL[0], 1024, TCP),
    target(POOL[1], 1024, TCP),
    target(POOL[0], 1024, UDP),
    target(POOL[1], 1024, UDP),
    target("203.0.113.99", 80, TCP),
    target("2001:db8:113::99", 80, UDP),
];

/// Addresses that packets are translated to; what is for them are replies of backends.
pub const POOL: [&str; 2] = ["198.51.100.250", "2001:db8:51::250"];

/// Ports that they have, from the first one on.
pub const POOL_PORTS: u16 = 64;

const LIMITS: &str =
    "connections = 1024\nopenings = 1024\nanswers = 10000000\nnat_sessions = 512\nnat_openings = 512\n";

const V4: [&str; 4] = ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"];
const V6: [&str; 4] = ["2001:db8:51::11", "2001:db8:51::12", "2001:db8:51::13", "2001:db8:51::14"];

const QUIC: &str =
    "protocol = \"quic\"\nforwarding = \"ipip\"\nquic = { server_id_length = 2, config_id = 3 }";

const RESETS: &str = "forwarding = \"l2\"\ndown_grace = \"30s\"\non_down = \"reset\"\n\
                      probe = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }";

const GUE: &str = "forwarding = \"gue\"\nfragments = true";

const FRAGMENTS: &str = "forwarding = \"ipip\"\nfragments = true\ntrack = \"never\"";

/// Sources, of those that frames come from, that are denied and that are not allowed.
const LISTS: &str = "[[list]]\nname = \"bad\"\nprefixes = [\"192.0.2.0/30\", \"2001:db8:c::/126\"]\n\
                     [[list]]\nname = \"good\"\nprefixes = [\"192.0.2.0/28\", \"2001:db8:c::/124\"]\n";

const GUARDED: &str = "protocol = \"tcp\"\nforwarding = \"l2\"\non_full = \"refuse\"\n[service.guard]\n\
                       allow = [\"good\"]\ndeny = [\"bad\"]\nmax_new = 20\n\
                       max_new_per_source = { rate = 2, burst = 2 }";

const COOKIES: &str = "protocol = \"tcp\"\nforwarding = \"nat\"\nguard = { syn_cookies = \"always\" }";

/// The balancer: slots that have moved, a backend that gives up its flows, one that is this host, and another program behind
/// the balancer's.
pub fn balancer() -> Harness {
    let mut balancer = Harness::with_features(FEATURE_NEXT, LIMITS, &services(3));
    balancer.dataplane.replace_next(Some(next_program())).unwrap_or_else(|error| panic!("{error}"));
    balancer.reload(&services(4));
    for own in [V4[1], V6[1]] {
        balancer.own(own);
    }
    for family in ["4", "6"] {
        balancer.set_health(&format!("resets-{family}"), "b11", Health::Down);
    }
    balancer.advance(Duration::from_secs(31));
    balancer
}

/// A program that passes everything.
fn next_program() -> NextProgram {
    ensure_bpffs().expect("a BPF file system");
    let mut ebpf = EbpfLoader::new().load(OBJECT).expect("the object loads");
    let program: &mut Xdp = ebpf
        .program_mut("sluice_pass")
        .and_then(|program| program.try_into().ok())
        .expect("it has the program");
    program.load().expect("the verifier accepts the program");
    let thread = format!("{:?}", std::thread::current().id());
    let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
    let path = Path::new(BPFFS).join(format!("sluice-fuzz-{}-{digits}", process::id()));
    program.pin(&path).expect("a pin");
    let next = NextProgram::open(&path);
    fs::remove_file(&path).expect("the pin goes");
    next.unwrap_or_else(|error| panic!("{error}"))
}

/// Services of every kind for both families, of so many backends of either.
fn services(backends: usize) -> String {
    let families = [("4", "203.0.113.", &V4[..backends]), ("6", "2001:db8:113::", &V6[..backends])];
    let services = families.iter().map(|(family, vip, own)| {
        let full = format!("on_full = \"{}\"", if *family == "4" { "refuse" } else { "next" });
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
            of("gue", "15", "80", &format!("protocol = \"tcp\"\n{GUE}"), own),
            of("direct", "15", "53", &format!("protocol = \"udp\"\n{GUE}\ngue = {{ variant = 1 }}"), other),
            of("guarded", "16", "80", GUARDED, own),
            with_limits(&of(
                "full",
                "17",
                "80",
                &format!("protocol = \"tcp\"\nforwarding = \"ipip\"\n{full}"),
                own,
            )),
            of("fragments", "18", "53", &format!("protocol = \"udp\"\n{FRAGMENTS}"), own),
            of("nat", "19", "80", "protocol = \"tcp\"\nforwarding = \"nat\"", own),
            of("cookies", "20", "80", COOKIES, own),
            of("nat-udp", "19", "53", "protocol = \"udp\"\nforwarding = \"nat\"", own),
        ]
        .concat()
    });
    let [v4, v6] = POOL;
    let last = 1023 + POOL_PORTS;
    let nat = format!("[balancer.nat]\naddresses = [\"{v4}\", \"{v6}\"]\nports = \"1024-{last}\"\n");
    [nat, LISTS.to_owned(), services.collect()].concat()
}

/// A service whose backends may have only so many flows.
fn with_limits(service: &str) -> String {
    service.replace("[[service.backend]]\n", "[[service.backend]]\nmax_connections = 8\n")
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
