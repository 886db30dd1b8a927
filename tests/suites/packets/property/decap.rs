//! Two decapsulators: the backend's program, and etherparse.

use aya::{EbpfLoader, maps::HashMap, programs::Xdp};
use etherparse::{Ipv4Header, Ipv6Header, PacketHeaders};
use lb_common::address::Address;
use sluice::dataplane::OBJECT;

use super::XDP_PASS;
use crate::{
    expected::GUE_PORT,
    harness,
    scenes::{VIPS, ip},
};

/// The program `sluice_decap`, for the VIPs of the default packets.
pub struct Decapsulator(aya::Ebpf);

impl Decapsulator {
    pub fn new() -> Self {
        let port = u32::from(GUE_PORT);
        let mut loader = EbpfLoader::new();
        loader.override_global("GUE_PORT", &port, true);
        let mut ebpf = loader.load(OBJECT).expect("the object loads");
        let map = ebpf.map_mut("decap_vips").expect("the object has the map");
        let mut vips: HashMap<_, [u8; 16], u8> = map.try_into().expect("a hash map");
        for vip in VIPS {
            vips.insert(Address::from(ip(vip)).octets, 1, 0).expect("the map takes it");
        }
        let program: &mut Xdp = program(&mut ebpf);
        program.load().expect("the verifier accepts the program");
        Self(ebpf)
    }

    /// The frame without its outer header.
    pub fn run(&mut self, frame: &[u8]) -> Vec<u8> {
        let (action, frame) = harness::run(program(&mut self.0), frame);
        assert_eq!(action, XDP_PASS);
        frame
    }
}

fn program(ebpf: &mut aya::Ebpf) -> &mut Xdp {
    let program = ebpf.program_mut("sluice_decap").expect("the object has the program");
    program.try_into().expect("an XDP program")
}

/// What lies behind the outer IP header of a frame, and `between` bytes.
pub fn by_etherparse(frame: &[u8], between: usize) -> Option<Vec<u8>> {
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let link = 14 + 4 * headers.link_exts.len();
    let behind = match frame.get(link)? >> 4 {
        4 => Ipv4Header::from_slice(&frame[link..]).ok()?.1,
        _ => Ipv6Header::from_slice(&frame[link..]).ok()?.1,
    };
    Some(behind.get(between..)?.to_vec())
}

/// An IP packet without what a tunnel may change: TTL, ECN and what depends on them.
pub fn without_ttl(mut packet: Vec<u8>) -> Vec<u8> {
    let fields: &[(usize, u8)] = match packet[0] >> 4 {
        4 => &[(1, 0xfc), (8, 0), (10, 0), (11, 0)],
        _ => &[(1, 0xcf), (7, 0)],
    };
    for (at, kept) in fields {
        packet[*at] &= kept;
    }
    packet
}
