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

/// More slots than any table has.
pub(super) const UNBOUNDED: u32 = u32::MAX;

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
    /// How many more slots it may take.
    room: u32,
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
        Self { walk, credit: price, price, wage, room: UNBOUNDED, owner, octave }
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

    /// Makes it save nothing more towards a price that nobody can pay.
    const fn retire(&mut self) {
        (self.credit, self.wage, self.price) = (0, 0, u32::MAX);
    }

    /// How often it comes up: in how many of 2³¹ rounds.
    const fn pace(&self) -> u64 {
        1 << (OCTAVES - 1 - self.octave as usize)
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
    /// How often anybody comes up, and how often those do that have no room any more.
    pace: u64,
    idle: u64,
}

impl Turns {
    /// The turns of members that sit in this order.
    pub(super) fn new(mut seats: Vec<Seat>) -> Self {
        seats.sort_by_key(|seat| seat.octave);
        let up_to =
            core::array::from_fn(|octave| seats.partition_point(|seat| usize::from(seat.octave) <= octave));
        let pace = seats.iter().map(Seat::pace).sum();
        Self { seats, up_to, round: 0, cursor: 0, pace, idle: 0 }
    }

    /// The turns from here on, of those alone who have room, by their indexes: each until it has none left.
    pub(super) fn within(&self, rooms: &[u32]) -> Self {
        let room = |seat: &Seat| rooms[usize::from(seat.owner)];
        let mut turns = self.of(|seat| room(seat) > 0);
        for seat in &mut turns.seats {
            seat.room = room(seat);
        }
        turns
    }

    /// The turns from here on, of those alone who stay.
    fn of(&self, stays: impl Fn(&Seat) -> bool) -> Self {
        let cursor = self.seats[..self.cursor].iter().filter(|seat| stays(seat)).count();
        let seats = self.seats.iter().filter(|seat| stays(seat)).cloned().collect();
        Self { round: self.round, cursor, ..Self::new(seats) }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether anybody may take only so many slots.
    pub(super) fn are_bounded(&self) -> bool {
        self.seats.iter().any(|seat| seat.room != UNBOUNDED)
    }

    /// Whose turn it is to take a slot, where nobody is bounded. Somebody has to be there.
    #[inline]
    pub(super) fn next(&mut self) -> &mut Seat {
        let at = self.next_place();
        &mut self.seats[at]
    }

    /// The same where somebody is. Somebody has to be there who has room.
    #[inline]
    pub(super) fn next_with_room(&mut self) -> &mut Seat {
        // Whoever has no room is left out once this halves the work, so that little of it is in vain.
        if self.idle * 2 > self.pace {
            *self = self.of(|seat| seat.room > 0);
        }
        let at = self.next_place();
        let seat = &mut self.seats[at];
        seat.room -= 1;
        if seat.room == 0 {
            self.idle += seat.pace();
            seat.retire();
        }
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
        let bounded = turns.are_bounded();
        let mut next = || if bounded { turns.next_with_room().owner } else { turns.next().owner };
        (0..count).map(|_| next()).collect()
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
        assert_eq!(owners(&mut all.within(&[UNBOUNDED, 0, UNBOUNDED, UNBOUNDED]), 4), [2, 3, 0, 2]);
    }

    #[test]
    fn light_members_go_on_alone() {
        let mut all = turns(&[1_000_000, 1, 3]);
        owners(&mut all, 5_000);
        let light = owners(&mut all.within(&[0, UNBOUNDED, UNBOUNDED]), 4_000);
        let share = light.iter().filter(|&&owner| owner == 1).count();
        assert!((999..=1_001).contains(&share), "{share}");
    }

    #[test]
    fn turns_go_on_without_those_who_have_no_room_left() {
        let mut bounded = turns(&[1, 1, 1]).within(&[1, UNBOUNDED, 3]);
        assert_eq!(owners(&mut bounded, 8), [0, 1, 2, 1, 2, 1, 2, 1]);
    }

    proptest! {
        #[test]
        fn leaving_out_whoever_has_no_room_changes_nobody_elses_turns(
            weights in prop::collection::vec(1u32..2_000, 2..12), room in 1u32..40,
        ) {
            let mut rooms = vec![room; weights.len()];
            rooms[0] = UNBOUNDED;
            let (mut left_out, mut kept) = (turns(&weights).within(&rooms), turns(&weights));
            let mut taken = vec![0; weights.len()];
            let mut expected = Vec::new();
            while expected.len() < 1_000 {
                let owner = usize::from(kept.next().owner);
                taken[owner] += 1;
                if taken[owner] <= rooms[owner] {
                    expected.push(owner as u16);
                }
            }
            prop_assert_eq!(owners(&mut left_out, 1_000), expected);
        }

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
