//! IP addresses as map fields: always 16 bytes, IPv4 as its IPv4-mapped IPv6 form (`::ffff:a.b.c.d`, RFC 4291
//! section 2.5.5.2), so that one key layout serves both families. Network byte order.

use bytemuck::{Pod, Zeroable};

/// An IP address; IPv4 is IPv4-mapped.
///
/// Taken apart and put together as whole words throughout: what is moved byte by byte in the source is moved byte by
/// byte in BPF. Aligned to eight bytes, like every struct that a program builds on its stack: the compiler moves addresses as
/// 64-bit words, and the verifier refuses a stack access that is not aligned to its own size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Address {
    /// Network byte order.
    pub octets: [u8; 16],
}

impl Address {
    /// An IPv6 address.
    #[must_use]
    #[inline]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self { octets }
    }

    /// Maps an IPv4 address into the common form.
    #[must_use]
    #[inline]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let mapped = (u32::from_le_bytes(octets) as u128) << 96 | 0xffff << 80;
        Self { octets: mapped.to_le_bytes() }
    }

    /// Its leading `bits`, counted in the mapped form; the others zero. All of it from 128 on.
    #[must_use]
    #[inline]
    pub const fn prefix(&self, bits: u32) -> Self {
        let [high, low] = [leading_ones(bits), leading_ones(bits.saturating_sub(64))];
        // Not one shift of 128 bits, for which BPF has no instruction.
        let mask = high.to_be() as u128 | (low.to_be() as u128) << 64;
        Self { octets: (u128::from_le_bytes(self.octets) & mask).to_le_bytes() }
    }

    /// The address as two words, native byte order.
    #[must_use]
    #[inline]
    pub fn halves(&self) -> [u64; 2] {
        bytemuck::cast(*self)
    }

    /// The inverse of [`Self::halves`].
    #[must_use]
    #[inline]
    pub fn from_halves(halves: [u64; 2]) -> Self {
        bytemuck::cast(halves)
    }

    /// The last four bytes: the IPv4 address in an IPv4-mapped one.
    #[must_use]
    #[inline]
    pub const fn v4_octets(&self) -> [u8; 4] {
        self.words()[3].to_le_bytes()
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    #[inline]
    pub fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.words();
        a == 0 && b == 0 && c == 0xffff_0000
    }

    /// The address as four little-endian words, the form in which it is hashed.
    #[must_use]
    #[inline]
    pub const fn words(&self) -> [u32; 4] {
        let all = u128::from_le_bytes(self.octets);
        [all as u32, (all >> 32) as u32, (all >> 64) as u32, (all >> 96) as u32]
    }
}

/// A word whose first `bits` are ones.
const fn leading_ones(bits: u32) -> u64 {
    match bits {
        0 => 0,
        1..64 => u64::MAX << (64 - bits),
        _ => u64::MAX,
    }
}

#[cfg(feature = "alloc")]
mod std_forms {
    use core::net::{IpAddr, Ipv6Addr};

    use super::Address;

    impl From<IpAddr> for Address {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(v4) => Self::from_v4(v4.octets()),
                IpAddr::V6(v6) => Self::from_v6(v6.octets()),
            }
        }
    }

    impl From<Address> for IpAddr {
        fn from(address: Address) -> Self {
            Ipv6Addr::from(address.octets).to_canonical()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_address_is_v4_and_gives_its_octets_back() {
        let address = Address::from_v4([192, 0, 2, 7]);
        assert!(address.is_v4());
        assert_eq!(address.v4_octets(), [192, 0, 2, 7]);
    }

    #[test]
    fn v6_address_is_not_v4() {
        let mut address = Address::from_v4([192, 0, 2, 7]);
        address.octets[0] = 0x20;
        assert!(!address.is_v4());
    }
}
