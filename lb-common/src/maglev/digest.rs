//! The digest of a table. Not cryptographic: it shows that two balancers differ, it does not stop one from lying.

/// The golden ratio's 64-bit fraction, whose multiples are spread evenly (Knuth, TAOCP volume 3, section 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Sums over the slots the owner's hashed name times a factor of the slot's own. The factors are no linear function
/// of the slot, or two members that swap slots with equal sums would go unseen.
pub(super) fn of(slots: &[u16], names: &[u64]) -> u64 {
    let terms = (1u64..).zip(slots).map(|(place, &owner)| {
        let factor = place.wrapping_mul(SPREAD);
        let name = names.get(usize::from(owner)).copied().unwrap_or(0);
        name.wrapping_mul(factor ^ (factor >> 32))
    });
    terms.fold((slots.len() as u64).wrapping_mul(SPREAD), u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_swap_of_two_slots_shows() {
        let names = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];
        let slots = [0, 1, 1, 0, 0, 1];
        for (a, b) in [(0, 1), (0, 2), (1, 3), (3, 5)] {
            let mut swapped = slots;
            swapped.swap(a, b);
            assert_ne!(of(&swapped, &names), of(&slots, &names), "{a} {b}");
        }
        assert_ne!(of(&[0, 1, 1, 0], &names), of(&[1, 0, 0, 1], &names));
    }

    #[test]
    fn length_of_an_empty_table_shows() {
        let none = crate::slot::NONE;
        assert_ne!(of(&[none, none], &[]), of(&[none, none, none], &[]));
    }
}
