//! QUIC: which packets open a connection, and which backend a connection id names.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    time::Duration,
};

use lb_common::{
    counter::{Fate, Reason::NoBackend},
    quic::{ServerId, ServerKey},
};
use lb_tests::packet::{Packet, UDP};
use sluice::{dataplane::DataPlane as _, health::Health};

use crate::harness::{Harness, service};

const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;
const PORTS: Range<u16> = 10_000..10_064;

/// A service whose backends `b11`, `b12`, … have the server ids 0x0b11, 0x0b12, …
pub fn web(rest: &str, backends: &[u8]) -> String {
    let quic = format!(
        "protocol = \"quic\"\nforwarding = \"l2\"\nquic = {{ server_id_length = 2, config_id = 3 }}\n{rest}"
    );
    let mut toml = service("web", "203.0.113.10", "443", &quic, &[]);
    for n in backends {
        toml += &backend(*n);
    }
    toml
}

fn backend(n: u8) -> String {
    format!("[[service.backend]]\nname = \"b{n}\"\naddress = \"198.51.100.{n}\"\nserver_id = \"0b{n}\"\n")
}

/// A connection id of backend `b{n}`, whose digits are read as hexadecimal ones.
fn named(n: u8) -> Vec<u8> {
    let hexadecimal = n / 10 * 16 + n % 10;
    vec![3 << 5 | 9, 0x0b, hexadecimal, 1, 2, 3, 4, 5, 6, 7]
}

/// What begins with a short header (RFC 9000 section 17.3).
fn short(connection_id: &[u8]) -> Vec<u8> {
    [&[0x40], connection_id, &[0; 24]].concat()
}

/// What begins with a long header (RFC 9000 section 17.2); `kind` is what its version calls it.
fn long(version: u32, kind: u8, connection_id: &[u8]) -> Vec<u8> {
    let length = [connection_id.len() as u8];
    [&[0xc0 | kind << 4], &version.to_be_bytes()[..], &length, connection_id, &[0; 64]].concat()
}

fn from(port: u16, payload: Vec<u8>) -> Packet {
    Packet { protocol: UDP, source_port: port, destination_port: 443, payload, ..Packet::default() }
}

/// What opens a connection.
pub fn initial(port: u16) -> Vec<u8> {
    from(port, long(VERSION_1, 0, &[9; 8])).build()
}

/// What goes on, and names nobody.
pub fn onward(port: u16) -> Vec<u8> {
    from(port, short(&named(99))).build()
}

/// The backends of packets from many ports.
fn backends(balancer: &mut Harness, payload: &[u8]) -> Vec<u8> {
    PORTS.map(|port| balancer.backend_of(&from(port, payload.to_vec()).build())).collect()
}

fn by_hash(balancer: &mut Harness) -> Vec<u8> {
    PORTS.map(|port| balancer.backend_of(&initial(port))).collect()
}

#[test]
fn connection_id_of_what_goes_on_names_the_backend_from_any_address() {
    let mut balancer = Harness::new(&web("", &[11, 12, 13]));
    for n in [11, 12, 13] {
        let payloads = [
            ("short header", short(&named(n))),
            ("Handshake of version 1", long(VERSION_1, 2, &named(n))),
            ("Handshake of version 2", long(VERSION_2, 3, &named(n))),
        ];
        for (what, payload) in payloads {
            assert_eq!(backends(&mut balancer, &payload), vec![n; PORTS.len()], "{what}");
            let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));
            let packet = Packet { source, ..from(1, payload) };
            assert_eq!(balancer.backend_of(&packet.build()), n, "{what} from elsewhere");
        }
    }
}

#[test]
fn what_a_client_chose_or_nobody_routes_by_is_placed_by_the_hash() {
    let mut balancer = Harness::new(&web("", &[11, 12, 13]));
    let hashed = by_hash(&mut balancer);
    assert!([11, 12, 13].iter().all(|n| hashed.contains(n)), "{hashed:?}");
    let first = |octet: u8| [&[octet], &named(12)[1..]].concat();
    let cases = [
        ("Initial", long(VERSION_1, 0, &named(12))),
        ("0-RTT", long(VERSION_1, 1, &named(12))),
        ("Initial of version 2", long(VERSION_2, 1, &named(12))),
        ("0-RTT of version 2", long(VERSION_2, 2, &named(12))),
        ("Retry", long(VERSION_1, 3, &[9; 8])),
        ("a version of greasing", long(0x1a2a_3a4a, 2, &named(12))),
        ("another config", short(&first(2 << 5))),
        ("the config that is not routed", short(&first(7 << 5))),
        ("a server id that nobody has", short(&named(99))),
        ("a short connection id in a long header", long(VERSION_1, 2, &[])),
        ("a connection id that is cut off", vec![0x40, 3 << 5, 0x0b]),
        ("a header that is cut off", vec![0xe0, 0, 0]),
        ("nothing at all", Vec::new()),
    ];
    for (what, payload) in cases {
        assert_eq!(backends(&mut balancer, &payload), hashed, "{what}");
    }
}

#[test]
fn connection_id_is_found_behind_options_and_extension_headers() {
    let vip = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10);
    let toml = web("", &[11, 12, 13]);
    let mut both = Harness::new(
        &(toml.clone() + &toml.replace("203.0.113.10", &vip.to_string()).replace("\"web\"", "\"six\"")),
    );
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let cases = [
        Packet { options: vec![1; 12], ..from(1, short(&named(13))) },
        Packet { tags: vec![(0x88a8, 100), (0x8100, 200)], ..from(1, short(&named(13))) },
        Packet { source: Packet::v6().source, destination: vip.into(), ..from(1, short(&named(13))) },
        Packet {
            source: Packet::v6().source,
            destination: vip.into(),
            extensions: vec![hop_by_hop.clone(), (60, hop_by_hop.1)],
            ..from(1, long(VERSION_2, 3, &named(13)))
        },
    ];
    for packet in cases {
        assert_eq!(both.backend_of(&packet.build()), 13, "{packet:?}");
    }
}

#[test]
fn padding_behind_the_packet_is_no_connection_id() {
    let mut balancer = Harness::new(&web("", &[11, 12, 13]));
    let hashed = by_hash(&mut balancer);
    let frame = |port: u16| {
        let mut frame = from(port, vec![0x40]).build();
        frame.extend(named(12));
        frame.extend([0; 24]);
        frame
    };
    let got: Vec<u8> = PORTS.map(|port| balancer.backend_of(&frame(port))).collect();
    assert_eq!(got, hashed);
}

#[test]
fn connections_of_settled_slots_leave_no_entry() {
    let mut balancer = Harness::new(&web("", &[11, 12, 13]));
    by_hash(&mut balancer);
    backends(&mut balancer, &short(&named(12)));
    backends(&mut balancer, &short(&[7 << 5; 10]));
    assert_eq!(remembered(&mut balancer), (0, 0));
}

fn remembered(balancer: &mut Harness) -> (u32, u32) {
    let day = |_| Some(Duration::from_hours(24));
    balancer.dataplane.sweep(sluice::daemon::now(), &day).expect("the kernel walks the tables");
    let tracking = balancer.dataplane.tracking();
    (tracking.openings, tracking.connections)
}

#[test]
fn connection_without_a_server_id_stays_where_it_was_when_its_slot_moves() {
    let mut balancer = Harness::new(&web("", &[11, 12]));
    let before = by_hash(&mut balancer);
    balancer.reload(&web("", &[11, 12, 13]));
    let other_servers_id = short(&[7 << 5; 10]);
    assert_eq!(backends(&mut balancer, &other_servers_id), before, "what goes on");
    let mut fresh = Harness::new(&web("", &[11, 12, 13]));
    let after = by_hash(&mut fresh);
    let mut moved = Harness::new(&web("", &[11, 12]));
    moved.reload(&web("", &[11, 12, 13]));
    assert_eq!(by_hash(&mut moved), after, "what opens");
    assert_eq!(backends(&mut moved, &other_servers_id), after, "and goes on there");
    assert_eq!(backends(&mut moved, &long(VERSION_1, 1, &[9; 8])), after, "with its 0-RTT");
}

#[test]
fn backend_that_drains_or_has_left_keeps_what_names_it() {
    let mut balancer = Harness::new(&web("", &[11, 12, 13]));
    let drained = web("", &[11, 12, 13]) + "admin = \"drain\"\n";
    for (how, toml) in [("drains", drained), ("has left", web("", &[11, 12]))] {
        balancer.reload(&toml);
        assert_eq!(backends(&mut balancer, &short(&named(13))), vec![13; PORTS.len()], "{how}");
        assert!(by_hash(&mut balancer).iter().all(|&n| n != 13), "{how}");
    }
    assert_eq!(remembered(&mut balancer).1, 0);
}

#[test]
fn backend_that_gives_up_its_flows_loses_what_names_it() {
    let probe = "down_grace = \"30s\"\nprobe = { type = \"tcp\", port = 80 }";
    let mut balancer = Harness::new(&web(probe, &[11, 12, 13]));
    balancer.set_health("web", "b13", Health::Down);
    assert_eq!(backends(&mut balancer, &short(&named(13))), vec![13; PORTS.len()], "within the grace");
    balancer.advance(Duration::from_secs(31));
    assert!(backends(&mut balancer, &short(&named(13))).iter().all(|&n| n != 13), "after it");
    balancer.set_health("web", "b13", Health::Up);
    assert_eq!(balancer.backend_of(&from(1, short(&named(13))).build()), 13, "up again");
}

#[test]
fn server_id_follows_the_file() {
    let mut balancer = Harness::new(&web("", &[11, 12, 13]));
    balancer.reload(&web("", &[11, 12, 13]).replace("\"0b13\"", "\"0b77\""));
    assert_eq!(backends(&mut balancer, &short(&named(77))), vec![13; PORTS.len()]);
    assert_eq!(backends(&mut balancer, &short(&named(13))), by_hash(&mut balancer));
    balancer.reload(&web("", &[11, 12, 13]).replace("\"0b12\"", "\"0b77\""));
    assert_eq!(backends(&mut balancer, &short(&named(77))), vec![12; PORTS.len()]);
    balancer.reload("");
    assert!(balancer.dataplane.server_ids().expect("the map is read").is_empty());
}

#[test]
fn use_of_a_server_id_is_noted() {
    let mut balancer = Harness::new(&web("", &[11, 12]));
    balancer.backend_of(&from(1, short(&named(12))).build());
    let key = |n| ServerKey {
        id: ServerId::new(&[0x0b, n]).expect("two bytes"),
        service: balancer.service_id(Packet::default().destination, 443, UDP),
        _pad: 0,
    };
    let used = balancer.dataplane.server_ids().expect("the map is read");
    let used_ns = |n| used.iter().find(|(of, _)| *of == key(n)).map(|(_, server)| server.used_ns);
    assert_eq!(used_ns(0x11), Some(0));
    assert!(used_ns(0x12).is_some_and(|at| at > 0));
}

#[test]
fn service_without_server_ids_tells_openings_by_the_header() {
    let plain = |backends: &[&str]| {
        service("web", "203.0.113.10", "443", "protocol = \"quic\"\nforwarding = \"l2\"", backends)
    };
    let mut balancer = Harness::new(&plain(&["198.51.100.11"]));
    balancer.reload(&plain(&["198.51.100.11", "198.51.100.12"]));
    assert_eq!(backends(&mut balancer, &short(&named(12))), vec![11; PORTS.len()]);
    let mut opened = Harness::new(&plain(&["198.51.100.11"]));
    opened.reload(&plain(&["198.51.100.11", "198.51.100.12"]));
    assert!(by_hash(&mut opened).contains(&12));
}

#[test]
fn service_without_backends_has_nobody_to_name() {
    let mut balancer = Harness::new(&web("", &[]));
    let outcome = balancer.run(&from(1, short(&named(11))).build());
    assert_eq!((outcome.reason, outcome.reason.fate()), (NoBackend, Fate::Drop));
}
