//! QUIC: connection ids that name a backend, and packets that name nobody.

use lb_common::counter::Reason::{NotOurs, OtherProtocol, Truncated};
use lb_tests::packet::{Packet, TCP, UDP};

use crate::{
    case::Case,
    expected::{ipip, l2},
    scenes::{QUIC, QUIC_IPIP, V4, ip},
};

const VERSIONS: [(&str, u32); 2] = [("version 1", 1), ("version 2", 0x6b33_43cf)];

/// A connection id of config 3 with a server id of two bytes (draft-ietf-quic-load-balancers).
fn id(server: [u8; 2]) -> Vec<u8> {
    vec![3 << 5 | 9, server[0], server[1], 1, 2, 3, 4, 5, 6, 7]
}

/// What begins with a short header (RFC 9000 section 17.3).
fn short(id: &[u8]) -> Vec<u8> {
    [&[0x40], id, &[0; 24]].concat()
}

/// What begins with a long header (RFC 9000 section 17.2); `kind` is what its version calls it.
fn long(version: u32, kind: u8, id: &[u8]) -> Vec<u8> {
    [&[0xc0 | kind << 4], &version.to_be_bytes()[..], &[id.len() as u8], id, &[0; 64]].concat()
}

fn v4(payload: Vec<u8>) -> Packet {
    Packet { protocol: UDP, destination_port: 443, payload, ..Packet::default() }
}

fn v6(payload: Vec<u8>) -> Packet {
    Packet { protocol: UDP, destination_port: 443, payload, ..Packet::v6() }
}

pub fn cases() -> Vec<Case> {
    [named(), unnamed(), others()].into_iter().flatten().collect()
}

/// What goes on goes to the backend that its id names, whatever the hash says.
fn named() -> Vec<Case> {
    let mut cases = Vec::new();
    for (last, server) in [(11, [0x0b, 0x11]), (12, [0x0b, 0x12]), (13, [0x0b, 0x13])] {
        let backend = ip(&format!("198.51.100.{last}"));
        let mut payloads = vec![("a short header".to_owned(), short(&id(server)))];
        for ((name, version), kind) in VERSIONS.into_iter().zip([2, 3]) {
            payloads.push((format!("a Handshake of {name}"), long(version, kind, &id(server))));
        }
        for (what, payload) in payloads {
            for (family, packet) in [("IPv4", v4(payload.clone())), ("IPv6", v6(payload))] {
                let elsewhere = Packet { source_port: 50_000, ..packet.clone() };
                let name = format!("{what} over {family} names b{last}");
                cases.push(QUIC.sends(
                    format!("{name}, from another port"),
                    &elsewhere,
                    l2(&elsewhere, backend),
                ));
                cases.push(QUIC.sends(name, &packet, l2(&packet, backend)));
            }
        }
    }
    let tagged =
        Packet { tags: vec![(0x88a8, 1), (0x8100, 2)], options: vec![1; 40], ..v4(short(&id([0x0b, 0x12]))) };
    cases.push(QUIC.sends("an id behind tags and options", &tagged, l2(&tagged, ip("198.51.100.12"))));
    let tunnelled = v4(short(&id([0x0b, 0x11])));
    cases.push(QUIC_IPIP.sends("an id through a tunnel", &tunnelled, ipip(&tunnelled, ip(V4))));
    cases
}

/// What names nobody is placed by its flow: at any backend, but at one.
fn unnamed() -> Vec<Case> {
    let named = id([0x0b, 0x12]);
    let config = |octet: u8| [&[octet << 5 | 9], &named[1..]].concat();
    let payloads = [
        ("an Initial", long(1, 0, &named)),
        ("an Initial of version 2", long(0x6b33_43cf, 1, &named)),
        ("0-RTT", long(1, 1, &named)),
        ("0-RTT of version 2", long(0x6b33_43cf, 2, &named)),
        ("a Retry", long(1, 3, &named[..8])),
        ("version negotiation", long(0, 0, &named)),
        ("a version of greasing", long(0x1a2a_3a4a, 2, &named)),
        ("a config that nobody has", short(&config(2))),
        ("the config that is not routed", short(&config(7))),
        ("a server id that nobody has", short(&id([9, 9]))),
        ("a short connection id in a long header", long(1, 2, &[])),
        ("a connection id that is cut off", vec![0x40, 3 << 5, 0x0b]),
        ("a long header that is cut off", vec![0xe0, 0, 0]),
        ("one byte", vec![0x40]),
        ("no byte", Vec::new()),
    ];
    let mut cases = Vec::new();
    for (what, payload) in payloads {
        for (family, packet) in [("IPv4", v4(payload.clone())), ("IPv6", v6(payload))] {
            // The last byte of the MAC address tells the backends apart.
            let anywhere = l2(&packet, ip(V4)).but_for(5, &[0xff]);
            cases.push(QUIC.sends(format!("{what} over {family} names nobody"), &packet, anywhere));
        }
    }
    cases
}

fn others() -> Vec<Case> {
    let mut cut = v4(short(&id([0x0b, 0x11]))).build();
    cut[16..18].copy_from_slice(&27u16.to_be_bytes());
    vec![
        QUIC.passes("TCP to QUIC's port", Packet { protocol: TCP, ..v4(Vec::new()) }, NotOurs),
        QUIC.passes(
            "QUIC to another port",
            Packet { destination_port: 444, ..v4(short(&id([0x0b, 0x11]))) },
            NotOurs,
        ),
        QUIC.passes("UDP-Lite to QUIC's port", Packet { protocol: 136, ..v4(Vec::new()) }, OtherProtocol),
        QUIC.drops("a UDP header with a byte missing", cut, Truncated),
    ]
}
