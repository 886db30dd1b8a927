//! The backend's program: what the balancer encapsulated comes out as it went in.

use aya::{EbpfLoader, maps::HashMap, programs::Xdp};
use lb_common::address::Address;
use lb_tests::packet::{Packet, UDP, link};
use sluice::dataplane::OBJECT;

use crate::harness::{EGRESS_MAC, Harness, backend_mac, run, service};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const GUE_PORT: u32 = 6080;

/// A decapsulator for the VIPs of the default packets.
pub struct Decapsulator {
    ebpf: aya::Ebpf,
    program: &'static str,
}

impl Decapsulator {
    fn new() -> Self {
        Self::of("sluice_decap")
    }

    /// As [`Self::new`], for frames of several pieces.
    pub fn for_frames() -> Self {
        Self::of("sluice_decap_frames")
    }

    fn of(program: &'static str) -> Self {
        let mut ebpf = EbpfLoader::new()
            .override_global("GUE_PORT", &GUE_PORT, true)
            .load(OBJECT)
            .expect("the object loads");
        let map = ebpf.map_mut("decap_vips").expect("the object has the map");
        let mut vips: HashMap<_, [u8; 16], u8> = map.try_into().expect("a hash map");
        for vip in [Packet::default().destination, Packet::v6().destination] {
            vips.insert(Address::from(vip).octets, 1, 0).expect("the map takes it");
        }
        Self { ebpf, program }
    }

    pub fn run(&mut self, frame: &[u8]) -> Vec<u8> {
        let (action, frame) = self.act_on(frame);
        assert_eq!(action, XDP_PASS);
        frame
    }

    fn act_on(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let program = self.ebpf.program_mut(self.program).expect("the object has the program");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        if program.fd().is_err() {
            program.load().expect("the verifier accepts the program");
        }
        run(program, frame)
    }
}

const TUNNELS: [&str; 3] =
    ["forwarding = \"ipip\"", "forwarding = \"gue\"", "forwarding = \"gue\"\ngue = { variant = 1 }"];

#[test]
fn every_mix_of_families_survives_every_tunnel() {
    for tunnel in TUNNELS {
        for backend in ["198.51.100.11", "2001:db8:51::11"] {
            assert_survival(tunnel, backend);
        }
    }
}

fn assert_survival(tunnel: &str, backend: &str) {
    let mut decapsulator = Decapsulator::new();
    {
        let rest = &format!("protocol = \"tcp\"\n{tunnel}");
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
                    backend_mac(backend.parse().expect("an address")),
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
fn congestion_that_the_tunnel_has_met_is_told_inside() {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    let mut decapsulator = Decapsulator::new();
    for (inner, outer, out) in [
        (NOT_ECT, ECT_0, Some(NOT_ECT)),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, Some(ECT_0)),
        (ECT_0, ECT_1, Some(ECT_1)),
        (ECT_0, CE, Some(CE)),
        (ECT_1, CE, Some(CE)),
        (CE, NOT_ECT, Some(CE)),
    ] {
        for packet in [Packet::default(), Packet::v6()] {
            let with = |ecn: u8| Packet { traffic_class: 0xb8 | ecn, ..packet.clone() };
            for (source, destination) in
                [("198.51.100.1", "198.51.100.11"), ("2001:db8:51::1", "2001:db8:51::11")]
            {
                let tunnelled = Packet {
                    source: source.parse().expect("an address"),
                    destination: destination.parse().expect("an address"),
                    protocol: if packet.source.is_ipv4() { 4 } else { 41 },
                    traffic_class: outer,
                    payload: with(inner).ip(),
                    ..Packet::default()
                };
                let (action, frame) = decapsulator.act_on(&tunnelled.build());
                let expected = out.map(|ecn| with(ecn).build());
                let got = (action != XDP_DROP).then_some(frame);
                assert_eq!(got, expected, "{inner} in {outer}, to {destination}");
            }
        }
    }
}

#[test]
fn what_gue_adds_beyond_need_is_left_to_the_stack() {
    let gue = |header: &[u8]| Packet {
        destination: "198.51.100.11".parse().unwrap(),
        protocol: UDP,
        destination_port: GUE_PORT as u16,
        payload: [header, &Packet::default().ip()].concat(),
        ..Packet::default()
    };
    let cases = [
        ("a control message", gue(&[0x20, 4, 0, 0])),
        ("optional fields", gue(&[0x01, 4, 0, 0, 0, 0, 0, 0])),
        ("flags", gue(&[0, 4, 0x80, 0])),
        ("a version that there is not", gue(&[0x80, 4, 0, 0])),
        ("another port", Packet { destination_port: 6081, ..gue(&[0, 4, 0, 0]) }),
        ("nothing inside", Packet { payload: vec![], ..gue(&[]) }),
    ];
    let mut decapsulator = Decapsulator::new();
    for (name, packet) in cases {
        assert_eq!(decapsulator.run(&packet.build()), packet.build(), "{name}");
    }
    let (action, frame) = decapsulator.act_on(&gue(&[0, 4, 0, 0]).build());
    assert_eq!((action, frame), (XDP_PASS, Packet::default().build()));
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
