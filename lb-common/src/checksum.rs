//! The Internet checksum (RFC 1071), and how to change one without the packet at hand (RFC 1624, equation 3).
//!
//! Nothing here swaps bytes, and nothing has to: a one's complement sum of byte-swapped words is the byte-swapped sum
//! (RFC 1071 section 2 (B)), so words are loaded and stored in native order. Two kinds of value keep the complement
//! in its place: a [`Sum`] is a running total, `[u8; 2]` is what stands in a header.

/// A one's complement sum of 16-bit words, not yet folded. Exact for 2³² additions.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The total that a header's checksum stands for.
    #[inline]
    pub const fn of_header(check: [u8; 2]) -> Self {
        Self(!u16::from_ne_bytes(check) as u64)
    }

    /// Adds one 16-bit word as it stands in the packet.
    #[inline]
    pub const fn add_word(self, word: [u8; 2]) -> Self {
        Self(self.0.wrapping_add(u16::from_ne_bytes(word) as u64))
    }

    /// Adds bytes that begin at an even distance from the start of what is summed; an odd last one counts as if a
    /// zero followed.
    #[inline]
    pub fn add_bytes<const N: usize>(self, bytes: &[u8; N]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum = words.iter().fold(self.0, |sum, &word| sum.wrapping_add(u32::from_ne_bytes(word).into()));
        Self(sum.wrapping_add(last_word(rest).into()))
    }

    /// Adds another sum.
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Takes bytes out again, under the same rules.
    #[inline]
    pub fn remove_bytes<const N: usize>(self, bytes: &[u8; N]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum =
            words.iter().fold(self.0, |sum, &word| sum.wrapping_add((!u32::from_ne_bytes(word)).into()));
        Self(sum.wrapping_add((!last_word(rest)).into()))
    }

    /// Folds and complements: the value for the header. UDP has to send `ff ff` where this is zero (RFC 768).
    #[must_use]
    #[inline]
    pub const fn finish(self) -> [u8; 2] {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        // 33 bits take three folds: the first leaves 18 bits, the second 17, the third 16.
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        (!(sum as u16)).to_ne_bytes()
    }
}

/// What is left after whole 32-bit words, zero-padded to one.
#[inline]
const fn last_word(rest: &[u8]) -> u32 {
    match *rest {
        [a] => u32::from_ne_bytes([a, 0, 0, 0]),
        [a, b] => u32::from_ne_bytes([a, b, 0, 0]),
        [a, b, c] => u32::from_ne_bytes([a, b, c, 0]),
        _ => 0,
    }
}

/// The checksum of an IPv4 header without options, whatever its checksum field holds.
#[must_use]
#[inline]
pub fn ipv4_header(header: &[u8; 20]) -> [u8; 2] {
    let mut header = *header;
    header[10] = 0;
    header[11] = 0;
    Sum::default().add_bytes(&header).finish()
}

/// The checksum `check` after `old` became `new` somewhere at an even distance from the start.
#[must_use]
#[inline]
pub fn update<const N: usize>(check: [u8; 2], old: &[u8; N], new: &[u8; N]) -> [u8; 2] {
    Sum::of_header(check).remove_bytes(old).add_bytes(new).finish()
}

/// The checksum of an IPv4 header whose TTL became one less, which is 256 less in its word (RFC 1141).
#[must_use]
#[inline]
pub const fn after_hop(check: [u8; 2]) -> [u8; 2] {
    let (sum, carry) = u16::from_be_bytes(check).overflowing_add(0x0100);
    sum.wrapping_add(carry as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, as slowly as it can be said.
    fn naive(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    /// One's complement has two zeros, which stand for the same total.
    fn total(check: [u8; 2]) -> u16 {
        u16::from_be_bytes(check) % 0xffff
    }

    fn check_of<const N: usize>(bytes: &[u8]) -> ([u8; 2], [u8; 2]) {
        let bytes: &[u8; N] = bytes[..N].try_into().unwrap();
        (Sum::default().add_bytes(bytes).finish(), naive(bytes))
    }

    #[test]
    fn known_header_has_its_known_checksum() {
        let header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(ipv4_header(&header), [0xb8, 0x61]);
    }

    #[test]
    fn checksum_after_a_hop_is_that_of_the_header_then() {
        for id in 0..=u16::MAX {
            let [a, b] = id.to_be_bytes();
            let mut header = [0x45, 0, 0, 40, a, b, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
            let before = ipv4_header(&header);
            header[8] -= 1;
            assert_eq!(total(after_hop(before)), total(ipv4_header(&header)), "{before:?}");
        }
    }

    #[test]
    fn header_with_its_checksum_in_place_sums_to_zero() {
        let mut header = [0x45, 0, 0, 40, 1, 2, 0, 0, 64, 4, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
        let check = ipv4_header(&header);
        header[10..12].copy_from_slice(&check);
        assert_eq!(Sum::default().add_bytes(&header).finish(), [0, 0]);
    }

    #[test]
    fn sum_of_the_largest_words_folds_whole() {
        assert_eq!(Sum(u64::MAX).finish(), [0, 0]);
        assert_eq!(Sum(u64::from(u32::MAX) << 1).finish(), [0, 0]);
        assert_eq!(Sum::default().finish(), [0xff, 0xff]);
        // One: needs every fold.
        assert_eq!(Sum(0x0001_0000_ffff_ffff).finish(), (!1u16).to_ne_bytes());
    }

    proptest! {
        #[test]
        fn sum_of_any_bytes_is_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 60)) {
            for (sum, naive) in [
                check_of::<1>(&bytes), check_of::<2>(&bytes), check_of::<3>(&bytes), check_of::<8>(&bytes),
                check_of::<20>(&bytes), check_of::<37>(&bytes), check_of::<40>(&bytes), check_of::<60>(&bytes),
            ] {
                prop_assert_eq!(sum, naive);
            }
        }

        #[test]
        fn sum_in_parts_is_the_sum_of_the_whole(head in any::<[u8; 20]>(), word in any::<[u8; 2]>(), tail in any::<[u8; 9]>()) {
            let parts = Sum::default().add_bytes(&head).add_word(word).add_bytes(&tail).finish();
            let whole: Vec<u8> = head.into_iter().chain(word).chain(tail).collect();
            prop_assert_eq!(parts, naive(&whole));
        }

        #[test]
        fn ipv4_header_ignores_what_its_field_holds(mut header in any::<[u8; 20]>()) {
            let check = ipv4_header(&header);
            header[10..12].fill(0);
            prop_assert_eq!(check, naive(&header));
        }

        #[test]
        fn updated_checksum_is_the_one_computed_afresh(
            mut packet in any::<[u8; 40]>(), new in any::<[u8; 6]>(), word in 0usize..17,
        ) {
            let check = naive(&packet);
            let field = &mut packet[2 * word..2 * word + 6];
            let old: [u8; 6] = (&*field).try_into().unwrap();
            field.copy_from_slice(&new);
            prop_assert_eq!(total(update(check, &old, &new)), total(naive(&packet)));
        }

        #[test]
        fn update_by_an_odd_number_of_bytes_pads_like_the_sum(mut tail in any::<[u8; 3]>(), new in any::<[u8; 3]>()) {
            let check = naive(&tail);
            let updated = update(check, &tail, &new);
            tail = new;
            prop_assert_eq!(total(updated), total(naive(&tail)));
        }
    }
}
