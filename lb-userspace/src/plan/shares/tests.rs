//! Who gets how much, by tables and by properties.

use proptest::prelude::*;

use super::*;
use crate::config::{AllDown, MinHealthy, Scope};

const SWEEP: Duration = Duration::from_secs(2);
const NOW: Duration = Duration::from_secs(1_000);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A backend that is well.
const WELL: Candidate = Candidate {
    weight: 1,
    part: WHOLE,
    percent: 100,
    ready: true,
    reachable: true,
    health: Some((Health::Up, at(1))),
    priority: 0,
    shared_labels: 0,
    started: None,
};

/// One that has been down for as long as nobody remembers.
const DOWN: Candidate = Candidate { health: Some((Health::Down, at(1))), ..WELL };

fn sharing() -> Sharing {
    Sharing { all_down: AllDown::Closed, ..Sharing::default() }
}

fn found(sharing: &Sharing, candidates: &[Candidate]) -> Shares {
    shares(sharing, candidates, SWEEP, NOW)
}

/// A part in per mille.
fn permille(part: f64) -> i32 {
    (part * 1_000.0).round() as i32
}

/// What each is promised, in per mille.
fn promises(shares: &Shares) -> Vec<i32> {
    (0..shares.targets.len()).map(|at| permille(shares.promised(at))).collect()
}

/// So many candidates of each kind, one after another.
fn crowd(kinds: &[(usize, Candidate)]) -> Vec<Candidate> {
    kinds.iter().flat_map(|(count, kind)| std::iter::repeat_n(*kind, *count)).collect()
}

/// What each kind is promised in all, in per mille.
fn of_kinds(sharing: &Sharing, kinds: &[(usize, Candidate)]) -> Vec<i32> {
    let shares = found(sharing, &crowd(kinds));
    let mut next = 0;
    let mut sum = |count: usize| {
        let sum: f64 = (next..next + count).map(|at| shares.promised(at)).sum();
        next += count;
        permille(sum)
    };
    kinds.iter().map(|(count, _)| sum(*count)).collect()
}

#[test]
fn target_of_a_plain_service_is_a_multiple_of_the_weight() {
    let weights = [1, 3, 65_535, 0];
    let candidates = weights.map(|weight| Candidate { weight, ..WELL });
    let targets = found(&Sharing::default(), &candidates).targets;
    assert_eq!(targets, weights.map(|weight| u64::from(weight) << 24));
}

#[test]
fn what_one_is_promised_follows_the_table() {
    let sharing = sharing();
    let one = |special: Candidate| promises(&found(&sharing, &[special, WELL, WELL, WELL]))[0];
    let table = [
        ("well", WELL, 250),
        ("not probed yet", Candidate { health: None, ..WELL }, 250),
        ("down", DOWN, 0),
        ("drained", Candidate { ready: false, ..WELL }, 0),
        ("out of reach", Candidate { reachable: false, ..WELL }, 0),
        ("without weight", Candidate { weight: 0, ..WELL }, 0),
        ("heavy", Candidate { weight: 3, ..WELL }, 500),
        ("held back by a roll-out", Candidate { part: 0, ..WELL }, 0),
        ("a third by a roll-out", Candidate { part: WHOLE / 3, ..WELL }, 100),
        ("three tenths by its own word", Candidate { percent: 30, ..WELL }, 91),
        ("nothing by its own word", Candidate { percent: 0, ..WELL }, 0),
        ("three times as much by its own word", Candidate { percent: 300, ..WELL }, 500),
        ("of the next level", Candidate { priority: 1, ..WELL }, 0),
    ];
    for (what, special, expected) in table {
        assert_eq!(one(special), expected, "{what}");
    }
}

#[test]
fn what_a_priority_cannot_carry_is_the_next_ones() {
    let spare = Candidate { priority: 1, ..WELL };
    let last = Candidate { priority: 7, ..WELL };
    // (up and down of priority 0, of 1, of 7; their parts)
    let table = [
        ([10, 0, 10, 0, 10, 0], [1_000, 0, 0]),
        ([8, 2, 10, 0, 10, 0], [1_000, 0, 0]),
        ([5, 5, 10, 0, 10, 0], [700, 300, 0]),
        ([5, 5, 1, 9, 10, 0], [700, 140, 160]),
        ([0, 10, 10, 0, 10, 0], [0, 1_000, 0]),
        ([0, 10, 0, 10, 10, 0], [0, 0, 1_000]),
        ([1, 9, 1, 9, 0, 10], [500, 500, 0]),
        ([1, 9, 0, 0, 0, 0], [1_000, 0, 0]),
    ];
    for (counts, expected) in table {
        let kinds = [
            (counts[0], WELL),
            (counts[1], DOWN),
            (counts[2], spare),
            (counts[3], Candidate { priority: 1, ..DOWN }),
            (counts[4], last),
            (counts[5], Candidate { priority: 7, ..DOWN }),
        ];
        let found = of_kinds(&sharing(), &kinds);
        assert_eq!([found[0], found[2], found[4]], expected, "{counts:?}");
        assert_eq!([found[1], found[3], found[5]], [0; 3], "{counts:?}");
    }
}

#[test]
fn drained_backends_leave_their_level_less_to_carry_with() {
    let drained = Candidate { ready: false, ..WELL };
    let spare = Candidate { priority: 1, ..WELL };
    assert_eq!(of_kinds(&sharing(), &[(2, WELL), (2, drained), (1, spare)]), [700, 0, 300]);
}

#[test]
fn near_backends_come_first_as_far_as_they_can_carry_it() {
    let near = |shared_labels| Candidate { shared_labels, ..WELL };
    let dead = |shared_labels| Candidate { shared_labels, ..DOWN };
    let sharing = Sharing { prefer: Prefer::Near, ..sharing() };
    let kinds = |counts: [usize; 5]| {
        // The same rack and the same data centre are equally near.
        [
            (counts[0], near(4)),
            (counts[1], near(3)),
            (counts[2], dead(3)),
            (counts[3], near(1)),
            (counts[4], near(0)),
        ]
    };
    let table = [
        ([1, 1, 0, 5, 5], [500, 500, 0, 0, 0]),
        ([1, 1, 2, 5, 5], [350, 350, 0, 300, 0]),
        ([0, 0, 2, 5, 5], [0, 0, 0, 1_000, 0]),
        ([0, 0, 2, 0, 5], [0, 0, 0, 0, 1_000]),
    ];
    for (counts, expected) in table {
        assert_eq!(of_kinds(&sharing, &kinds(counts)), expected, "{counts:?}");
    }
    let anywhere = Sharing { prefer: Prefer::None, ..sharing };
    assert_eq!(of_kinds(&anywhere, &kinds([1, 1, 0, 4, 4])), [100, 100, 0, 400, 400]);
}

#[test]
fn priority_counts_more_than_distance() {
    let near_spare = Candidate { shared_labels: 3, priority: 1, ..WELL };
    let sharing = Sharing { prefer: Prefer::Near, ..sharing() };
    assert_eq!(of_kinds(&sharing, &[(1, WELL), (1, near_spare)]), [1_000, 0]);
}

#[test]
fn scope_says_who_counts() {
    let place = |shared_labels| Candidate { shared_labels, ..WELL };
    let kinds = [(1, place(4)), (1, place(3)), (1, place(2)), (1, place(1)), (1, place(0))];
    let of = |scope| of_kinds(&Sharing { scope, ..sharing() }, &kinds);
    assert_eq!(of(Scope::Global), [200; 5]);
    assert_eq!(of(Scope::Region), [250, 250, 250, 250, 0]);
    assert_eq!(of(Scope::Datacentre), [500, 500, 0, 0, 0]);
}

/// Who there is, whether probes are followed, and what each kind gets.
type PanicRow<'a> = (&'a [(usize, Candidate)], Belief, &'a [i32]);

#[test]
fn panic_begins_where_no_level_has_enough() {
    let spare = Candidate { priority: 1, ..WELL };
    let spare_down = Candidate { priority: 1, ..DOWN };
    let drained = Candidate { ready: false, ..WELL };
    let sharing = Sharing { panic_threshold: 40, ..sharing() };
    let table: [PanicRow<'_>; 6] = [
        (&[(4, WELL), (6, DOWN)], Belief::Probes, &[1_000, 0]),
        (&[(3, WELL), (7, DOWN)], Belief::Panic(Panic::All), &[300, 700]),
        (&[(0, WELL), (5, DOWN), (5, spare)], Belief::Probes, &[0, 0, 1_000]),
        (
            &[(1, WELL), (4, DOWN), (1, spare), (4, spare_down)],
            Belief::Panic(Panic::All),
            &[100, 400, 100, 400],
        ),
        // What the operator has taken out is not for probes to judge, and gets nothing.
        (&[(2, WELL), (2, DOWN), (6, drained)], Belief::Probes, &[1_000, 0, 0]),
        (&[(1, WELL), (2, DOWN), (7, drained)], Belief::Panic(Panic::All), &[333, 667, 0]),
    ];
    for (kinds, belief, expected) in table {
        let shares = found(&sharing, &crowd(kinds));
        assert_eq!((shares.belief, of_kinds(&sharing, kinds).as_slice()), (belief, expected), "{kinds:?}");
    }
    let none = Sharing { panic: Panic::None, ..sharing };
    let shares = found(&none, &crowd(&[(3, WELL), (7, DOWN)]));
    assert_eq!((shares.belief, shares.targets), (Belief::Panic(Panic::None), vec![0; 10]));
    assert_eq!(shares.availability, Availability::Panic);
}

#[test]
fn probes_that_all_fail_at_once_are_not_believed() {
    let fell = |second| Candidate { health: Some((Health::Down, at(second))), ..WELL };
    let open = Sharing::default();
    let table: [(&str, &[Candidate], bool); 9] = [
        ("one sweep", &[fell(500), fell(501), fell(502)], true),
        ("one after another", &[fell(500), fell(510), fell(520)], false),
        ("one before, the others at once", &[fell(1), fell(510), fell(511)], true),
        ("most before", &[fell(1), fell(2), fell(3), fell(510), fell(511)], false),
        ("half before", &[fell(1), fell(2), fell(510), fell(511)], true),
        ("one is up", &[fell(500), fell(501), WELL], false),
        ("one is not known yet", &[fell(500), fell(501), Candidate { health: None, ..WELL }], false),
        ("one is drained", &[fell(500), fell(501), Candidate { ready: false, ..WELL }], true),
        ("the only one", &[fell(500)], false),
    ];
    for (what, candidates, expected) in table {
        let shares = found(&open, candidates);
        assert_eq!(shares.belief == Belief::AllDown, expected, "{what}");
        for (candidate, &target) in candidates.iter().zip(&shares.targets).filter(|(one, _)| !one.is_up()) {
            assert_eq!(target > 0, expected && candidate.ready, "{what}");
        }
        assert_eq!(found(&sharing(), candidates).belief, Belief::Probes, "{what}, closed");
    }
}

#[test]
fn levels_hold_where_probes_are_not_believed() {
    let spare = Candidate { priority: 1, ..DOWN };
    assert_eq!(of_kinds(&Sharing::default(), &[(2, DOWN), (2, spare)]), [1_000, 0]);
}

#[test]
fn slow_start_is_a_fifth_at_a_time() {
    let sharing = Sharing { slow_start: at(40), ..sharing() };
    let table = [(1_000, 1, 48), (990, 2, 91), (980, 3, 130), (970, 4, 167), (960, 5, 200), (1, 5, 200)];
    for (started, step, expected) in table {
        let starting = Candidate { started: Some(at(started)), ..WELL };
        let shares = found(&sharing, &[starting, WELL, WELL, WELL, WELL]);
        assert_eq!(promises(&shares)[0], expected, "since {started}");
        assert_eq!(
            shares.steps.first().copied().flatten(),
            (step < STEPS).then_some(step),
            "since {started}"
        );
        let next = (step < STEPS).then(|| at(started + 10 * u64::from(step)));
        assert_eq!(shares.until, next, "since {started}");
    }
}

#[test]
fn backends_that_start_together_share_as_ever() {
    let sharing = Sharing { slow_start: at(40), ..sharing() };
    let starting = Candidate { started: Some(NOW), ..WELL };
    assert_eq!(promises(&found(&sharing, &[starting; 4])), [250; 4]);
}

#[test]
fn level_that_starts_takes_over_step_by_step() {
    let sharing = Sharing { slow_start: at(40), ..sharing() };
    let starting = Candidate { started: Some(NOW), ..WELL };
    let spare = Candidate { priority: 1, ..WELL };
    assert_eq!(of_kinds(&sharing, &[(4, starting), (1, spare)]), [280, 720]);
}

#[test]
fn availability_follows_the_table() {
    let drained = Candidate { ready: false, ..WELL };
    let weightless = Candidate { weight: 0, ..WELL };
    let too_few = |healthy, needed| Availability::TooFew { healthy, needed };
    let (two, half) = (MinHealthy::Backends(2), MinHealthy::Percent(50));
    let table: [(&[Candidate], Option<MinHealthy>, Availability); 10] = [
        (&[WELL], None, Availability::Available),
        (&[], None, Availability::NoBackend),
        (&[weightless], None, Availability::NoBackend),
        (&[DOWN, drained], None, Availability::NoneHealthy),
        (&[DOWN, DOWN], None, Availability::NoneHealthy),
        (&[WELL, WELL, DOWN], Some(two), Availability::Available),
        (&[WELL, DOWN, DOWN], Some(two), too_few(1, two)),
        (&[WELL, WELL, DOWN, drained], Some(half), Availability::Available),
        (&[WELL, DOWN, drained], Some(half), too_few(33, half)),
        (&[Candidate { weight: 2, ..WELL }, DOWN, drained], Some(half), Availability::Available),
    ];
    for (candidates, min_healthy, expected) in table {
        let sharing = Sharing { min_healthy, ..Sharing::default() };
        assert_eq!(found(&sharing, candidates).availability, expected, "{candidates:?}, {min_healthy:?}");
    }
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let health = prop_oneof![
        Just(None),
        (0u64..1_000).prop_map(|since| Some((Health::Up, at(since)))),
        (0u64..1_000).prop_map(|since| Some((Health::Down, at(since)))),
    ];
    let wholes = (prop_oneof![Just(WHOLE), 0..=WHOLE], prop_oneof![Just(100u32), 0u32..=10_000]);
    let place = (0u8..3, 0usize..5, prop::option::of(900u64..1_000));
    (0u32..=65_535, wholes, any::<bool>(), any::<bool>(), health, place).prop_map(
        |(weight, (part, percent), ready, reachable, health, (priority, shared_labels, started))| Candidate {
            weight,
            part,
            percent,
            ready,
            reachable,
            health,
            priority,
            shared_labels,
            started: started.map(at),
        },
    )
}

fn any_sharing() -> impl Strategy<Value = Sharing> {
    let scope = prop::sample::select(&[Scope::Global, Scope::Region, Scope::Datacentre][..]);
    let choices = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (scope, 100u32..=1_000, 0u32..=100, choices).prop_map(
        |(scope, overprovisioning, panic_threshold, (near, all, open, slow))| Sharing {
            scope,
            prefer: if near { Prefer::Near } else { Prefer::None },
            overprovisioning,
            panic_threshold,
            panic: if all { Panic::All } else { Panic::None },
            all_down: if open { AllDown::Open } else { AllDown::Closed },
            min_healthy: None,
            slow_start: if slow { at(60) } else { Duration::ZERO },
        },
    )
}

proptest! {
    #[test]
    fn order_of_backends_changes_nothing(
        sharing in any_sharing(), candidates in prop::collection::vec(candidate(), 0..20),
    ) {
        let mut turned = candidates.clone();
        turned.reverse();
        let (one, mut other) = (found(&sharing, &candidates), found(&sharing, &turned));
        other.targets.reverse();
        other.steps.reverse();
        prop_assert_eq!(one, other);
    }

    #[test]
    fn levels_add_up_to_all_of_the_flows_and_so_do_backends(
        sharing in any_sharing(), candidates in prop::collection::vec(candidate(), 1..20),
    ) {
        let shares = found(&sharing, &candidates);
        let levels: f64 = shares.levels.values().sum();
        let backends: f64 = (0..candidates.len()).map(|at| shares.promised(at)).sum();
        if shares.targets.iter().all(|&target| target == 0) {
            prop_assert_eq!((levels, backends), (0.0, 0.0));
        } else {
            prop_assert!((levels - 1.0).abs() < 1e-9 && (backends - 1.0).abs() < 1e-9, "{} {}", levels, backends);
        }
        // Each level has what it is promised, as far as targets can say it.
        for (&priority, &level) in &shares.levels {
            let members = candidates.iter().enumerate().filter(|(_, candidate)| candidate.priority == priority);
            let promised: f64 = members.map(|(at, _)| shares.promised(at)).sum();
            prop_assert!((promised - level).abs() < 1e-3, "priority {priority}: {promised}, not {level}");
        }
    }

    #[test]
    fn who_may_not_take_flows_gets_none(
        sharing in any_sharing(), candidates in prop::collection::vec(candidate(), 1..20),
    ) {
        let shares = found(&sharing, &candidates);
        for (candidate, &target) in candidates.iter().zip(&shares.targets) {
            let may = candidate.weight > 0 && candidate.part > 0 && candidate.percent > 0
                && candidate.ready && candidate.reachable
                && candidate.shared_labels >= sharing.scope.labels();
            prop_assert!(may || target == 0, "{candidate:?}");
            if shares.belief.follows_probes() {
                prop_assert!(candidate.is_up() || target == 0, "{candidate:?}");
            }
        }
    }

    /// Another one that is down takes nothing from anybody but its own level, and nothing from that within what it can bear.
    #[test]
    fn class_keeps_its_proportions(weights in prop::collection::vec(1u32..1_000, 2..10), dead in 0usize..10) {
        let mut candidates: Vec<Candidate> =
            weights.iter().map(|&weight| Candidate { weight, ..WELL }).collect();
        candidates[dead % weights.len()] = Candidate { weight: 7, ..DOWN };
        let shares = found(&sharing(), &candidates);
        for (candidate, &target) in candidates.iter().zip(&shares.targets) {
            let expected = if candidate.is_up() { u64::from(candidate.weight) << 24 } else { 0 };
            prop_assert_eq!(target, expected);
        }
    }
}
