//! `affinity`: how much of a flow chooses its backend.

use std::net::IpAddr;

use toml::de::DeValue;

use super::{schema, section::Entry};

/// Bits of a client's address that choose, by the family of the VIP; 0: the whole flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affinity {
    ipv4: u8,
    ipv6: u8,
}

impl Affinity {
    pub(super) const FLOW: Self = Self { ipv4: 0, ipv6: 0 };
    const SOURCE: Self = Self { ipv4: 32, ipv6: 128 };

    /// What it means for a service with this VIP.
    pub(super) const fn source_bits(self, vip: IpAddr) -> u8 {
        if vip.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// A word, or the lengths of prefixes.
pub(super) fn affinity(entry: &Entry<'_>) -> Option<Affinity> {
    const EXPECTED: &str =
        "expected \"flow\", \"source\" or prefix lengths, such as { ipv4 = 24, ipv6 = 56 }";
    match entry.value {
        DeValue::Table(_) => prefixes(entry),
        DeValue::String(_) => entry.choice(&[("flow", Affinity::FLOW), ("source", Affinity::SOURCE)]),
        _ => entry.refuse_type(EXPECTED),
    }
}

/// A family that is not mentioned counts whole: its clients have an address each.
fn prefixes(entry: &Entry<'_>) -> Option<Affinity> {
    let section = entry.section(&schema::AFFINITY)?;
    let bits = |family: &str, most: u32| {
        let written = section.optional(family, |entry| entry.integer(&(1..=most)));
        written.map_or(most as u8, |written| written.value as u8)
    };
    let affinity = Affinity { ipv4: bits("ipv4", 32), ipv6: bits("ipv6", 128) };
    if schema::AFFINITY.keys.iter().any(|family| section.mentions(family)) {
        return Some(affinity);
    }
    entry.refuse(
        "the prefixes of neither family are given",
        "expected one or both lengths, such as { ipv4 = 24, ipv6 = 56 }",
    )
}
