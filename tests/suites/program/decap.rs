//! The backend's program: what the balancer encapsulated comes out as it went in.

use aya::{EbpfLoader, maps::HashMap, programs::Xdp};
use lb_common::address::Address;
use lb_tests::packet::{Packet, link};
use sluice::dataplane::OBJECT;

use crate::harness::{EGRESS_MAC, Harness, backend_mac, run, service};

const XDP_PASS: u32 = 2;

/// A decapsulator for the VIPs of the default packets.
struct Decapsulator(aya::Ebpf);

impl Decapsulator {
    fn new() -> Self {
        let mut ebpf = EbpfLoader::new().load(OBJECT).expect("the object loads");
        let map = ebpf.map_mut("decap_vips").expect("the object has the map");
        let mut vips: HashMap<_, [u8; 16], u8> = map.try_into().expect("a hash map");
        for vip in [Packet::default().destination, Packet::v6().destination] {
            vips.insert(Address::from(vip).octets, 1, 0).expect("the map takes it");
        }
        Self(ebpf)
    }

    fn run(&mut self, frame: &[u8]) -> Vec<u8> {
        let program = self.0.program_mut("sluice_decap").expect("the object has the program");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        if program.fd().is_err() {
            program.load().expect("the verifier accepts the program");
        }
        let (action, frame) = run(program, frame);
        assert_eq!(action, XDP_PASS);
        frame
    }
}

#[test]
fn every_mix_of_families_survives_the_tunnel() {
    let mut decapsulator = Decapsulator::new();
    for backend in ["198.51.100.11", "2001:db8:51::11"] {
        let rest = "protocol = \"tcp\"\nforwarding = \"ipip\"";
        let mut balancer = Harness::new(
            &[
                service("v4", "203.0.113.10", "80", rest, &[backend]),
                service("v6", "2001:db8:113::10", "80", rest, &[backend]),
            ]
            .concat(),
        );
        for packet in [Packet::default(), Packet::v6()] {
            for tags in [vec![], vec![(0x8100, 9)], vec![(0x88a8, 8), (0x8100, 9)]] {
                let packet = Packet { tags, traffic_class: 0xb9, ..packet.clone() };
                let tunnelled = balancer.run(&packet.build()).frame;
                let macs = link(
                    backend_mac(backend.parse().unwrap()),
                    EGRESS_MAC,
                    &packet.tags,
                    packet.ether_type(),
                );
                assert_eq!(
                    decapsulator.run(&tunnelled),
                    [macs, packet.passed_on().ip()].concat(),
                    "{packet:?} to {backend}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_a_tunnelled_packet_for_a_vip_passes_as_it_came() {
    let inner = Packet { destination: "203.0.113.99".parse().unwrap(), ..Packet::default() };
    let tunnel = |protocol, payload| Packet {
        destination: "198.51.100.11".parse().unwrap(),
        protocol,
        payload,
        ..Packet::default()
    };
    let frames = [
        ("a plain packet", Packet::default().build()),
        ("a tunnelled one for another address", tunnel(4, inner.ip()).build()),
        ("an empty tunnel", tunnel(4, vec![]).build()),
        ("IPv6 announced, IPv4 inside", tunnel(41, Packet::default().ip()).build()),
        ("another protocol", tunnel(47, Packet::default().ip()).build()),
        (
            "a fragment of a tunnelled one",
            Packet { fragment: Some((0, true)), ..tunnel(4, Packet::default().ip()) }.build(),
        ),
    ];
    let mut decapsulator = Decapsulator::new();
    for (name, frame) in frames {
        assert_eq!(decapsulator.run(&frame), frame, "{name}");
    }
}
