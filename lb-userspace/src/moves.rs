//! What a new table of a service changes: how many slots go to another backend, and how many of them need not have.
//!
//! A backend is *concerned* by a change if it is there on one side of it only, or if its target weight is another one
//! afterwards: what its weight, the operator, its probes, its own word, a roll-out, a slow start and the levels come to. A
//! slot that goes from one backend to another while neither is concerned is *collateral*: it moved though nothing had
//! become of its old owner nor of its new one. The two steps of a table keep that low, and none at all where a backend fails.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    fmt,
    time::Duration,
};

use lb_common::slot::Slot;

/// Changes that are kept of each service.
pub const KEPT: usize = 32;

/// How many backends a cause names.
const NAMED: usize = 3;

/// A backend on one side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a, Address> {
    /// Its name.
    pub name: &'a str,
    /// Its address, which is what flows know it by.
    pub address: Address,
    /// Its target weight; 0: it gets no new flows.
    pub target: u64,
}

/// What becomes of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is new, and gets flows.
    Joins,
    /// It is gone.
    Leaves,
    /// It gets new flows, and got none.
    Starts,
    /// It gets none any more.
    Stops,
    /// It gets more of them, or fewer.
    Weighs,
}

/// The backends of a service that a change concerns, in the order of their addresses and names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concerned<Address> {
    of: BTreeMap<(Address, String), Turn>,
}

/// What a new table moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Slots whose new flows go to another backend.
    pub moved: u32,
    /// Those of them that went between backends that the change does not concern; none where that cannot be told.
    pub collateral: Option<u32>,
}

/// A change of a service's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, on the monotonic clock.
    pub at: Duration,
    /// The generation that it made.
    pub generation: u32,
    /// Slots of the new table.
    pub slots: u32,
    /// What it moved.
    pub moves: Moves,
    /// Why it came.
    pub cause: String,
}

/// The last changes of a service's table, the oldest first, and what all of them came to.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    last: VecDeque<Change>,
    /// Slots that were moved since the daemon began.
    pub moved: u64,
    /// Those of them that were collateral.
    pub collateral: u64,
}

impl<Address: Ord + Copy> Concerned<Address> {
    /// Compares both sides of a change.
    pub fn between<'a>(
        before: impl IntoIterator<Item = Standing<'a, Address>>,
        after: impl IntoIterator<Item = Standing<'a, Address>>,
    ) -> Self {
        let mut of = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for Standing { name, address, target } in before {
            of.insert((address, name.to_owned()), Turn::Leaves);
            targets.insert((address, name), target);
        }
        for Standing { name, address, target } in after {
            let turn = match (targets.get(&(address, name)), target) {
                (Some(&before), after) if before == after => None,
                (Some(0), _) => Some(Turn::Starts),
                (Some(_), 0) => Some(Turn::Stops),
                (Some(_), _) => Some(Turn::Weighs),
                (None, _) => Some(Turn::Joins),
            };
            match (of.entry((address, name.to_owned())), turn) {
                (Entry::Occupied(known), None) => drop(known.remove()),
                (Entry::Occupied(mut known), Some(turn)) => drop(known.insert(turn)),
                (Entry::Vacant(new), Some(turn)) => drop(new.insert(turn)),
                (Entry::Vacant(_), None) => {}
            }
        }
        Self { of }
    }

    /// Whether the backend at an address is among them.
    pub fn include(&self, address: Address) -> bool {
        self.of.range((address, String::new())..).next().is_some_and(|((known, _), _)| *known == address)
    }

    /// Their names, with what becomes of each.
    pub fn turns(&self) -> impl Iterator<Item = (&str, Turn)> {
        self.of.iter().map(|((_, name), turn)| (name.as_str(), *turn))
    }

    /// The cause of a change that concerns them, where `why` knows more of a backend.
    pub fn cause(&self, why: impl Fn(&str) -> Option<String>) -> String {
        let told = self.turns().take(NAMED).map(|(name, turn)| {
            why(name).map_or_else(|| format!("{name} {turn}"), |why| format!("{name} {turn} ({why})"))
        });
        let told: Vec<_> = told.collect();
        match self.of.len() {
            0 => "the file says so".to_owned(),
            all if all > NAMED => format!("{}, and {} more", told.join(", "), all - NAMED),
            _ => told.join(", "),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joins => "is new",
            Self::Leaves => "is gone",
            Self::Starts => "gets new flows",
            Self::Stops => "gets no new flows",
            Self::Weighs => "has another part",
        })
    }
}

impl Moves {
    /// Compares two tables of one length slot by slot. `concerned` tells of a backend's index whether the change is about
    /// it; none where nobody knows what was before.
    #[must_use]
    pub fn between(old: &[Slot], new: &[Slot], concerned: Option<&dyn Fn(u16) -> bool>) -> Self {
        let pairs = old.iter().zip(new).map(|(old, new)| (old.current(), new.current()));
        let moved: Vec<(u16, u16)> = pairs.filter(|(old, new)| old != new).collect();
        let collateral = concerned.map(|concerned| {
            moved.iter().filter(|(old, new)| !concerned(*old) && !concerned(*new)).count() as u32
        });
        Self { moved: moved.len() as u32, collateral }
    }

    /// Every slot is another one: the table has another length, or something else chooses its slots.
    #[must_use]
    pub const fn all(slots: u32) -> Self {
        Self { moved: slots, collateral: None }
    }
}

impl Changes {
    /// Adds a change, for which the oldest makes room.
    pub fn add(&mut self, change: Change) {
        self.moved += u64::from(change.moves.moved);
        self.collateral += u64::from(change.moves.collateral.unwrap_or(0));
        self.last.push_back(change);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// The last ones, the oldest first.
    #[must_use]
    pub fn last(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.last.iter()
    }
}

#[cfg(test)]
mod tests {
    use lb_common::slot::NONE;

    use super::*;

    fn side<'a>(backends: &'a [(&'a str, u8, u64)]) -> impl Iterator<Item = Standing<'a, u8>> {
        backends.iter().map(|&(name, address, target)| Standing { name, address, target })
    }

    fn turns(before: &[(&str, u8, u64)], after: &[(&str, u8, u64)]) -> Vec<(String, Turn)> {
        let concerned = Concerned::between(side(before), side(after));
        concerned.turns().map(|(name, turn)| (name.to_owned(), turn)).collect()
    }

    #[test]
    fn change_concerns_whose_target_is_another_one() {
        let before = [("a", 1, 4), ("b", 2, 4), ("c", 3, 0), ("d", 4, 4), ("e", 5, 4)];
        let after = [("a", 1, 4), ("b", 2, 0), ("c", 3, 4), ("d", 4, 2), ("f", 6, 4)];
        let of = |name: &str, turn| (name.to_owned(), turn);
        let expected = [
            of("b", Turn::Stops),
            of("c", Turn::Starts),
            of("d", Turn::Weighs),
            of("e", Turn::Leaves),
            of("f", Turn::Joins),
        ];
        assert_eq!(turns(&before, &after), expected);
        assert_eq!(turns(&before, &before), []);
    }

    #[test]
    fn host_with_another_name_or_address_is_concerned() {
        let concerned = Concerned::between(side(&[("a", 1, 4)]), side(&[("b", 1, 4)]));
        assert!(concerned.include(1));
        let concerned = Concerned::between(side(&[("a", 1, 4)]), side(&[("a", 2, 4)]));
        assert!(concerned.include(1) && concerned.include(2) && !concerned.include(0));
    }

    #[test]
    fn cause_names_some_and_counts_the_rest() {
        let before = [("a", 1, 4), ("b", 2, 4)];
        let none = |_: &str| None;
        let cause = |after: &[(&str, u8, u64)]| Concerned::between(side(&before), side(after)).cause(none);
        assert_eq!(cause(&before), "the file says so");
        assert_eq!(cause(&[("a", 1, 0), ("b", 2, 4)]), "a gets no new flows");
        let grown = [("a", 1, 4), ("b", 2, 4), ("c", 3, 4), ("d", 4, 4), ("e", 5, 4), ("f", 6, 4)];
        assert_eq!(cause(&grown), "c is new, d is new, e is new, and 1 more");
        let down = Concerned::between(side(&before), side(&[("a", 1, 4), ("b", 2, 0)]));
        let why = |name: &str| (name == "b").then(|| "health down: timed out".to_owned());
        assert_eq!(down.cause(why), "b gets no new flows (health down: timed out)");
    }

    #[test]
    fn slots_between_backends_that_nothing_happened_to_are_collateral() {
        let table = |slots: &[u16]| slots.iter().map(|&slot| Slot::settled(slot)).collect::<Vec<_>>();
        let (old, new) = (table(&[0, 0, 1, 1, 2, NONE]), table(&[0, 1, 1, 2, 1, 2]));
        // Backend 2 and nobody at all are concerned: of the four that moved, one went from 0 to 1.
        let concerned = |index| index == 2 || index == NONE;
        let moves = Moves::between(&old, &new, Some(&concerned));
        assert_eq!(moves, Moves { moved: 4, collateral: Some(1) });
        assert_eq!(Moves::between(&old, &new, None), Moves { moved: 4, collateral: None });
        assert_eq!(Moves::between(&old, &old, Some(&concerned)), Moves { moved: 0, collateral: Some(0) });
    }

    #[test]
    fn slot_that_is_only_remembered_otherwise_has_not_moved() {
        let (old, new) = ([Slot::new(1, 0)], [Slot::settled(1)]);
        assert_eq!(Moves::between(&old, &new, Some(&|_| false)).moved, 0);
    }

    #[test]
    fn oldest_change_makes_room_and_is_still_counted() {
        let mut changes = Changes::default();
        for generation in 1..=KEPT as u32 + 2 {
            let moves = Moves { moved: 10, collateral: Some(1) };
            let at = Duration::from_secs(generation.into());
            changes.add(Change { at, generation, slots: 100, moves, cause: String::new() });
        }
        assert_eq!(changes.last().map(|change| change.generation).next(), Some(3));
        assert_eq!(changes.last().count(), KEPT);
        assert_eq!((changes.moved, changes.collateral), (340, 34));
    }
}
