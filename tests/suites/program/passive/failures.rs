//! Resets and ICMP errors that come back to the balancer.

use std::net::IpAddr;

use lb_common::{
    counter::Reason::{self, NotOurs, Returned, Transmitted},
    passive::Signs,
};
use lb_tests::{
    errors::{self, FRAGMENTATION_NEEDED, Kind, PACKET_TOO_BIG, between},
    packet::{End, Packet},
};

use super::signs;
use crate::harness::{Harness, Outcome, V4_BACKEND, V6_BACKEND, service};

const POOL: &str = "[balancer.nat]\naddresses = [\"198.51.100.250\", \"2001:db8:51::fa\"]\n";

const PROTOCOL_UNREACHABLE: Kind = ("protocol unreachable", 3, 2, [0; 4]);
const PORT_UNREACHABLE: Kind = ("port unreachable", 3, 3, [0; 4]);
const HOST_UNREACHABLE: Kind = ("host unreachable", 3, 1, [0; 4]);
const PORT_UNREACHABLE_V6: Kind = ("port unreachable", 1, 4, [0; 4]);
const UNKNOWN_HEADER: Kind = ("unrecognized next header", 4, 1, [0, 0, 0, 6]);
const WRONG_HEADER: Kind = ("erroneous header", 4, 0, [0, 0, 0, 6]);

/// A service with one backend, which remembers all of its flows.
fn balancer(packet: &Packet, forwarding: &str, backend: &str) -> Harness {
    let (forwarding, variant) = if forwarding == "direct gue" { ("gue", 1) } else { (forwarding, 0) };
    let gue = format!("gue = {{ variant = {variant} }}");
    let rest = format!("protocol = \"tcp\"\nforwarding = \"{forwarding}\"\ntrack = \"always\"\n{gue}");
    let pool = if forwarding == "nat" { POOL } else { "" };
    let vip = packet.destination.to_string();
    Harness::unguarded(&(pool.to_owned() + &service("web", &vip, "80", &rest, &[backend])))
}

fn from(port: u16, family: &Packet) -> Packet {
    Packet { source_port: port, ..family.clone() }
}

/// Sends a packet to the backend; gives the IP packet that leaves.
fn sent(balancer: &mut Harness, packet: &Packet) -> Vec<u8> {
    let Outcome { reason, frame } = balancer.run(&packet.build());
    assert_eq!(reason, Transmitted, "{packet:?}");
    frame[14..].to_vec()
}

/// Source and destination of an IP packet.
fn ends(packet: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes"));
    if packet[0] >> 4 == 4 { (v4(12), v4(16)) } else { (v6(8), v6(24)) }
}

/// What the host says of a packet that it was sent.
fn refusal(sent: &[u8], kind: Kind) -> Packet {
    let (source, destination) = ends(sent);
    between(destination, source, sent, kind)
}

#[track_caller]
fn assert_signs(balancer: &Harness, opened: u64, refused: u64, unreachable: u64, what: &str) {
    assert_eq!(signs(balancer), Signs { opened, again: 0, refused, unreachable }, "{what}");
}

/// The balancer makes this of an error; a tunnel's is for its host, and passes as it came.
#[track_caller]
fn hears(balancer: &mut Harness, error: &Packet, expected: Reason) {
    let outcome = balancer.run(&error.build());
    assert_eq!(outcome.reason, expected, "{error:?}");
    if expected == NotOurs {
        assert_eq!(outcome.frame, error.build());
    }
}

/// Every tunnel: what it carries, its words in the file, its backend, and what a host says that does not know it.
fn tunnels() -> Vec<(Packet, &'static str, &'static str, Kind)> {
    let families = [Packet::default(), Packet::v6()];
    let outer = [
        (V4_BACKEND, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE),
        (V6_BACKEND, UNKNOWN_HEADER, PORT_UNREACHABLE_V6),
    ];
    let all = families.into_iter().flat_map(|family| {
        outer.into_iter().flat_map(move |(backend, protocol, port)| {
            [("ipip", protocol), ("gue", port), ("direct gue", port)]
                .map(|(forwarding, kind)| (family.clone(), forwarding, backend, kind))
        })
    });
    all.collect()
}

/// One of each kind: the kernel takes its time for each program.
fn some_tunnels() -> impl Iterator<Item = (Packet, &'static str, &'static str, Kind)> {
    tunnels().into_iter().step_by(5)
}

#[test]
fn unreachable_about_a_tunnel_counts_once_for_each_flow_that_opens() {
    for (family, forwarding, backend, kind) in tunnels() {
        let what = format!("{forwarding}: {} by {backend}", family.destination);
        let mut balancer = balancer(&family, forwarding, backend);
        let first = sent(&mut balancer, &from(1, &family));
        assert_signs(&balancer, 1, 0, 0, &what);
        hears(&mut balancer, &refusal(&first, kind), NotOurs);
        assert_signs(&balancer, 1, 0, 1, &what);
        hears(&mut balancer, &refusal(&first, kind), NotOurs);
        // Its client sends it again, as it has heard nothing.
        sent(&mut balancer, &from(1, &family));
        assert_signs(&balancer, 1, 0, 1, &what);
        let second = sent(&mut balancer, &from(2, &family));
        hears(&mut balancer, &refusal(&second, kind), NotOurs);
        assert_signs(&balancer, 2, 0, 2, &what);
    }
}

#[test]
fn router_may_say_it_too() {
    let family = Packet::default();
    let mut balancer = balancer(&family, "ipip", V4_BACKEND);
    let first = sent(&mut balancer, &from(1, &family));
    let (source, _) = ends(&first);
    hears(&mut balancer, &between(errors::ROUTER[0], source, &first, HOST_UNREACHABLE), NotOurs);
    assert_signs(&balancer, 1, 0, 1, "host unreachable");
}

#[test]
fn other_errors_say_nothing_of_the_backend() {
    for (family, forwarding, backend, _) in some_tunnels() {
        let mut balancer = balancer(&family, forwarding, backend);
        let first = sent(&mut balancer, &from(1, &family));
        let kinds = if first[0] >> 4 == 4 {
            [FRAGMENTATION_NEEDED, ("time exceeded", 11, 0, [0; 4])]
        } else {
            [PACKET_TOO_BIG, WRONG_HEADER]
        };
        for kind in kinds {
            hears(&mut balancer, &refusal(&first, kind), NotOurs);
            assert_signs(&balancer, 1, 0, 0, &format!("{forwarding}: {kind:?}"));
        }
    }
}

#[test]
fn error_that_anybody_could_make_up_does_not_count() {
    for (family, forwarding, backend, kind) in some_tunnels() {
        let mut balancer = balancer(&family, forwarding, backend);
        let first = sent(&mut balancer, &from(1, &family));
        let is_v4 = first[0] >> 4 == 4;
        // As if sent to another backend, about another flow, and cut off before the ports.
        let mut elsewhere = first.clone();
        elsewhere[if is_v4 { 19 } else { 39 }] ^= 1;
        let mut unknown = first.clone();
        let ports = first.len() - from(1, &family).ip().len() + if family.source.is_ipv4() { 20 } else { 40 };
        unknown[ports + 1] ^= 1;
        for (quoted, what) in [(&elsewhere, "another backend"), (&unknown, "another flow")] {
            hears(&mut balancer, &refusal(quoted, kind), NotOurs);
            assert_signs(&balancer, 1, 0, 0, &format!("{forwarding}: {what}"));
        }
        for length in 0..ports + 4 {
            let cut = between(ends(&first).1, ends(&first).0, &first[..length], kind);
            hears(&mut balancer, &cut, NotOurs);
            assert_signs(&balancer, 1, 0, 0, &format!("{forwarding}: {length} bytes"));
        }
        // What goes on has been answered before.
        sent(&mut balancer, &Packet { syn: false, ack: true, ..from(1, &family) });
        hears(&mut balancer, &refusal(&first, kind), NotOurs);
        assert_signs(&balancer, 1, 0, 0, &format!("{forwarding}: a flow that goes on"));
    }
}

/// The backend's answer to a packet that it was sent: a reset, or what it says at first.
fn answer(sent: &[u8], client: &Packet, end: Option<End>) -> Packet {
    let (source, destination) = ends(sent);
    let at = if sent[0] >> 4 == 4 { 20 } else { 40 };
    let port = u16::from_be_bytes([sent[at], sent[at + 1]]);
    Packet {
        source: destination,
        destination: source,
        source_port: 80,
        destination_port: port,
        syn: end.is_none(),
        ack: true,
        end,
        ..client.clone()
    }
}

#[test]
fn reset_that_answers_a_translated_syn_counts_once() {
    for (family, backend) in [(Packet::default(), V4_BACKEND), (Packet::v6(), V6_BACKEND)] {
        let mut balancer = balancer(&family, "nat", backend);
        let first = sent(&mut balancer, &from(1, &family));
        for _ in 0..2 {
            hears(&mut balancer, &answer(&first, &family, Some(End::Rst)), Returned);
            assert_signs(&balancer, 1, 1, 0, backend);
        }
        // Some clients try once more.
        sent(&mut balancer, &from(1, &family));
        assert_signs(&balancer, 1, 1, 0, backend);

        let second = sent(&mut balancer, &from(2, &family));
        hears(&mut balancer, &answer(&second, &family, None), Returned);
        hears(&mut balancer, &answer(&second, &family, Some(End::Rst)), Returned);
        assert_signs(&balancer, 2, 1, 0, "who has accepted it has refused nothing");
    }
}

#[test]
fn unreachable_about_a_translated_syn_counts_once() {
    let families =
        [(Packet::default(), V4_BACKEND, PORT_UNREACHABLE), (Packet::v6(), V6_BACKEND, PORT_UNREACHABLE_V6)];
    for (family, backend, kind) in families {
        let mut balancer = balancer(&family, "nat", backend);
        let first = sent(&mut balancer, &from(1, &family));
        for _ in 0..2 {
            // Its client is told as well.
            hears(&mut balancer, &refusal(&first, kind), Returned);
            assert_signs(&balancer, 1, 0, 1, backend);
        }
    }
}
