//! One member's walk over the slots: `offset`, `offset + skip`, `offset + 2 skip`, … modulo the length, which is
//! prime, so that the walk visits every slot before it comes back.

/// Where a member's walk goes on.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    next: u32,
    skip: u32,
}

impl Walk {
    /// The walk of the member with this hash. `length` is a prime.
    pub(super) const fn new(hash: u64, length: u32) -> Self {
        Self { next: scale(hash as u32, length), skip: 1 + scale((hash >> 32) as u32, length - 1) }
    }

    /// Walks to the first open slot, and past it. There has to be one.
    #[inline]
    pub(super) fn next_open(&mut self, open: &[bool]) -> u32 {
        let length = open.len() as u32;
        let mut slot = self.next;
        while !open[slot as usize] {
            slot = self.after(slot, length);
        }
        self.next = self.after(slot, length);
        slot
    }

    /// The same for slots in a list, without the steps in between; gives the place in the list. Computes for each how
    /// many steps away it is, which beats walking once the open slots are few.
    pub(super) fn nearest_open(&mut self, open: &[u32], length: u32) -> usize {
        let steps = self.steps(length);
        // Distance and place in one word, whose minimum takes no branch.
        let keys = (0u64..).zip(open).map(|(place, &slot)| u64::from(steps(slot)) << 32 | place);
        let place = keys.min().expect("the list of open slots is not empty") as u32 as usize;
        self.next = self.after(open[place], length);
        place
    }

    /// Brings the `count` slots to the front that the walk meets first, of more than so many.
    pub(super) fn sort_out(&self, slots: &mut [u32], count: usize, length: u32) {
        let steps = self.steps(length);
        slots.select_nth_unstable_by_key(count, |&slot| steps(slot));
    }

    /// How many steps away a slot is.
    fn steps(&self, length: u32) -> impl Fn(u32) -> u32 + use<> {
        let (next, times) = (self.next, Multiplier::new(inverse(self.skip, length), length));
        move |slot| times.times(if slot < next { slot + length - next } else { slot - next })
    }

    /// Where the walk goes from `slot`. Adds what wraps around as well, so that the carry alone chooses and a step
    /// takes two cycles.
    #[inline]
    const fn after(&self, slot: u32, length: u32) -> u32 {
        let (wrapped, past_end) = slot.overflowing_add(self.skip.wrapping_sub(length));
        if past_end { wrapped } else { slot + self.skip }
    }
}

/// Maps 32 random bits to `0..range` without a division.
const fn scale(random: u32, range: u32) -> u32 {
    ((random as u64 * range as u64) >> 32) as u32
}

/// Multiplication by a constant modulo `length`, without a division (Shoup's precomputed quotient; Harvey, "Faster
/// arithmetic for number-theoretic transforms", 2014, section 2).
struct Multiplier {
    factor: u32,
    quotient: u32,
    length: u32,
}

impl Multiplier {
    const fn new(factor: u32, length: u32) -> Self {
        let quotient = (((factor as u64) << 32) / length as u64) as u32;
        Self { factor, quotient, length }
    }

    #[inline]
    const fn times(&self, x: u32) -> u32 {
        let whole = ((self.quotient as u64 * x as u64) >> 32) as u32;
        // The estimate is at most one too small, so what is left is below twice the length.
        let rest = self.factor.wrapping_mul(x).wrapping_sub(whole.wrapping_mul(self.length));
        if rest < self.length { rest } else { rest - self.length }
    }
}

/// The inverse of `x` modulo a prime, by Euclid's extended algorithm. `x` is neither 0 nor a multiple.
fn inverse(x: u32, prime: u32) -> u32 {
    let (mut a, mut b) = (prime, x);
    let (mut of_a, mut of_b) = (0i64, 1i64);
    while b > 1 {
        let quotient = a / b;
        (a, b) = (b, a % b);
        (of_a, of_b) = (of_b, of_a - i64::from(quotient) * of_b);
    }
    of_b.rem_euclid(i64::from(prime)) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::MAX_LENGTH;
    use super::*;

    fn prime() -> impl Strategy<Value = u32> {
        prop::sample::select(&[2, 3, 5, 7, 11, 101, 251, 1_009][..])
    }

    proptest! {
        #[test]
        fn walk_visits_every_slot_once(hash: u64, length in prime()) {
            let (mut walk, open) = (Walk::new(hash, length), vec![true; length as usize]);
            let mut visited: Vec<u32> = (0..length).map(|_| walk.next_open(&open)).collect();
            visited.sort_unstable();
            prop_assert!(visited.into_iter().eq(0..length));
        }

        #[test]
        fn nearest_slot_is_the_one_that_walking_meets_first(
            hash: u64, length in prime(), picks in prop::collection::btree_set(0u32..1_009, 1..40),
        ) {
            let list: Vec<u32> = picks.into_iter().filter(|&slot| slot < length).collect();
            prop_assume!(!list.is_empty());
            let open: Vec<bool> = (0..length).map(|slot| list.contains(&slot)).collect();
            let (mut walking, mut jumping) = (Walk::new(hash, length), Walk::new(hash, length));
            let met = walking.next_open(&open);
            prop_assert_eq!(list[jumping.nearest_open(&list, length)], met);
            prop_assert_eq!(jumping.next, walking.next);
        }

        #[test]
        fn slots_that_are_sorted_out_are_those_that_walking_meets_first(
            hash: u64, length in prime(), part in 0usize..40,
            picks in prop::collection::btree_set(0u32..1_009, 1..40),
        ) {
            let mut list: Vec<u32> = picks.into_iter().filter(|&slot| slot < length).collect();
            prop_assume!(!list.is_empty());
            let count = part % list.len();
            let mut open = vec![false; length as usize];
            for &slot in &list {
                open[slot as usize] = true;
            }
            let walk = Walk::new(hash, length);
            walk.sort_out(&mut list, count, length);
            let mut walking = walk.clone();
            let mut met: Vec<u32> = (0..count).map(|_| walking.next_open(&open)).collect();
            met.sort_unstable();
            list[..count].sort_unstable();
            prop_assert_eq!(&list[..count], met);
        }

        #[test]
        fn inverse_times_itself_is_one(x in 1..MAX_LENGTH) {
            prop_assert_eq!(Multiplier::new(inverse(x, MAX_LENGTH), MAX_LENGTH).times(x), 1);
        }

        #[test]
        fn multiplier_agrees_with_division(factor in 0..MAX_LENGTH, x in 0..MAX_LENGTH) {
            let product = u64::from(factor) * u64::from(x) % u64::from(MAX_LENGTH);
            prop_assert_eq!(u64::from(Multiplier::new(factor, MAX_LENGTH).times(x)), product);
        }
    }
}
