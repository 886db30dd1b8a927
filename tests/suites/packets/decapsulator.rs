//! The backend's program `sluice_decap`, for the VIPs of the default packets.

use aya::{
    EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray},
    programs::Xdp,
};
use lb_common::{
    address::Address,
    counter::{Fate, Reason},
};
use sluice::dataplane::OBJECT;

use crate::{
    case::Subject,
    expected::GUE_PORT,
    harness::{self, Outcome},
    scenes::{VIPS, ip},
};

/// Actions (linux/bpf.h, `enum xdp_action`).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// The loaded program.
pub struct Decapsulator(aya::Ebpf);

impl Decapsulator {
    pub fn new() -> Self {
        let mut ebpf = EbpfLoader::new()
            .override_global("GUE_PORT", &u32::from(GUE_PORT), true)
            .load(OBJECT)
            .expect("the object loads");
        let map = ebpf.map_mut("decap_vips").expect("the object has the map");
        let mut vips: HashMap<_, [u8; 16], u8> = map.try_into().expect("a hash map");
        for vip in VIPS {
            vips.insert(Address::from(ip(vip)).octets, 1, 0).expect("the map takes it");
        }
        let program = ebpf.program_mut("sluice_decap").expect("the object has the program");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        program.load().expect("the verifier accepts the program");
        Self(ebpf)
    }

    /// The frame without its outer header.
    pub fn run(&mut self, frame: &[u8]) -> Vec<u8> {
        let outcome = self.run_behind(0, frame);
        assert_eq!(outcome.reason, Reason::Decapsulated);
        outcome.frame
    }

    fn counted(&self) -> [u64; Reason::COUNT] {
        let map = self.0.map("reasons").expect("the object has the map");
        let map: PerCpuArray<&MapData, [u64; 2]> = map.try_into().expect("an array per CPU");
        let packets =
            |reason: Reason| map.get(&(reason as u32), 0).map(|cpus| cpus.iter().map(|[n, _]| n).sum());
        Reason::ALL.map(|reason| packets(reason).expect("a counter"))
    }
}

impl Subject for Decapsulator {
    fn run_behind(&mut self, metadata: usize, frame: &[u8]) -> Outcome {
        let before = self.counted();
        let program = self.0.program("sluice_decap").expect("the object has the program");
        let (action, frame) =
            harness::run_behind(program.try_into().expect("an XDP program"), metadata, frame);
        let mut grown = Reason::ALL.into_iter().zip(before.iter().zip(self.counted()));
        let counted = |(_, (before, after)): &(Reason, (&u64, u64))| **before != *after;
        let (reason, _) = grown.find(counted).expect("every packet is counted under a reason");
        assert!(!grown.any(|counter| counted(&counter)), "a packet is counted once");
        let expected = if reason.fate() == Fate::Pass { XDP_PASS } else { XDP_DROP };
        assert_eq!(action, expected, "action of {reason:?}");
        Outcome { reason, frame }
    }
}
