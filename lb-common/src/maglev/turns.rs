//! Whose turn it is. In the paper everybody takes one slot per round; here a member adds its weight to its credit each
//! round and takes a slot when that reaches the heaviest member's weight, so that 10:1 is ten to one.
//!
//! Taken literally, a thousand light members beside a heavy one would cost a thousand additions per slot. So a member
//! whose weight fits into the heaviest one 2ⁿ times or more comes up only every 2ⁿ rounds (its *octave* is n), with as
//! many rounds' weight at once: then at least every second time that somebody comes up, a slot is taken.

use alloc::vec::Vec;

use super::walk::Walk;

/// Octaves that there can be: weights have 32 bits.
const OCTAVES: usize = 32;

/// A member's place in the round.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// Where its walk goes on.
    pub(super) walk: Walk,
    /// What it saved up, below the heaviest weight.
    credit: u32,
    /// The heaviest weight less what it saves each time: the least credit with which it takes a slot.
    price: u32,
    /// What it saves each time, more than half of the heaviest weight.
    wage: u32,
    /// The member's index.
    pub(super) owner: u16,
    octave: u8,
}

impl Seat {
    /// A seat for a weight from 1 to `heaviest`. Its credit starts such that everybody takes a slot in the first
    /// round, so nobody with weight is left without one.
    pub(super) const fn new(owner: u16, weight: u32, heaviest: u32, walk: Walk) -> Self {
        let octave = (heaviest / weight).ilog2() as u8;
        let wage = weight << octave;
        let price = heaviest - wage;
        Self { walk, credit: price, price, wage, owner, octave }
    }

    #[inline]
    const fn takes_slot(&mut self) -> bool {
        if self.credit >= self.price {
            self.credit -= self.price;
            true
        } else {
            self.credit += self.wage;
            false
        }
    }
}

/// An endless sequence of turns.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// In the order of their octaves, so that those who come up in a round are the first few.
    seats: Vec<Seat>,
    /// How many seats have at most this octave.
    up_to: [usize; OCTAVES],
    round: u64,
    /// The next seat in this round.
    cursor: usize,
}

impl Turns {
    /// The turns of members that sit in this order.
    pub(super) fn new(mut seats: Vec<Seat>) -> Self {
        seats.sort_by_key(|seat| seat.octave);
        let up_to =
            core::array::from_fn(|octave| seats.partition_point(|seat| usize::from(seat.octave) <= octave));
        Self { seats, up_to, round: 0, cursor: 0 }
    }

    /// The turns from here on, of those alone for whom `takes_part` holds.
    pub(super) fn only(&self, takes_part: &[bool]) -> Self {
        let stays = |seat: &&Seat| takes_part[usize::from(seat.owner)];
        let cursor = self.seats[..self.cursor].iter().filter(stays).count();
        Self { round: self.round, cursor, ..Self::new(self.seats.iter().filter(stays).cloned().collect()) }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whose turn it is to take a slot. Somebody has to be there.
    #[inline]
    pub(super) fn next(&mut self) -> &mut Seat {
        let at = self.next_place();
        &mut self.seats[at]
    }

    #[inline]
    fn next_place(&mut self) -> usize {
        loop {
            while self.cursor >= self.up_to[octave_of(self.round)] {
                self.next_round();
            }
            let at = self.cursor;
            self.cursor += 1;
            if self.seats[at].takes_slot() {
                return at;
            }
        }
    }

    /// The next round in which anybody comes up.
    fn next_round(&mut self) {
        let step = 1u64 << self.seats[0].octave;
        self.round = (self.round / step + 1) * step;
        self.cursor = 0;
    }
}

/// The highest octave that comes up in a round.
#[inline]
const fn octave_of(round: u64) -> usize {
    // Every octave comes up in round 0, whose trailing zeros are 64.
    let zeros = round.trailing_zeros() as usize;
    if zeros < OCTAVES { zeros } else { OCTAVES - 1 }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use proptest::prelude::*;

    use super::*;

    fn turns(weights: &[u32]) -> Turns {
        let heaviest = weights.iter().copied().max().unwrap();
        let seat = |(owner, &weight): (u16, &u32)| Seat::new(owner, weight, heaviest, Walk::new(0, 2));
        Turns::new((0..).zip(weights).map(seat).collect())
    }

    fn owners(turns: &mut Turns, count: usize) -> Vec<u16> {
        (0..count).map(|_| turns.next().owner).collect()
    }

    #[test]
    fn equal_members_take_turns_in_order() {
        assert_eq!(owners(&mut turns(&[7, 7, 7]), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn twice_the_weight_is_twice_the_turns() {
        assert_eq!(owners(&mut turns(&[1, 2]), 7), [1, 0, 1, 1, 0, 1, 1]);
    }

    #[test]
    fn everybody_takes_a_slot_in_the_first_round() {
        let mut first = owners(&mut turns(&[1, u32::MAX, 1_000, 3]), 4);
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
    }

    #[test]
    fn turns_go_on_where_they_stopped_without_those_who_leave() {
        let mut all = turns(&[1, 1, 1, 1]);
        owners(&mut all, 6);
        assert_eq!(owners(&mut all.only(&[true, false, true, true]), 4), [2, 3, 0, 2]);
    }

    #[test]
    fn light_members_go_on_alone() {
        let mut all = turns(&[1_000_000, 1, 3]);
        owners(&mut all, 5_000);
        let light = owners(&mut all.only(&[false, true, true]), 4_000);
        let share = light.iter().filter(|&&owner| owner == 1).count();
        assert!((999..=1_001).contains(&share), "{share}");
    }

    proptest! {
        #[test]
        fn every_share_is_within_two_turns_of_its_weight(
            weights in prop::collection::vec(1u32..2_000, 1..12), count in 1u32..3_000,
        ) {
            let mut shares = vec![0u32; weights.len()];
            for owner in owners(&mut turns(&weights), count as usize) {
                shares[usize::from(owner)] += 1;
            }
            let total: u32 = weights.iter().sum();
            // Each member is less than one turn off its own pace; the pace itself is off by what all of them are.
            for (&share, &weight) in shares.iter().zip(&weights) {
                let part = f64::from(weight) / f64::from(total);
                let off = f64::from(share) - part * f64::from(count);
                prop_assert!(off.abs() < 2.0 + part * f64::from(weights.len() as u32), "{off} {weights:?}");
            }
        }
    }
}
