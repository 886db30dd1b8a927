//! Filling the open slots of a table, turn by turn.
//!
//! Walking to the last open slots is what Maglev spends its time on: with k slots open a walk takes length/k steps, so
//! half of all steps go to the last √length slots. For those, the distances of all open slots are computed instead, k
//! multiplications each. The outcome is the same.

use alloc::vec::Vec;

use crate::slot::NONE;

use super::turns::{Seat, Turns};

/// Gives every slot that is [`NONE`] to whoever's turn it is. Leaves them if nobody takes turns.
pub(super) fn fill(slots: &mut [u16], turns: &mut Turns) {
    if turns.is_empty() {
        return;
    }
    // Two loops, so that most tables do not pay for what few need.
    if turns.are_bounded() {
        hand_out(slots, turns, Turns::next_with_room);
    } else {
        hand_out(slots, turns, Turns::next);
    }
}

fn hand_out(slots: &mut [u16], turns: &mut Turns, next: impl Fn(&mut Turns) -> &mut Seat) {
    // A byte each and apart from the slots: half as much to keep in the cache.
    let mut open: Vec<bool> = slots.iter().map(|&owner| owner == NONE).collect();
    let count = open.iter().filter(|&&open| open).count();
    for _ in few(slots.len())..count {
        let seat = next(turns);
        let slot = seat.walk.next_open(&open) as usize;
        open[slot] = false;
        slots[slot] = seat.owner;
    }
    let mut list: Vec<u32> = (0..).zip(&open).filter(|&(_, &open)| open).map(|(slot, _)| slot).collect();
    while !list.is_empty() {
        let seat = next(turns);
        let place = seat.walk.nearest_open(&list, slots.len() as u32);
        slots[list.swap_remove(place) as usize] = seat.owner;
    }
}

/// From how many open slots on it costs less to compute distances than to walk.
const fn few(length: usize) -> usize {
    length.isqrt()
}
