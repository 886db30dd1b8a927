//! What a lookup table promises. The bounds on shares are for this seed; they hold for nearly every other.

extern crate std;

mod targets;

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::slot::NONE;

const SEED: Seed = Seed(*b"0123456789abcdef");

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("backend-{n}")).collect()
}

fn members<'a>(names: &'a [String], weights: &[u32]) -> Vec<Member<'a>> {
    names.iter().zip(weights.iter().cycle()).map(|(name, &weight)| Member { name, weight }).collect()
}

fn base(weights: &[u32], length: u32) -> Base {
    Base::build(&members(&names(weights.len()), weights), length, &SEED).unwrap()
}

/// The largest share over the mean, of those who have one.
fn peak(table: &Table) -> f64 {
    let shares = || table.shares().iter().filter(|&&share| share > 0);
    let (total, most) = (shares().sum::<u32>(), shares().max().copied().unwrap_or(0));
    f64::from(most) * f64::from(shares().count() as u32) / f64::from(total)
}

/// How far a share is off: in slots, where a slot is more than one per cent of it, else in per cent.
fn error(share: u32, ideal: f64) -> f64 {
    (f64::from(share) - ideal).abs() / (ideal / 100.0).max(1.0)
}

fn worst_error(table: &Table, weights: &[u32]) -> f64 {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let ideal = |weight| f64::from(weight) / total * f64::from(table.shares().iter().sum::<u32>());
    table
        .shares()
        .iter()
        .zip(weights)
        .map(|(&share, &weight)| error(share, ideal(weight)))
        .fold(0.0, f64::max)
}

/// Section 3.4 of the paper, word for word, for members in the order of their hashed names.
fn paper(names: &[String], length: u32) -> Vec<u16> {
    let hash = |owner: u16| SEED.sip(names[usize::from(owner)].as_bytes(), NAME);
    let mut order: Vec<u16> = (0..names.len() as u16).collect();
    order.sort_by_key(|&owner| hash(owner));
    let mut next = vec![0u64; names.len()];
    let mut slots = vec![NONE; length as usize];
    for &owner in order.iter().cycle() {
        if !slots.contains(&NONE) {
            break;
        }
        let offset = (u64::from(hash(owner) as u32) * u64::from(length)) >> 32;
        let skip = 1 + (((hash(owner) >> 32) * u64::from(length - 1)) >> 32);
        let mut walk = std::iter::from_fn(|| {
            let slot = (offset + next[usize::from(owner)] * skip) % u64::from(length);
            next[usize::from(owner)] += 1;
            Some(slot as usize)
        });
        let open = walk.find(|&slot| slots[slot] == NONE).unwrap();
        slots[open] = owner;
    }
    slots
}

#[test]
fn table_without_members_names_nobody() {
    let table = Table::clone(base(&[], 101).table());
    assert_eq!(*table.slots(), [NONE; 101]);
    assert!(table.shares().is_empty());
}

#[test]
fn only_member_owns_every_slot() {
    let base = base(&[3], 101);
    assert_eq!(*base.table().slots(), [0; 101]);
    assert_eq!(base.table().shares(), [101]);
}

#[test]
fn member_without_weight_owns_no_slot() {
    assert_eq!(base(&[0, 5, 0], 101).table().shares(), [0, 101, 0]);
    assert_eq!(*base(&[0, 0], 101).table().slots(), [NONE; 101]);
}

#[test]
fn member_without_weight_takes_no_slot_of_one_who_fails() {
    let table = base(&[0, 5, 5], 101).refill(|member| member != 1);
    assert_eq!(table.shares(), [0, 0, 101]);
}

#[test]
fn shortest_table_gives_each_member_its_slot() {
    assert_eq!(base(&[1, 1_000], 2).table().shares(), [1, 1]);
}

#[test]
fn table_of_equal_members_is_the_papers() {
    for (count, length) in [(1, 2), (3, 7), (7, 101), (40, 1_009)] {
        let names = names(count);
        let base = Base::build(&members(&names, &[9]), length, &SEED).unwrap();
        assert_eq!(*base.table().slots(), paper(&names, length), "{count} members, {length} slots");
    }
}

#[test]
fn thousand_equal_members_share_the_default_table_evenly() {
    assert!(peak(base(&[1; 1_000], DEFAULT_LENGTH).table()) <= 1.0075);
}

#[test]
fn thousand_equal_members_share_the_papers_large_table_evenly() {
    assert!(peak(base(&[1; 1_000], 655_373).table()) <= 1.0012);
}

#[test]
fn weights_are_shares() {
    let mixes: [fn(usize) -> u32; 4] = [
        |n| [1, 10, 100][n % 3],
        |n| if n < 40 { 1 } else { [10, 100][n % 2] },
        |n| if n == 0 { 100 } else { [1, 10][n % 2] },
        |n| if n < 48 { 100 } else { [1, 10][n % 2] },
    ];
    for weight in mixes {
        let weights: Vec<u32> = (0..50).map(weight).collect();
        let error = worst_error(base(&weights, DEFAULT_LENGTH).table(), &weights);
        assert!(error <= 1.0, "{error} of {weights:?}");
    }
}

#[test]
fn ten_to_one_is_ten_to_one() {
    assert_eq!(base(&[10, 1], 110_017).table().shares(), [100_016, 10_001]);
}

#[test]
fn failure_of_ten_in_a_thousand_moves_nobody_elses_slots() {
    let base = base(&[1; 1_000], DEFAULT_LENGTH);
    let healthy = |member: usize| member % 100 != 7;
    let refilled = base.refill(healthy);
    for (&before, &after) in base.table().slots().iter().zip(&*refilled.slots()) {
        assert!(healthy(after.into()));
        assert!(before == after || !healthy(before.into()));
    }
    // The mean is 66.2 slots, so no table could be more even.
    assert!(refilled.shares().iter().all(|share| [0, 66, 67].contains(share)));
    assert!(peak(&refilled) < 1.0125);
}

/// What the second step is for. The paper, section 5.3, has about 2 % as well.
#[test]
fn rebuilding_without_the_failed_moves_slots_of_the_healthy() {
    let failed = |member: usize| member % 100 == 7;
    let weights: Vec<u32> = (0..1_000).map(|member| u32::from(!failed(member))).collect();
    let (before, after) = (base(&[1; 1_000], DEFAULT_LENGTH), base(&weights, DEFAULT_LENGTH));
    let (slots, after) = (before.table().slots(), after.table().slots());
    let moved = slots
        .iter()
        .zip(&*after)
        .filter(|&(&before, after)| !failed(before.into()) && before != *after)
        .count();
    // 2 % to 2.7 % of the table.
    assert!((1_311..1_770).contains(&moved), "{moved} slots");
}

#[test]
fn failures_of_any_number_leave_even_shares() {
    let base = base(&[1; 100], 10_007);
    for failed in [1, 2, 10, 50, 90, 98] {
        let refilled = base.refill(|member| member >= failed);
        let (least, most) =
            (refilled.shares()[failed..].iter().min(), refilled.shares()[failed..].iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{failed} of 100 failed: {least:?} to {most:?}");
    }
}

#[test]
fn weights_stay_shares_when_some_fail() {
    let weights: Vec<u32> = (0..50).map(|n| [1, 10, 100][n % 3]).collect();
    let refilled = base(&weights, DEFAULT_LENGTH).refill(|member| member >= 5);
    let left: Vec<u32> = (0..50).map(|n| if n < 5 { 0 } else { weights[n] }).collect();
    let error = worst_error(&refilled, &left);
    assert!(error <= 1.0, "{error}");
}

#[test]
fn recovery_restores_the_base_table() {
    let base = base(&[1, 2, 3, 4], 1_009);
    assert_ne!(base.refill(|member| member != 2), *base.table());
    assert_eq!(base.refill(|_| true), *base.table());
}

#[test]
fn health_of_a_member_without_weight_changes_nothing() {
    let base = base(&[1, 0, 1], 101);
    assert_eq!(base.refill(|member| member != 1), *base.table());
}

#[test]
fn nobody_taking_new_flows_leaves_every_slot_empty() {
    let table = base(&[1, 2, 0], 101).refill(|_| false);
    assert_eq!(*table.slots(), [NONE; 101]);
    assert_eq!(table.shares(), [0, 0, 0]);
}

#[test]
fn table_is_the_same_every_time() {
    let weights: Vec<u32> = (1..100).collect();
    assert_eq!(base(&weights, 10_007).table(), base(&weights, 10_007).table());
}

#[test]
fn known_table_stays_as_it_is() {
    let base = base(&[1, 2, 3, 4], 23);
    let refilled = base.refill(|member| member != 3);
    // A release that moves slots breaks the flows of a fleet while it is upgraded.
    assert_eq!(*base.table().slots(), [3, 3, 3, 2, 2, 0, 1, 1, 3, 3, 3, 1, 2, 0, 2, 2, 2, 3, 3, 1, 1, 3, 2]);
    assert_eq!(*refilled.slots(), [1, 1, 1, 2, 2, 0, 1, 1, 2, 2, 2, 1, 2, 0, 2, 2, 2, 0, 0, 1, 1, 2, 2]);
}

#[test]
fn another_seed_makes_another_table() {
    let names = names(10);
    let members = members(&names, &[1]);
    let table = |seed| Base::build(&members, 1_009, &Seed(seed)).unwrap().table().clone();
    let (one, other) = (table([1; 16]), table([2; 16]));
    let same = one.slots().iter().zip(&*other.slots()).filter(|(a, b)| a == b).count();
    assert!(same < 200, "{same} of 1009 slots are the same, about a tenth is chance");
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn digest_shows_names_and_length() {
    let digest = |names: &[&str], length| {
        let members: Vec<Member<'_>> = names.iter().map(|&name| Member { name, weight: 1 }).collect();
        Base::build(&members, length, &SEED).unwrap().table().digest()
    };
    assert_eq!(digest(&["a", "b"], 101), digest(&["b", "a"], 101));
    assert_ne!(digest(&["a", "b"], 101), digest(&["a", "c"], 101));
    assert_ne!(digest(&["a", "b"], 101), digest(&["a", "b"], 103));
}

#[test]
fn impossible_tables_are_refused() {
    let names = names(3);
    let refusal = |members: &[Member<'_>], length| Base::build(members, length, &SEED).unwrap_err();
    let three = members(&names, &[1]);
    assert_eq!(refusal(&three, 0), TableError::NotPrime { length: 0, next: 2 });
    assert_eq!(refusal(&three, 65_536), TableError::NotPrime { length: 65_536, next: 65_537 });
    assert_eq!(refusal(&three, MAX_LENGTH + 2), TableError::TooLong(MAX_LENGTH + 2));
    assert_eq!(refusal(&three, 2), TableError::TooShort { length: 2, members: 3 });
    let twice = [three[0], Member { name: three[0].name, weight: 0 }];
    assert_eq!(refusal(&twice, 101), TableError::DuplicateName("backend-0".into()));
}

#[test]
fn more_members_than_a_slot_can_name_are_refused() {
    let names = names(slot::MAX_BACKENDS + 1);
    let members = members(&names, &[1]);
    let build =
        |count| Base::build(&members[..count], 131_071, &SEED).map(|base| base.table().shares().len());
    assert_eq!(build(slot::MAX_BACKENDS), Ok(slot::MAX_BACKENDS));
    assert_eq!(build(slot::MAX_BACKENDS + 1), Err(TableError::TooManyMembers(slot::MAX_BACKENDS + 1)));
}

/// Weights, a length that holds them, and who takes new flows.
fn services() -> impl Strategy<Value = (Vec<u32>, u32, Vec<bool>)> {
    let weights = prop::collection::vec(prop_oneof![Just(0u32), 1u32..5, 1u32..1_000, any::<u32>()], 1..24);
    let lengths = prop::sample::select(&[29, 53, 101, 211, 503][..]);
    (weights, lengths, prop::collection::vec(any::<bool>(), 24))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn base_table_has_no_hole_and_forgets_nobody((weights, length, _) in services()) {
        let table = base(&weights, length).table().clone();
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        prop_assert!(!table.slots().contains(&NONE));
        for (&share, &weight) in table.shares().iter().zip(&weights) {
            prop_assert_eq!(share > 0, weight > 0);
        }
        prop_assert_eq!(table.shares().iter().sum::<u32>(), length);
    }

    #[test]
    fn refill_moves_only_the_slots_of_those_who_fail((weights, length, healthy) in services()) {
        let base = base(&weights, length);
        let refilled = base.refill(|member| healthy[member]);
        let anybody = weights.iter().zip(&healthy).any(|(&weight, &healthy)| weight > 0 && healthy);
        for (&before, &after) in base.table().slots().iter().zip(&*refilled.slots()) {
            if before != NONE && healthy[usize::from(before)] {
                prop_assert_eq!(before, after);
            } else if anybody {
                prop_assert!(healthy[usize::from(after)]);
            } else {
                prop_assert_eq!(after, NONE);
            }
        }
    }

    #[test]
    fn order_of_the_members_only_renames_them((weights, length, healthy) in services(), rotation in 0usize..24) {
        let (names, count) = (names(weights.len()), weights.len());
        let original = members(&names, &weights);
        let mut turned = original.clone();
        turned.rotate_left(rotation % count);
        turned.reverse();
        let was = |member: usize| (count - 1 - member + rotation) % count;
        let one = Base::build(&original, length, &SEED).unwrap().refill(|member| healthy[member]);
        let other = Base::build(&turned, length, &SEED).unwrap().refill(|member| healthy[was(member)]);
        for (&a, &b) in one.slots().iter().zip(&*other.slots()) {
            prop_assert_eq!(a, if b == NONE { NONE } else { was(b.into()) as u16 });
        }
        prop_assert_eq!(one.digest(), other.digest());
    }
}
