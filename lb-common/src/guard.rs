//! Who may open a flow with a service, and how often.
//!
//! What the lists of a service say of a source is worked out when they are read: a trie of prefixes gives one [`Rule`],
//! whatever number of lists there is and however they overlap, and is replaced as a whole.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// How often something may be done, as [`crate::budget`] counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Rate {
    /// Nanoseconds between two; 0: as often as one likes.
    pub interval_ns: u64,
    /// How far ahead of the clock it may be done.
    pub burst_ns: u64,
}

impl Rate {
    /// So many a second, `burst` of them at once; neither may be 0.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval_ns = 1_000_000_000 / per_second as u64;
        Self { interval_ns, burst_ns: interval_ns * (burst as u64 - 1) }
    }

    /// Whether there is a bound.
    #[must_use]
    #[inline]
    pub const fn is_bounded(&self) -> bool {
        self.interval_ns != 0
    }
}

/// The part of a service's policy that is read where its options have [`crate::policy::OPTION_GUARD`] or
/// [`crate::policy::OPTION_LIMITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Guard {
    /// Flows that one source may open.
    pub source: Rate,
    /// Flows that all may open.
    pub service: Rate,
    /// Leading bits of an address that are one source, counted in the mapped form.
    pub source_bits: u8,
    /// What becomes of a flow whose backend is full: one of [`OnFull`].
    pub on_full: u8,
    /// Zero.
    pub _pad: [u8; 6],
}

/// What becomes of a flow that opens while its backend has as many as it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum OnFull {
    /// Another backend gets it.
    #[default]
    Next = 0,
    /// It is refused.
    Refuse = 1,
}

/// What the lists of a service say of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rule {
    /// It may come.
    Pass = 0,
    /// A list denies it.
    Denied = 1,
    /// Some are allowed, and it is none of them.
    NotAllowed = 2,
}

/// A prefix as the key of a trie: `bpf_lpm_trie_key` (linux/bpf.h), whose data is the family and then the address. So an
/// IPv4 prefix is told from any other within the first eight bytes, which the kernel compares at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Prefix {
    /// Leading bits of `family` and `address` that count.
    pub bits: u32,
    /// 4 or 6, or 0 in the prefix of all addresses.
    pub family: u32,
    /// The address, network byte order; IPv4 in the first four bytes.
    pub address: [u64; 2],
}

impl Prefix {
    /// What every address has in common.
    pub const ALL: Self = Self { bits: 0, family: 0, address: [0; 2] };

    /// The first `bits` of an address, counted in its own family's form.
    #[must_use]
    pub fn new(address: Address, bits: u8) -> Self {
        let mapped_bits = if address.is_v4() { 96 } else { 0 };
        let host = Self::host(&address.prefix(mapped_bits + u32::from(bits)), address.is_v4());
        Self { bits: 32 + u32::from(bits), ..host }
    }

    /// A single address, as it is looked up.
    #[must_use]
    #[inline]
    pub fn host(address: &Address, is_v4: bool) -> Self {
        let words = address.halves();
        if is_v4 {
            Self { bits: 64, family: 4, address: [words[1] >> 32, 0] }
        } else {
            Self { bits: 160, family: 6, address: words }
        }
    }
}

/// Bytes of a trie's key behind the length: family and address.
pub const PREFIX_DATA: usize = size_of::<Prefix>() - size_of::<u32>();

/// A source of flows of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Source {
    /// Its address, or as much of it as counts.
    pub address: Address,
    /// Number of the service.
    pub service: u32,
    /// Zero.
    pub _pad: u32,
}

/// What was refused of a service's packets, by cause. One per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Refusals {
    /// In the order of [`Refusal::ALL`].
    pub packets: [u64; Refusal::COUNT],
}

/// Why a service's packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refusal {
    /// Nobody sends it in good faith.
    Malformed = 0,
    /// A list denies its source.
    Denied,
    /// No list allows its source.
    NotAllowed,
    /// Its source has opened too many flows.
    SourceRate,
    /// The service was asked for too many.
    ServiceRate,
    /// No backend that was tried has room.
    BackendFull,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Denied,
        Self::NotAllowed,
        Self::SourceRate,
        Self::ServiceRate,
        Self::BackendFull,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its name in `sluice status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Denied => "denied",
            Self::NotAllowed => "not_allowed",
            Self::SourceRate => "source_rate",
            Self::ServiceRate => "service_rate",
            Self::BackendFull => "backend_full",
        }
    }
}

/// What a backend may be given; all zero: as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Limit {
    /// Flows that it may be given.
    pub new: Rate,
    /// Flows that it may have at a time; 0: any number.
    pub connections: u32,
    /// Zero.
    pub _pad: u32,
}

/// What a backend with a limit has. Shared by all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Load {
    /// When the next flow is due, `CLOCK_MONOTONIC` nanoseconds.
    pub due_ns: u64,
    /// Flows that it has, as far as is known: entries that are pushed out of a table are not seen to end. The daemon
    /// corrects it, and what it is corrected by may take it below zero for a moment.
    pub flows: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_what_may_be_done_at_once() {
        assert_eq!(Rate::new(10, 1), Rate { interval_ns: 100_000_000, burst_ns: 0 });
        assert_eq!(Rate::new(1_000, 5).burst_ns, 4_000_000);
    }

    #[test]
    fn ipv4_prefix_differs_from_others_within_eight_bytes() {
        let prefix = Prefix::new(Address::from_v4([192, 0, 2, 129]), 25);
        assert_eq!(prefix.bits, 32 + 25);
        let data: [u8; 24] = bytemuck::cast(prefix);
        assert_eq!(data[4..], [4, 0, 0, 0, 192, 0, 2, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn address_begins_with_the_prefixes_that_hold_it() {
        let address = Address::from_v6([0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let host = Prefix::host(&address, false);
        assert_eq!(host, Prefix::new(address, 128));
        let network = Prefix::new(address, 40);
        assert_eq!((network.bits, network.address[0].to_le_bytes()), (72, [0x20, 1, 0xd, 0xb8, 1, 0, 0, 0]));
    }
}
