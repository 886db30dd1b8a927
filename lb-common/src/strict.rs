//! What nobody sends in good faith.

use crate::address::Address;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// One bit for each combination of TCP's six oldest control bits: whether it contradicts itself.
const IMPOSSIBLE: u64 = {
    let mut all = 0;
    let mut flags = 0;
    while flags < 64 {
        if contradicts(flags) {
            all |= 1 << flags;
        }
        flags += 1;
    }
    all
};

/// At most one of SYN, FIN and RST says what a segment is for, and any but the first of a connection acknowledges (RFC
/// 9293 section 3.10.7).
const fn contradicts(flags: u8) -> bool {
    let purposes = (flags & (SYN | FIN | RST)).count_ones();
    purposes > 1 || flags & (SYN | RST | ACK) == 0
}

/// Whether a TCP segment with these control bits is one that no stack sends. ECE and CWR (RFC 3168) go with any others.
#[must_use]
#[inline]
pub const fn is_impossible(flags: u8) -> bool {
    IMPOSSIBLE >> (flags & 0x3f) & 1 != 0
}

/// The same as a number, for who cannot afford a branch.
#[must_use]
#[inline]
pub const fn impossible_bit(flags: u8) -> u64 {
    IMPOSSIBLE >> (flags & 0x3f) & 1
}

/// One bit for each four values of an IPv4 address's first byte: whether an address with one of them may be bogus.
const SUSPECT: u64 = 1 | 1 << (127 / 4) | !0 << (224 / 4);

/// 1 where an IPv4 source, by the lower half of its address, may be one that [`is_bogus`] says no host can have; 0 where it
/// is none.
#[must_use]
#[inline]
pub const fn suspect_bit_v4(low: u64) -> u64 {
    SUSPECT >> ((low >> 34) & 0x3f) & 1
}

/// Whether an IPv6 source, by the upper half of its address, may be one that [`is_bogus`] says no host can have.
#[must_use]
#[inline]
pub const fn is_suspect_v6(high: u64) -> bool {
    high == 0 || high as u8 == 0xff
}

/// Whether no host can have `source`: IPv4's "this network", loopback, multicast and reserved ranges (RFC 6890); IPv6's
/// unspecified, loopback, IPv4-mapped and multicast addresses (RFC 4291 section 2.4).
#[must_use]
#[inline]
pub fn is_bogus(source: &Address, is_v4: bool) -> bool {
    let [high, low] = source.halves();
    if is_v4 {
        let first = (low >> 32) as u8;
        return first == 0 || first == 127 || first >= 224;
    }
    let is_special = high == 0 && (low == 0 || low == 1_u64.to_be() || low as u32 == 0xffff_0000);
    is_special || high as u8 == 0xff
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const PSH: u8 = 0x08;
    const URG: u8 = 0x20;

    #[test]
    fn stacks_send_nothing_impossible() {
        for flags in [SYN, SYN | ACK, ACK, ACK | PSH, ACK | URG, FIN | ACK, FIN | PSH | ACK, RST, RST | ACK] {
            assert!(!is_impossible(flags), "{flags:#x}");
            assert!(!is_impossible(flags | 0xc0), "{flags:#x} with ECE and CWR");
        }
    }

    #[test]
    fn scans_are_impossible() {
        let christmas = FIN | PSH | URG;
        for flags in
            [0, FIN, URG, PSH, christmas, SYN | FIN, SYN | RST, FIN | RST | ACK, SYN | FIN | ACK, 0x3f]
        {
            assert!(is_impossible(flags), "{flags:#x}");
        }
    }

    #[test]
    fn bogus_ipv4_sources_are_those_that_no_host_has() {
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
            assert!(is_bogus(&of(text), true), "{text}");
        }
        for text in ["1.0.0.1", "10.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255", "169.254.1.1"]
        {
            assert!(!is_bogus(&of(text), true), "{text}");
        }
    }

    #[test]
    fn bogus_ipv6_sources_are_those_that_no_host_has() {
        for text in ["::", "::1", "::ffff:192.0.2.1", "ff02::1", "ff0e::7"] {
            assert!(is_bogus(&of_v6(text), false), "{text}");
        }
        for text in ["::2", "2001:db8::1", "fe80::1", "fd00::1", "64:ff9b::c000:201", "::1:0:0:1"] {
            assert!(!is_bogus(&of_v6(text), false), "{text}");
        }
    }

    #[test]
    fn all_that_is_impossible_or_bogus_is_suspect() {
        for flags in 0..=u8::MAX {
            assert_eq!(impossible_bit(flags) == 1, is_impossible(flags), "{flags:#04x}");
        }
        let mut innocent = 0;
        for first in 0..=u8::MAX {
            let address = Address::from_v4([first, 1, 2, 3]);
            let suspect = suspect_bit_v4(address.halves()[1]) == 1;
            assert!(suspect || !is_bogus(&address, true), "{first}");
            innocent += u32::from(suspect && !is_bogus(&address, true));
        }
        assert_eq!(innocent, 6, "1 to 3 and 124 to 126");
        for text in ["::", "::1", "::ffff:192.0.2.1", "ff02::1", "ff0e::7"] {
            assert!(is_suspect_v6(of_v6(text).halves()[0]), "{text}");
        }
        for text in ["2001:db8::1", "fe80::1", "fd00::1"] {
            assert!(!is_suspect_v6(of_v6(text).halves()[0]), "{text}");
        }
    }

    fn of(text: &str) -> Address {
        Address::from_v4(text.parse::<Ipv4Addr>().expect("an address").octets())
    }

    fn of_v6(text: &str) -> Address {
        Address::from_v6(text.parse::<Ipv6Addr>().expect("an address").octets())
    }
}
