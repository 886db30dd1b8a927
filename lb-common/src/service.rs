//! Services: what clients connect to, and the index that finds one from a packet.
//!
//! Two mmapable arrays. [`Service`] entries are dense, one cache line each. A [`Bucket`] of the index holds up to
//! four `(fingerprint, service)` pairs; a key lives in one of its two candidate buckets (two-choice hashing: Azar,
//! Broder, Karlin and Upfal, "Balanced Allocations", 1994), so a miss costs at most two cache lines and no helper
//! call. Entries never move between buckets, so a reader never misses one that is there.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// What a service is looked up by. `port` 0 serves every port, `protocol` 0 marks the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ServiceKey {
    /// The VIP.
    pub address: Address,
    /// Destination port, network byte order.
    pub port: [u8; 2],
    /// IP protocol number: 6 or 17; 0 for the VIP itself, whatever its protocol.
    pub protocol: u8,
    /// Zero.
    pub _pad: [u8; 5],
}

impl ServiceKey {
    /// A key for `port` in host byte order.
    #[must_use]
    #[inline]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self { address, port: port.to_be_bytes(), protocol, _pad: [0; 5] }
    }

    /// Whether both are the same key: `==` in three comparisons, where that one compares the padding byte by byte.
    #[must_use]
    #[inline]
    pub fn is(&self, other: &Self) -> bool {
        let ours: [u64; 3] = bytemuck::cast(*self);
        let theirs: [u64; 3] = bytemuck::cast(*other);
        ours[0] == theirs[0] && ours[1] == theirs[1] && ours[2] == theirs[2]
    }

    /// The key of the entry that says "this address is a VIP".
    #[must_use]
    #[inline]
    pub const fn vip(address: Address) -> Self {
        Self::new(address, 0, 0)
    }
}

/// A stretch of the arena. Aligned so that it is read and written as one 64-bit word: a reader sees the old table or
/// the new one, never the base of one with the length of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct TableRef {
    /// Index of the first slot in the arena.
    pub base: u32,
    /// Number of slots; 0 means that there is no table.
    pub length: u32,
}

impl TableRef {
    /// The word that holds both halves on a little-endian machine.
    #[must_use]
    #[inline]
    pub const fn to_word(self) -> u64 {
        self.base as u64 | (self.length as u64) << 32
    }

    /// The inverse of [`Self::to_word`].
    #[must_use]
    #[inline]
    pub const fn from_word(word: u64) -> Self {
        Self { base: word as u32, length: (word >> 32) as u32 }
    }

    /// The arena index of the slot of `hash`: multiply and shift in place of a division (Lemire, "Fast Random
    /// Integer Generation in an Interval", 2019).
    #[must_use]
    #[inline]
    pub const fn slot_of(self, hash: u32) -> u32 {
        self.base.wrapping_add(((hash as u64 * self.length as u64) >> 32) as u32)
    }
}

/// Which flows of a service are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Track {
    /// Those of moved slots.
    Moved = 0,
    /// All.
    Always = 1,
    /// None.
    Never = 2,
}

/// One service, as the data plane sees it: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Service {
    /// What it is looked up by.
    pub key: ServiceKey,
    /// Global id of the backend with index 0.
    pub first_backend: u32,
    /// Entries reserved for its backends.
    pub capacity: u32,
    /// Where its lookup table lies.
    pub table: TableRef,
    /// The table before its length, or what chooses its slots, was changed. All flows of before still follow it;
    /// length 0: there is none.
    pub previous_table: TableRef,
    /// Digest of the table, equal on every balancer with the same configuration and health.
    pub digest: u64,
    /// How many table versions were published.
    pub generation: u32,
    /// One of [`Track`].
    pub track: u8,
    /// Leading bits of the source address, of the VIP's family, that choose the slot; 0: the whole flow does.
    pub source_bits: u8,
    /// What `source_bits` was while `previous_table` was the table.
    pub previous_source_bits: u8,
    /// `OPTION_*` of [`crate::policy`].
    pub options: u8,
}

/// Entries in one bucket.
pub const BUCKET_ENTRIES: usize = 4;

/// One bucket of the service index. Each entry is `fingerprint << 32 | service + 1`; 0 is a free one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Bucket {
    /// The pairs, in no order.
    pub entries: [u64; BUCKET_ENTRIES],
}

/// Buckets that the index of `services` services has: twice as many, so that two choices never fill one in practice.
#[must_use]
pub const fn bucket_count(services: u32) -> u32 {
    services.saturating_mul(2)
}

/// Where a key may be, from its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Its two buckets; they may coincide.
    pub buckets: [u32; 2],
    /// What its entry's upper half is.
    pub fingerprint: u32,
}

impl Candidates {
    /// Splits `hash` for an index of `buckets` buckets.
    #[must_use]
    #[inline]
    pub const fn new(hash: u64, buckets: u32) -> Self {
        let low = hash as u32;
        let high = (hash >> 32) as u32;
        Self {
            buckets: [
                ((low as u64 * buckets as u64) >> 32) as u32,
                ((high as u64 * buckets as u64) >> 32) as u32,
            ],
            fingerprint: low ^ high,
        }
    }

    /// The entry of `service` under this key.
    #[must_use]
    #[inline]
    pub const fn entry(self, service: u32) -> u64 {
        (self.fingerprint as u64) << 32 | (service as u64 + 1)
    }

    /// The service that `entry` names if its fingerprint is this key's.
    #[must_use]
    #[inline]
    pub const fn service_in(self, entry: u64) -> Option<u32> {
        if (entry >> 32) as u32 == self.fingerprint && entry as u32 != 0 {
            Some(entry as u32 - 1)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_of_covers_the_stretch_and_no_more() {
        let table = TableRef { base: 100, length: 65_537 };
        assert_eq!(table.slot_of(0), 100);
        assert_eq!(table.slot_of(u32::MAX), 100 + 65_536);
    }

    #[test]
    fn table_ref_survives_its_word() {
        let table = TableRef { base: 7, length: 65_537 };
        assert_eq!(TableRef::from_word(table.to_word()), table);
        assert_eq!(bytemuck::cast::<TableRef, u64>(table).to_le(), table.to_word());
    }

    #[test]
    fn index_entry_names_its_service_and_only_under_its_fingerprint() {
        let candidates = Candidates::new(0x0123_4567_89ab_cdef, 64);
        assert_eq!(candidates.service_in(candidates.entry(0)), Some(0));
        assert_eq!(candidates.service_in(candidates.entry(41)), Some(41));
        assert_eq!(candidates.service_in(0), None);
        assert_eq!(Candidates::new(99, 64).service_in(candidates.entry(41)), None);
        assert!(candidates.buckets.iter().all(|&bucket| bucket < 64));
    }
}
