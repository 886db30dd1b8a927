//! The keyed hashes of the packet path.
//!
//! Pair-multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", section 3.5): with secret random keys,
//! the upper half of the sum is strongly universal, so nobody who does not know the fleet's seed can aim flows at one
//! slot. Two words cost one multiplication, where a SipHash in BPF costs some fifty instructions. A last mixing step,
//! a bijection of the sum, spreads what regular inputs (one client's consecutive ports) leave regular.

#![expect(
    clippy::inline_always,
    reason = "a call in BPF costs the registers and a stack frame of 512 bytes in all"
)]

use crate::address::Address;
use crate::flow::Flow;
use crate::service::ServiceKey;

/// 32-bit words that are hashed at most: two addresses, the ports, the protocol.
pub const MAX_WORDS: usize = 10;

/// The keys of one hash function, derived from the fleet's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct HashKey(pub [u64; MAX_WORDS + 1]);

/// Where the words of a [`HashKey`] are read from. The XDP program reads them one by one from `.rodata`, since a copy
/// of the whole key would fill a fifth of its stack.
pub trait KeyWords {
    /// The word at `index`, at most [`MAX_WORDS`].
    fn word(&self, index: usize) -> u64;

    /// Hashes a flow. The upper 32 bits choose the slot.
    #[must_use]
    #[inline(always)]
    fn flow(&self, flow: &Flow) -> u64 {
        let ports = u32::from(u16::from_le_bytes(flow.source_port))
            | u32::from(u16::from_le_bytes(flow.destination_port)) << 16;
        let source = flow.source.words();
        let destination = flow.destination.words();
        let sum = self
            .word(MAX_WORDS)
            .wrapping_add(self.pair(0, ports, flow.protocol))
            .wrapping_add(self.pair(2, source[3], destination[3]));
        if flow.destination.is_v4() {
            return mix(sum);
        }
        mix(sum
            .wrapping_add(self.pair(4, source[0], destination[0]))
            .wrapping_add(self.pair(6, source[1], destination[1]))
            .wrapping_add(self.pair(8, source[2], destination[2])))
    }

    /// Hashes a service's key for the service index.
    #[must_use]
    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> u64 {
        let words = key.address.words();
        let rest = u32::from(u16::from_le_bytes(key.port)) | u32::from(key.protocol) << 16;
        let start =
            if key.address.is_v4() { self.ipv4_start() } else { self.start(words[0], words[1], words[2]) };
        mix(start.wrapping_add(self.pair(0, rest, words[3])))
    }

    /// What [`Self::service`] begins with for every IPv4 address. The XDP program reads it, where it would reckon the
    /// same for each packet.
    #[must_use]
    #[inline(always)]
    fn ipv4_start(&self) -> u64 {
        let words = Address::from_v4([0; 4]).words();
        self.start(words[0], words[1], words[2])
    }

    /// What the first three words of an address come to.
    #[must_use]
    #[inline(always)]
    fn start(&self, first: u32, second: u32, third: u32) -> u64 {
        self.word(MAX_WORDS).wrapping_add(self.pair(2, first, second)).wrapping_add(self.pair(4, third, 0))
    }

    /// The product of two keyed words.
    #[must_use]
    #[inline(always)]
    fn pair(&self, at: usize, x: u32, y: u32) -> u64 {
        let left = self.word(at).wrapping_add(u64::from(x));
        left.wrapping_mul(self.word(at + 1).wrapping_add(u64::from(y)))
    }
}

impl KeyWords for HashKey {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.0[index]
    }
}

/// A bijection of 64-bit words after which every bit depends on every bit (the variant 13 constants of Stafford's
/// mixers, as in SplitMix64).
#[inline(always)]
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 32)
}

/// The fleet-wide seed: what keys every hash and every table. Secret, 128 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(secret)")
    }
}

#[cfg(feature = "alloc")]
impl Seed {
    /// The keys of the flow hash.
    #[must_use]
    pub fn flow_key(&self) -> HashKey {
        self.hash_key(b"flow")
    }

    /// The keys of the service index.
    #[must_use]
    pub fn index_key(&self) -> HashKey {
        self.hash_key(b"service index")
    }

    /// Tells this seed from others without telling it.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.sip(b"fingerprint", 0)
    }

    fn hash_key(&self, purpose: &[u8]) -> HashKey {
        let mut words = [0; MAX_WORDS + 1];
        for (n, word) in (0u64..).zip(&mut words) {
            *word = self.sip(purpose, n);
        }
        HashKey(words)
    }

    /// SipHash-2-4 of `data` and `n`, keyed by the seed.
    #[must_use]
    pub fn sip(&self, data: &[u8], n: u64) -> u64 {
        use core::hash::Hasher as _;
        let mut hasher = siphasher::sip::SipHasher24::new_with_key(&self.0);
        hasher.write(data);
        hasher.write(&n.to_le_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
#[cfg(feature = "alloc")]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::address::Address;
    use crate::service::TableRef;

    /// A prime, and small enough that few flows fill every cell.
    const CELLS: TableRef = TableRef { base: 0, length: 1_009 };

    /// How many flows each pattern has, about a hundred per cell.
    const FLOWS: u32 = 100_000;

    fn key(seed: u8) -> HashKey {
        Seed([seed; 16]).flow_key()
    }

    fn v4(source: u32, source_port: u16) -> Flow {
        let destination = Address::from_v4([192, 0, 2, 1]);
        flow(Address::from_v4(source.to_be_bytes()), destination, source_port)
    }

    fn v6(source: u128, source_port: u16) -> Flow {
        let destination: u128 = 0x2001_0db8 << 96 | 1;
        flow(Address::from_v6(source.to_be_bytes()), Address::from_v6(destination.to_be_bytes()), source_port)
    }

    fn flow(source: Address, destination: Address, source_port: u16) -> Flow {
        let (source_port, destination_port) = (source_port.to_be_bytes(), 443u16.to_be_bytes());
        Flow { source, destination, source_port, destination_port, protocol: 6 }
    }

    fn cell(key: &HashKey, flow: &Flow) -> usize {
        CELLS.slot_of((key.flow(flow) >> 32) as u32) as usize
    }

    /// By how many standard deviations the chi-square statistic of the cells exceeds what chance gives.
    fn unevenness(key: &HashKey, flows: impl Iterator<Item = Flow>) -> f64 {
        let mut cells = [0u32; CELLS.length as usize];
        flows.for_each(|flow| cells[cell(key, &flow)] += 1);
        let mean = f64::from(cells.iter().sum::<u32>()) / f64::from(CELLS.length);
        let chi_square: f64 = cells.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
        let freedom = f64::from(CELLS.length - 1);
        (chi_square - freedom) / (2.0 * freedom).sqrt()
    }

    /// Of 24 seeds, none is worse than chance by more than 4.5 standard deviations (one run of 300,000), and the
    /// median is near what chance gives.
    fn assert_even<I: Iterator<Item = Flow>>(pattern: &str, flows: impl Fn() -> I) {
        let mut all: Vec<f64> = (0..24).map(|seed| unevenness(&key(seed), flows())).collect();
        all.sort_by(f64::total_cmp);
        assert!(all[23] < 4.5, "{pattern}: {all:.1?}");
        assert!(all[12] < 1.0, "{pattern}: {all:.1?}");
    }

    /// Numbers without a pattern (SplitMix64).
    fn random() -> impl Iterator<Item = u64> {
        (1u64..).map(|n| mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    #[test]
    fn random_flows_spread_evenly() {
        assert_even("IPv4", || random().take(FLOWS as usize).map(|n| v4(n as u32, (n >> 32) as u16)));
        assert_even("IPv6", || {
            random().take(FLOWS as usize).map(|n| v6(u128::from(n) << 50 | 1 << 125, n as u16))
        });
    }

    #[test]
    fn ports_of_one_client_spread_evenly() {
        assert_even("IPv4", || (1_024..=u16::MAX).map(|port| v4(0xc633_6407, port)));
        assert_even("IPv4, even ports", || (512..1 << 15).map(|port| v4(0xc633_6407, 2 * port)));
        assert_even("IPv6", || (1_024..=u16::MAX).map(|port| v6(0x2001_0db8 << 96 | 7, port)));
    }

    #[test]
    fn consecutive_clients_spread_evenly() {
        assert_even("IPv4", || (0..FLOWS).map(|n| v4(0x0a00_0000 + n, 40_000)));
        assert_even("IPv4, a client per /24", || (0..1 << 16).map(|n| v4(n << 8 | 1, 40_000)));
        assert_even("IPv6", || (0..FLOWS).map(|n| v6(0x2001_0db8 << 96 | u128::from(n), 40_000)));
        assert_even("IPv6, a client per /64", || {
            (0..FLOWS).map(|n| v6(0x2001_0db8 << 96 | u128::from(n) << 64, 40_000))
        });
    }

    #[test]
    fn clients_and_ports_that_count_up_together_spread_evenly() {
        assert_even("IPv4", || (0..FLOWS).map(|n| v4(0x0a00_0000 + n, n as u16)));
        assert_even("IPv4, few of each", || {
            (0..1 << 16).map(|n| v4(0x0a00_0000 + n / 256, (n % 256) as u16))
        });
    }

    #[test]
    fn every_bit_of_a_hash_is_set_half_the_time() {
        for flows in [|n: u32| v4(0x0a00_0000 + n, 40_000), |n: u32| v6(u128::from(n) << 64, 40_000)] {
            let hashes: Vec<u64> = (0..16_384).map(|n| key(3).flow(&flows(n))).collect();
            for bit in 0..64 {
                let set = hashes.iter().filter(|&hash| hash >> bit & 1 == 1).count();
                assert!((7_872..8_512).contains(&set), "bit {bit}: {set} of 16384");
            }
        }
    }

    #[test]
    fn another_seed_places_flows_elsewhere() {
        let (one, other) = (key(1), key(2));
        let same = (0..10_000).filter(|&n| cell(&one, &v4(n, 1)) == cell(&other, &v4(n, 1))).count();
        assert!(same < 40, "{same} of 10000 flows are in the same cell, about ten is chance");
    }

    #[test]
    fn keys_of_different_purposes_differ() {
        let seed = Seed([7; 16]);
        let (flow, index) = (seed.flow_key(), seed.index_key());
        assert!(flow.0.iter().all(|word| !index.0.contains(word)));
    }

    /// Flows that differ from `flow` in one bit, in the bytes that mean something for its family.
    fn neighbours(flow: Flow) -> impl Iterator<Item = Flow> {
        let v4 = flow.destination.is_v4();
        let bytes: [u8; 40] = bytemuck::cast(flow);
        let hashed = move |at: &usize| !v4 || at % 16 >= 12 || *at >= 32;
        (0..37).filter(hashed).flat_map(move |at| {
            (0..8).map(move |bit| {
                let mut bytes = bytes;
                bytes[at] ^= 1 << bit;
                bytemuck::cast(bytes)
            })
        })
    }

    #[test]
    fn every_bit_of_a_flow_matters() {
        let key = key(5);
        for flow in [v4(0xc633_6407, 40_000), v6(0x2001_0db8 << 96 | 7, 40_000)] {
            let flips = |other: Flow| ((key.flow(&other) ^ key.flow(&flow)) >> 32).count_ones();
            let flips: Vec<u32> = neighbours(flow).map(flips).collect();
            let mean = f64::from(flips.iter().sum::<u32>()) / f64::from(flips.len() as u32);
            assert!(flips.iter().all(|&bits| bits > 0));
            assert!((15.0..17.0).contains(&mean), "{mean} of 32 bits flip on average");
        }
    }

    #[test]
    fn swapping_the_ends_of_a_flow_changes_its_hash() {
        let flow = v4(0xc633_6407, 40_000);
        let ports = Flow { source_port: flow.destination_port, destination_port: flow.source_port, ..flow };
        let addresses = Flow { source: flow.destination, destination: flow.source, ..flow };
        assert_ne!(key(1).flow(&flow), key(1).flow(&ports));
        assert_ne!(key(1).flow(&flow), key(1).flow(&addresses));
    }

    #[test]
    fn every_bit_of_a_service_key_matters() {
        let key = Seed([5; 16]).index_key();
        let service = ServiceKey::new(v6(0, 0).destination, 443, 6);
        let bytes: [u8; 24] = bytemuck::cast(service);
        for bit in 0..19 * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(key.service(&bytemuck::cast(bytes)), key.service(&service), "bit {bit}");
        }
    }
}
