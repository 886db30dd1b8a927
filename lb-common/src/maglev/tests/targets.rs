//! What tables promise whose members have a part of what their weights say.

use super::*;

/// Targets that are this part of each weight, in per mille.
fn parts(weights: &[u32], permille: &[u32]) -> Vec<u64> {
    weights.iter().zip(permille).map(|(&weight, &part)| u64::from(weight) * u64::from(part)).collect()
}

fn moved(before: &Table, after: &Table) -> u32 {
    before.slots().iter().zip(&*after.slots()).filter(|(before, after)| before != after).count() as u32
}

/// The fewest slots that have to move between tables with these shares.
fn needed(before: &Table, after: &Table) -> u32 {
    let gains =
        before.shares().iter().zip(after.shares()).map(|(&before, &after)| after.saturating_sub(before));
    let losses =
        before.shares().iter().zip(after.shares()).map(|(&before, &after)| before.saturating_sub(after));
    gains.sum::<u32>().max(losses.sum())
}

/// How many slots the worst share is off.
fn slots_off(table: &Table, targets: &[u64]) -> f64 {
    let number = |n: u64| f64::from(n as u32);
    let total: u64 = targets.iter().sum();
    let ideal = |target| number(target) / number(total) * f64::from(table.length() as u32);
    let shares = table.shares().iter().zip(targets);
    shares.map(|(&share, &target)| (f64::from(share) - ideal(target)).abs()).fold(0.0, f64::max)
}

#[test]
fn equal_parts_of_the_weights_are_the_base_table() {
    let weights = [1, 2, 3, 4];
    let base = base(&weights, 1_009);
    for part in [1, 50, 1_000, 100_000] {
        assert_eq!(base.with_targets(&parts(&weights, &[part; 4])), *base.table());
    }
}

#[test]
fn twentieth_of_a_share_is_a_twentieth() {
    let mut targets = [1_000; 11];
    targets[3] = 50;
    let table = base(&[1; 11], 10_007).with_targets(&targets);
    assert_eq!(table.shares()[3], 50);
    assert!(slots_off(&table, &targets) <= 1.0, "{:?}", table.shares());
}

#[test]
fn reduced_member_keeps_slots_of_its_own() {
    let (base, targets) = (base(&[1; 4], 1_009), [100, 100, 30, 100]);
    let table = base.with_targets(&targets);
    let (slots, before) = (table.slots(), base.table().slots());
    let kept = slots.iter().zip(&*before).filter(|(after, _)| **after == 2);
    assert!(kept.into_iter().all(|(_, &before)| before == 2));
}

#[test]
fn member_may_have_more_than_its_weight_says() {
    let targets = [900, 50, 50];
    let table = base(&[1; 3], 1_009).with_targets(&targets);
    assert!(slots_off(&table, &targets) <= 1.0, "{:?}", table.shares());
}

#[test]
fn reduced_member_takes_its_part_of_what_others_leave() {
    let targets = [0, 0, 0, 0, 0, 0, 80, 100, 100, 100];
    let table = base(&[1; 10], 10_007).with_targets(&targets);
    assert!(slots_off(&table, &targets) <= 1.5, "{:?}", table.shares());
}

#[test]
fn hundred_different_targets_are_met() {
    let weights: Vec<u32> = (0..100).map(|n| [1, 3, 10][n % 3]).collect();
    let permille: Vec<u32> = (0..100).map(|n| 400 + 6 * n).collect();
    let targets = parts(&weights, &permille);
    let table = base(&weights, DEFAULT_LENGTH).with_targets(&targets);
    // The quotas are rounded, and one member alone is full and has what is left over.
    assert!(slots_off(&table, &targets) <= 10.0, "{:?}", table.shares());
}

#[test]
fn targets_without_weight_and_nobody_with_a_target_get_nothing() {
    assert_eq!(base(&[0, 1, 1], 101).with_targets(&[7, 5, 5]).shares()[0], 0);
    assert_eq!(*base(&[1, 1], 101).with_targets(&[0, 0]).slots(), [NONE; 101]);
    assert_eq!(*base(&[0, 0], 101).with_targets(&[1, 1]).slots(), [NONE; 101]);
    assert_eq!(*base(&[], 101).with_targets(&[]).slots(), [NONE; 101]);
}

#[test]
fn smallest_target_has_a_slot() {
    assert_eq!(base(&[1; 3], 101).with_targets(&[1, u64::MAX / 4, u64::MAX / 4]).shares()[0], 1);
}

#[test]
fn steps_of_one_member_move_little_else() {
    for dead in [0, 2, 10] {
        let base = base(&[1; 50], 10_007);
        let mut permille = [1_000u64; 50];
        permille[..dead].fill(0);
        let tables = [0, 10, 200, 400, 600, 800, 1_000].map(|part| {
            permille[20] = part;
            base.with_targets(&permille)
        });
        for pair in tables.windows(2) {
            let (moved, needed) = (moved(&pair[0], &pair[1]), needed(&pair[0], &pair[1]));
            assert!(moved <= 3 * needed + 25, "{moved} moved for {needed}, {dead} dead");
        }
        assert_eq!(tables[6], base.refill(|member| member >= dead));
    }
}

#[test]
fn spilling_over_moves_little_more_than_what_spills() {
    let base = base(&[1; 50], 10_007);
    let spilt = |part: u64| {
        let targets: Vec<u64> = (0..50).map(|n| if n < 25 { 1_000 } else { part }).collect();
        base.with_targets(&targets)
    };
    let tables = [0, 100, 200, 210, 500, 900, 1_000].map(spilt);
    for pair in tables.windows(2) {
        let (moved, needed) = (moved(&pair[0], &pair[1]), needed(&pair[0], &pair[1]));
        assert!(moved <= needed + needed / 4 + 100, "{moved} moved for {needed}");
    }
}

/// Weights, a length that holds them, and two lists of targets, in per mille of the weights, that differ in one.
fn changes() -> impl Strategy<Value = (Vec<u32>, Vec<u32>, usize, u32)> {
    let part = || prop_oneof![Just(0u32), Just(1_000u32), 1u32..1_000];
    let members = prop::collection::vec((1u32..10, part()), 2..40);
    (members, 0usize..40, part()).prop_map(|(members, at, part)| {
        let (weights, parts): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let at = at % weights.len();
        (weights, parts, at, part)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whole_or_nothing_is_a_refill((weights, length, healthy) in services(), factor in 1u64..1 << 20) {
        let base = base(&weights, length);
        let target = |(&weight, &healthy): (&u32, &bool)| if healthy { u64::from(weight) * factor } else { 0 };
        let targets: Vec<u64> = weights.iter().zip(&healthy).map(target).collect();
        prop_assert_eq!(base.with_targets(&targets), base.refill(|member| healthy[member]));
    }

    #[test]
    fn table_of_targets_has_no_hole_and_forgets_nobody(
        (weights, length, _) in services(), targets in prop::collection::vec(0u64..1 << 40, 24),
    ) {
        let targets = &targets[..weights.len()];
        let table = base(&weights, length).with_targets(targets);
        let wanted: Vec<bool> =
            weights.iter().zip(targets).map(|(&weight, &target)| weight > 0 && target > 0).collect();
        let some = wanted.contains(&true);
        prop_assert_eq!(table.shares().iter().sum::<u32>(), if some { length } else { 0 });
        for (&share, &wanted) in table.shares().iter().zip(&wanted) {
            prop_assert_eq!(share > 0, wanted);
        }
    }

    #[test]
    fn order_of_members_with_targets_only_renames_them(
        (weights, length, _) in services(), targets in prop::collection::vec(0u64..1_000, 24),
    ) {
        let names = names(weights.len());
        let mut turned = members(&names, &weights);
        turned.reverse();
        let mut turned_targets = targets[..weights.len()].to_vec();
        turned_targets.reverse();
        let one = base(&weights, length).with_targets(&targets[..weights.len()]);
        let other = Base::build(&turned, length, &SEED).unwrap().with_targets(&turned_targets);
        prop_assert_eq!(one.digest(), other.digest());
    }

    /// Those that have to, at most as many again, and one per cent of the table.
    #[test]
    fn change_of_one_target_moves_few_slots((weights, permille, at, part) in changes()) {
        let base = base(&weights, 10_007);
        let mut permille = permille;
        let before = base.with_targets(&parts(&weights, &permille));
        permille[at] = part;
        let after = base.with_targets(&parts(&weights, &permille));
        let (moved, needed) = (moved(&before, &after), needed(&before, &after));
        prop_assert!(moved <= 2 * needed + 100, "{moved} moved for {needed}");
    }
}
