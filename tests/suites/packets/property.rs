//! Properties that hold for any packet, over the real program.

mod decap;
mod packets;

use std::{cell::RefCell, fmt::Debug};

use etherparse::{Ipv4Header, Ipv6Header};
use lb_tests::packet::{Packet, link};
use libtest_mimic::Trial;
use proptest::{
    prelude::{Strategy, TestCaseError, prop_assert, prop_assert_eq},
    test_runner::{Config, TestRunner},
};

use crate::{
    case::Scene,
    decapsulator::Decapsulator,
    harness::{self, EGRESS_MAC, backend_mac},
    scenes::{SPREAD, WAYS, ip},
    trial,
};

/// Actions (linux/bpf.h, `enum xdp_action`).
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Packets that each property is tried on, for each way of forwarding.
const CASES: u32 = 256;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("property::a passed packet is unchanged, whatever it is", passed_is_unchanged),
        trial("property::a tunnelled packet comes out as it went in", tunnelled_comes_out),
        trial("property::outer headers are right for another implementation", outer_is_right),
        trial("property::a flow has the same backend in every mode", backend_is_the_modes_own),
        trial(
            "property::a flow has the same backend whatever its packets look like",
            backend_is_the_flows_own,
        ),
    ]
}

/// Tries `property` on `CASES` values of `strategy`; the smallest one that fails is told.
fn holds<S: Strategy<Value: Debug>>(strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    if let Err(error) = runner.run(strategy, property) {
        panic!("{error}");
    }
}

fn passed_is_unchanged() {
    for way in &WAYS {
        holds(&packets::bytes(), |frame| {
            let (action, out) = run(way.scene, &frame);
            prop_assert!(action != XDP_PASS || out == frame);
            Ok(())
        });
    }
}

fn tunnelled_comes_out() {
    let mut decapsulator = Decapsulator::new();
    let decapsulate = RefCell::new(&mut decapsulator);
    for way in WAYS.iter().filter(|way| way.overhead > 0) {
        holds(&packets::for_a_vip(), |packet| {
            let (action, out) = run(way.scene, &packet.build());
            prop_assert_eq!(action, XDP_TX);
            let link = link(backend_mac(ip(way.backend)), EGRESS_MAC, &packet.tags, packet.ether_type());
            let inner = [packet.ip(), vec![0; packet.padding]].concat();
            let inner = || decap::without_ttl(inner.clone());
            let between = way.overhead - if way.backend.contains(':') { 40 } else { 20 };
            prop_assert_eq!(decap::by_etherparse(&out, between).map(decap::without_ttl), Some(inner()));
            let stripped = decapsulate.borrow_mut().run(&out);
            prop_assert_eq!(&stripped[..link.len()], &link);
            prop_assert_eq!(decap::without_ttl(stripped[link.len()..].to_vec()), inner());
            Ok(())
        });
    }
}

fn outer_is_right() {
    for way in WAYS.iter().filter(|way| way.overhead > 0) {
        holds(&packets::for_a_vip(), |packet| {
            let (action, out) = run(way.scene, &packet.build());
            prop_assert_eq!(action, XDP_TX);
            let outer = &out[14 + 4 * packet.tags.len()..];
            let payload = way.overhead + packet.ip().len();
            if way.backend.contains(':') {
                let (header, _) = Ipv6Header::from_slice(outer).expect("an IPv6 header");
                prop_assert_eq!(usize::from(header.payload_length) + 40, payload);
                prop_assert_eq!(header.traffic_class, packet.traffic_class);
            } else {
                let (header, _) = Ipv4Header::from_slice(outer).expect("an IPv4 header");
                prop_assert_eq!(usize::from(header.total_len), payload);
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            }
            Ok(())
        });
    }
}

/// The action on a frame, and the frame afterwards. What is counted is the table's to look at.
fn run(scene: &'static Scene, frame: &[u8]) -> (u32, Vec<u8>) {
    scene.with(|balancer| {
        let program = balancer.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
        harness::run(program, frame)
    })
}

/// Number of the backend that a packet goes to.
fn backend(scene: &'static Scene, packet: &Packet) -> u8 {
    let (action, out) = run(scene, &packet.build());
    assert_eq!(action, XDP_TX);
    out[5]
}

fn backend_is_the_modes_own() {
    holds(&packets::for_a_vip(), |packet| {
        let backends: Vec<_> = SPREAD.iter().map(|scene| backend(scene, &packet)).collect();
        prop_assert!(backends.iter().all(|backend| *backend == backends[0]), "{:?}", backends);
        Ok(())
    });
}

/// Options, extension headers, tags, flags and what is carried are not the flow's.
fn backend_is_the_flows_own() {
    holds(&(packets::for_a_vip(), packets::for_a_vip()), |(packet, other)| {
        let same_family = packet.destination.is_ipv4() == other.destination.is_ipv4();
        let disguised = Packet {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            ..if same_family { other } else { packet.clone() }
        };
        for scene in &SPREAD {
            prop_assert_eq!(backend(scene, &packet), backend(scene, &disguised));
        }
        Ok(())
    });
}
