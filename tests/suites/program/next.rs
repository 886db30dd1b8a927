//! What passes, where another program is to get it: here the decapsulator, whose work shows in the frame.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use aya::{Ebpf, EbpfLoader, maps::HashMap, programs::Xdp};
use lb_common::{
    address::Address,
    counter::Reason::{self, BadHeader, NotIp, NotOurs, OtherProtocol, Transmitted},
    knobs::FEATURE_NEXT,
};
use lb_tests::{
    bpf::{BPFFS, ensure_bpffs},
    packet::{Packet, UDP},
};
use sluice::dataplane::{OBJECT, next::NextProgram};

use crate::harness::{Harness, service};

/// A VIP of the other program, which the balancer knows nothing of.
const THEIRS: &str = "203.0.113.77";

fn balancer() -> Harness {
    let rest = "protocol = \"tcp\"\nforwarding = \"ipip\"";
    Harness::with_features(FEATURE_NEXT, "", &service("v4", "203.0.113.10", "80", rest, &["198.51.100.11"]))
}

/// The other program, pinned for as long as this lives.
struct Other {
    _ebpf: Ebpf,
    path: PathBuf,
}

impl Other {
    fn pinned(name: &str) -> Self {
        ensure_bpffs().expect("a BPF file system");
        let path = Path::new(BPFFS).join(format!("sluice-test-{name}-{}", process::id()));
        let mut ebpf = EbpfLoader::new().load(OBJECT).expect("the object loads");
        let map = ebpf.map_mut("decap_vips").expect("the object has the map");
        let mut vips: HashMap<_, [u8; 16], u8> = map.try_into().expect("a hash map");
        let vip: std::net::IpAddr = THEIRS.parse().expect("an address");
        vips.insert(Address::from(vip).octets, 1, 0).expect("the map takes it");
        let program = ebpf.program_mut("sluice_decap").expect("the object has the program");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        program.load().expect("the verifier accepts the program");
        program.pin(&path).expect("a pin");
        Self { _ebpf: ebpf, path }
    }

    fn open(&self) -> NextProgram {
        NextProgram::open(&self.path).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn to_their_vip() -> Packet {
    Packet { destination: THEIRS.parse().expect("an address"), ..Packet::default() }
}

/// A packet in a tunnel to an address.
fn tunnelled(to: &str) -> Vec<u8> {
    let destination = to.parse().expect("an address");
    Packet { protocol: 4, destination, payload: to_their_vip().ip(), ..Packet::default() }.build()
}

#[test]
fn what_passes_goes_on_and_nothing_else() {
    let (mut balancer, other) = (balancer(), Other::pinned("next"));
    balancer.dataplane.replace_next(Some(other.open())).expect("the kernel takes it");
    let unpacked = to_their_vip().build();
    for (to, reason) in [("192.0.2.1", NotOurs), ("203.0.113.10", OtherProtocol)] {
        let outcome = balancer.run(&tunnelled(to));
        assert_eq!((outcome.reason, &outcome.frame), (reason, &unpacked), "to {to}");
    }
    let untouched: [(Vec<u8>, Reason); 3] = [
        ([&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat(), NotIp),
        (to_their_vip().build(), NotOurs),
        (Packet { protocol: UDP, ..Packet::default() }.build(), NotOurs),
    ];
    for (frame, reason) in untouched {
        let outcome = balancer.run(&frame);
        assert_eq!((outcome.reason, &outcome.frame), (reason, &frame));
    }
    // It would have taken the outer header off again.
    let forwarded = balancer.run(&Packet::default().build());
    assert_eq!(
        (forwarded.reason, forwarded.frame.len()),
        (Transmitted, Packet::default().build().len() + 20)
    );
    let mut broken = tunnelled("203.0.113.10");
    broken[14] = 0x44;
    assert_eq!(balancer.run(&broken).reason, BadHeader);
}

#[test]
fn without_another_program_what_passes_stays_as_it_is() {
    let (mut balancer, other) = (balancer(), Other::pinned("without"));
    let frame = tunnelled("192.0.2.1");
    assert_eq!(balancer.run(&frame).frame, frame);
    assert!(balancer.dataplane.replace_next(Some(other.open())).expect("the kernel takes it").is_none());
    assert_ne!(balancer.run(&frame).frame, frame);
    let former = balancer.dataplane.replace_next(None).expect("it goes").expect("it was there");
    assert_eq!((former.path(), former.name_and_id().0.as_str()), (other.path.as_path(), "sluice_decap"));
    assert_eq!(balancer.run(&frame).frame, frame);
    balancer.dataplane.replace_next(None).expect("there is none to go");
}
