//! Lookup tables: weighted, keyed Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4), in two steps.
//!
//! [`Base::build`] fills a table over every configured member, whatever its health. [`Base::refill`] gives the slots
//! of those that may not take new flows to the others, and leaves every other slot alone: a failure moves nobody but
//! the flows of the backend that failed, and full health is the base table again, exactly. [`Base::with_targets`] does
//! the same where members are to have a part of what their weights say.
//!
//! A table follows from names, weights, targets, seed and length. The order of the members is *not* among
//! these: it only says which index stands for whom.

mod digest;
mod fill;
mod length;
mod owners;
mod targets;
#[cfg(test)]
mod tests;
mod turns;
mod walk;

use alloc::borrow::Cow;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use length::{DEFAULT_LENGTH, MAX_LENGTH, SLOTS_PER_MEMBER, is_prime, length_for, next_prime};

use crate::hash::Seed;
use crate::slot;
use owners::Owners;
use turns::{Seat, Turns, UNBOUNDED};
use walk::Walk;

/// Sets the hash of a name here apart from whatever else the seed is a key of.
const NAME: u64 = u64::from_le_bytes(*b"maglev v");

/// One backend, as a table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What its slots follow from; unique within the table.
    pub name: &'a str,
    /// Its share of the slots, relative to the others' weights; 0 for none.
    pub weight: u32,
}

/// Why there is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Members' walks visit every slot only where the length is prime.
    #[error("table length {length} is not a prime number, the next one is {next}")]
    NotPrime {
        /// The length asked for.
        length: u32,
        /// The least prime above it.
        next: u32,
    },
    /// More slots than the arithmetic is made for.
    #[error("table length {0} is too long, expected a prime of at most {MAX_LENGTH}")]
    TooLong(u32),
    /// Somebody with weight would have no slot.
    #[error("table length {length} is too short for {members} backends with weight, expected a prime of at least {needed}",
        needed = length_for(*members))]
    TooShort {
        /// The length asked for.
        length: u32,
        /// How many members have weight.
        members: usize,
    },
    /// More members than a slot can name.
    #[error("{0} backends are too many for one table, expected at most {max}", max = slot::MAX_BACKENDS)]
    TooManyMembers(usize),
    /// Two members would walk the same way.
    #[error("backend name `{0}` is used twice, expected unique names")]
    DuplicateName(String),
}

/// Which member each slot belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    slots: Owners,
    shares: Vec<u32>,
    digest: u64,
}

impl Table {
    /// The owner of each slot: an index into the members that the base was built from, or [`slot::NONE`] in *every*
    /// slot where nobody takes new flows.
    #[must_use]
    pub fn slots(&self) -> Cow<'_, [u16]> {
        self.slots.unpacked()
    }

    /// How many slots there are.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.slots.len()
    }

    /// How many slots each member owns, in the order of the members.
    #[must_use]
    pub fn shares(&self) -> &[u32] {
        &self.shares
    }

    /// A number that differs where length or the sequence of owners' names do: equal on every balancer that holds
    /// this table, in whatever order it knows the members. Keyed by the seed.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    fn new(slots: Vec<u16>, names: &[u64]) -> Self {
        let shares = count(&slots, names.len());
        let digest = digest::of(&slots, names);
        Self { slots: Owners::new(slots, names.len()), shares, digest }
    }
}

/// The table of full health, and what it takes to refill it.
#[derive(Clone, Debug)]
pub struct Base {
    /// Shared with whoever uses it as it is: of ten thousand services these are most of the memory.
    table: Arc<Table>,
    /// Where the turns stopped when the last slot was taken.
    turns: Turns,
    /// The members' hashed names and their weights, in their order.
    names: Vec<u64>,
    weights: Vec<u32>,
}

impl Base {
    /// Builds the table in which every member has its share. Each member with weight has a slot; if nobody has
    /// weight, every slot is [`slot::NONE`].
    ///
    /// # Errors
    /// All of [`TableError`]; none depends on who is healthy.
    pub fn build(members: &[Member<'_>], length: u32, seed: &Seed) -> Result<Self, TableError> {
        check(members, length)?;
        let names: Vec<u64> = members.iter().map(|member| seed.sip(member.name.as_bytes(), NAME)).collect();
        let order = order(members, &names)?;
        let mut turns = Turns::new(seats(members, &names, &order, length));
        let mut slots = alloc::vec![slot::NONE; length as usize];
        fill::fill(&mut slots, &mut turns);
        let weights = members.iter().map(|member| member.weight).collect();
        Ok(Self { table: Arc::new(Table::new(slots, &names)), turns, names, weights })
    }

    /// The table while every member takes new flows.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The table while only the members for whose index `takes_new` holds take new flows. The others' slots go round
    /// among these, from whoever's turn it would have been next, so that the smaller shares come first.
    #[must_use]
    pub fn refill(&self, takes_new: impl Fn(usize) -> bool) -> Arc<Table> {
        let quotas: Vec<u32> =
            (0..self.names.len()).map(|member| if takes_new(member) { UNBOUNDED } else { 0 }).collect();
        self.with_quotas(&quotas)
    }
}

fn check(members: &[Member<'_>], length: u32) -> Result<(), TableError> {
    if length > MAX_LENGTH {
        return Err(TableError::TooLong(length));
    }
    if !is_prime(length) {
        let next = next_prime(length).unwrap_or(MAX_LENGTH);
        return Err(TableError::NotPrime { length, next });
    }
    if members.len() > slot::MAX_BACKENDS {
        return Err(TableError::TooManyMembers(members.len()));
    }
    let weighted = members.iter().filter(|member| member.weight > 0).count();
    if weighted > length as usize {
        return Err(TableError::TooShort { length, members: weighted });
    }
    Ok(())
}

/// The order in which members take turns: that of their hashed names, which costs less than that of the names and
/// prefers no way of naming.
fn order(members: &[Member<'_>], names: &[u64]) -> Result<Vec<usize>, TableError> {
    let mut order: Vec<(u64, usize)> = names.iter().copied().zip(0..).collect();
    let name = |at: usize| members[at].name;
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
    match order.windows(2).find(|pair| name(pair[0].1) == name(pair[1].1)) {
        Some(pair) => Err(TableError::DuplicateName(name(pair[0].1).to_string())),
        None => Ok(order.into_iter().map(|(_, at)| at).collect()),
    }
}

fn seats(members: &[Member<'_>], names: &[u64], order: &[usize], length: u32) -> Vec<Seat> {
    let heaviest = members.iter().map(|member| member.weight).max().unwrap_or(0);
    let seat = |&at: &usize| Seat::new(at as u16, members[at].weight, heaviest, Walk::new(names[at], length));
    order.iter().filter(|&&at| members[at].weight > 0).map(seat).collect()
}

fn count(slots: &[u16], members: usize) -> Vec<u32> {
    let mut shares = alloc::vec![0; members];
    for &owner in slots {
        if let Some(share) = shares.get_mut(usize::from(owner)) {
            *share += 1;
        }
    }
    shares
}
