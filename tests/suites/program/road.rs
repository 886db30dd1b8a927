//! The road of probes: what comes out of it is what clients' packets become.

use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{backend::Backend, hash::Seed, knobs::FEATURE_GUE, way::station};
use lb_tests::packet::{Packet, UDP};
use sluice::dataplane::OBJECT;

use crate::harness::{Harness, run, service};

const MARK: u32 = 0x7c10_0000;
const WAY: u32 = 3;

const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;
const TC_ACT_OK: u32 = 0;
const TC_ACT_SHOT: u32 = 2;

/// Both programs, whose way number [`WAY`] leads to a backend.
struct Road(Ebpf);

impl Road {
    fn to(backend: &Backend) -> Self {
        let key = Seed(std::array::from_fn(|n| n as u8)).flow_key().0;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("ways", WAY + 1)
            .override_global("FEATURES", &FEATURE_GUE, true)
            .override_global("PROBE_MARK", &MARK, true)
            .override_global("FLOW_KEY", &key, true)
            .load(OBJECT)
            .expect("the object loads");
        let map = ebpf.map_mut("ways").expect("the object has the map");
        let mut ways: Array<_, [u8; size_of::<Backend>()]> = map.try_into().expect("an array");
        ways.set(WAY, bytemuck::cast::<_, [u8; size_of::<Backend>()]>(*backend), 0)
            .expect("the map takes it");
        Self(ebpf)
    }

    /// What the far end makes of a frame for a station.
    fn send(&mut self, to: [u8; 6], frame: &[u8]) -> (u32, Vec<u8>) {
        let program = self.0.program_mut("sluice_probe").expect("the object has the program");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        if program.fd().is_err() {
            program.load().expect("the verifier accepts the program");
        }
        run(program, &[&to, &frame[6..]].concat())
    }

    /// What the near end makes of a frame from a socket with a mark.
    fn mark(&mut self, mark: u32, frame: &[u8]) -> (u32, Vec<u8>) {
        let program = self.0.program_mut("sluice_mark").expect("the object has the program");
        let program: &mut SchedClassifier = program.try_into().expect("a classifier");
        if program.fd().is_err() {
            program.load().expect("the verifier accepts the program");
        }
        // The first fields of `struct __sk_buff`: the length and the type, which are the kernel's, and the mark.
        let context = [0, 0, mark].map(u32::to_ne_bytes).concat();
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).expect("the kernel runs the program");
        (result.return_value, out)
    }
}

#[test]
fn probe_comes_out_as_a_clients_packet_does() {
    let modes = ["l2", "ipip", "gue"].map(|mode| format!("forwarding = \"{mode}\""));
    let direct = "forwarding = \"gue\"\ngue = { variant = 1 }".to_owned();
    let varied =
        "forwarding = \"ipip\"\ntunnel_source = [\"192.0.2.0/24\", \"2001:db8:ff::/112\"]".to_owned();
    for mode in modes.into_iter().chain([direct, varied]) {
        for backend in ["198.51.100.11", "2001:db8:51::11"] {
            assert_sameness(&mode, backend);
        }
    }
}

fn assert_sameness(mode: &str, backend: &str) {
    let rest = |protocol: &str| format!("protocol = \"{protocol}\"\n{mode}");
    let mut balancer = Harness::new(
        &[
            service("v4", "203.0.113.10", "80", &rest("tcp"), &[backend]),
            service("v6", "2001:db8:113::10", "80", &rest("tcp"), &[backend]),
            service("udp", "203.0.113.10", "80", &rest("udp"), &[backend]),
        ]
        .concat(),
    );
    let mut road = Road::to(&balancer.plan.services[0].backends[0]);
    for packet in [Packet::default(), Packet::v6(), Packet { protocol: UDP, ..Packet::default() }] {
        let frame = packet.build();
        let (action, probe) = road.send(station(MARK | WAY), &frame);
        assert_eq!((action, probe), (XDP_TX, balancer.run(&frame).frame), "{mode} to {backend}: {packet:?}");
    }
}

#[test]
fn frame_of_no_way_ends_at_the_far_end() {
    let balancer = Harness::new(&service(
        "v4",
        "203.0.113.10",
        "80",
        "protocol = \"tcp\"\nforwarding = \"l2\"",
        &["198.51.100.11"],
    ));
    let mut road = Road::to(&balancer.plan.services[0].backends[0]);
    let frame = Packet::default().build();
    for station in [[0xff; 6], station(WAY - 1), station(WAY + 1)] {
        assert_eq!(road.send(station, &frame).0, XDP_DROP, "{station:?}");
    }
    // ARP, of which nobody there has any use.
    let arp = [&frame[..12], &[0x08, 0x06], &[0; 28]].concat();
    assert_eq!(road.send(station(MARK | WAY), &arp).0, XDP_DROP);
}

#[test]
fn mark_of_a_socket_is_told_in_its_frames() {
    let mut road = Road::to(&bytemuck::Zeroable::zeroed());
    let frame = Packet::default().build();
    for number in [0, WAY, 0xf_ffff] {
        let expected = [&station(number)[..], &frame[6..]].concat();
        assert_eq!(road.mark(MARK | number, &frame), (TC_ACT_OK, expected));
    }
    for others in [0, WAY, 0x7c20_0000 | WAY] {
        assert_eq!(road.mark(others, &frame).0, TC_ACT_SHOT, "{others:#x}");
    }
}
