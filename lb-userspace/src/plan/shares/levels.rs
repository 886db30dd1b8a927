//! Levels of which the first ones come first, as far as they can carry the flows.
//!
//! A level that has lost some of its backends can still carry all of its flows as long as the others have room: that is what
//! *over-provisioning* says, 1.4 for 40 per cent. So what a level can carry is the part of it that is able, times that factor,
//! at most everything. What it cannot carry is the next one's. Where all together cannot carry everything, each has its part
//! of what they can: Envoy's rule.

use std::iter::Sum;

use super::{Candidate, STEPS, ratio};

/// Less than any table can tell from nothing.
const CRUMB: f64 = 1e-9;

/// What the backends of a level can carry, and what they are meant to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// What they can carry.
    pub(super) able: u128,
    /// What they could if all of them were well.
    pub(super) meant: u128,
}

impl Level {
    pub(super) fn add(&mut self, candidate: &Candidate, able: u64) {
        self.able += u128::from(able);
        self.meant += u128::from(candidate.meant()) * 100 * u128::from(STEPS);
    }

    /// The part of all flows that it can carry.
    fn capacity(&self, overprovisioning: f64) -> f64 {
        (ratio(self.able, self.meant) * overprovisioning).min(1.0)
    }
}

impl<'a> Sum<&'a Self> for Level {
    fn sum<I: Iterator<Item = &'a Self>>(levels: I) -> Self {
        levels.fold(Self::default(), |sum, level| Self {
            able: sum.able + level.able,
            meant: sum.meant + level.meant,
        })
    }
}

/// The part of all flows that each level gets, the first ones first. They add up to 1, or all are 0.
pub(super) fn loads(levels: &[Level], overprovisioning: f64) -> Vec<f64> {
    let capacities: Vec<f64> = levels.iter().map(|level| level.capacity(overprovisioning)).collect();
    let all: f64 = capacities.iter().sum();
    if all <= 1.0 {
        return capacities.iter().map(|capacity| if all > 0.0 { capacity / all } else { 0.0 }).collect();
    }
    let mut left = 1.0;
    let mut take = |capacity: f64| {
        let taken = capacity.min(left);
        left -= taken;
        // What rounding leaves is no flow, and would be a slot for each backend of the next level.
        if left < CRUMB {
            left = 0.0;
        }
        taken
    };
    capacities.into_iter().map(&mut take).collect()
}

/// The same where nobody comes first.
pub(super) fn by_ability(levels: &[Level]) -> Vec<f64> {
    let all = levels.iter().sum::<Level>().able;
    levels.iter().map(|level| ratio(level.able, all)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels that are healthy to so many per cent.
    fn loads_of(percents: &[u128], overprovisioning: f64) -> Vec<f64> {
        let levels: Vec<_> = percents.iter().map(|&able| Level { able, meant: 100 }).collect();
        loads(&levels, overprovisioning)
    }

    /// The tables of Envoy's documentation ("Priority levels"), and corners.
    #[test]
    fn loads_follow_envoys_tables() {
        let table: [(&[u128], &[f64]); 15] = [
            (&[100], &[100.0]),
            (&[72], &[100.0]),
            (&[20], &[100.0]),
            (&[0], &[0.0]),
            (&[100, 100], &[100.0, 0.0]),
            (&[72, 72], &[100.0, 0.0]),
            (&[71, 71], &[99.4, 0.6]),
            (&[50, 50], &[70.0, 30.0]),
            (&[25, 100], &[35.0, 65.0]),
            (&[0, 100], &[0.0, 100.0]),
            (&[25, 25], &[50.0, 50.0]),
            (&[25, 0], &[100.0, 0.0]),
            (&[25, 25, 50], &[35.0, 35.0, 30.0]),
            (&[20, 0, 100], &[28.0, 0.0, 72.0]),
            (&[], &[]),
        ];
        for (percents, expected) in table {
            let found = loads_of(percents, 1.4);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found * 100.0 - expected).abs() < 1e-9, "{percents:?}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn rounding_leaves_nothing_to_a_level_that_is_not_needed() {
        for first in 1..100 {
            let loads = loads_of(&[first, 100 - first, 100], 1.0);
            assert!(loads[2] <= 0.0, "{first}: {loads:?}");
        }
    }

    #[test]
    fn overprovisioning_says_when_a_level_overflows() {
        let first = |over| loads_of(&[50, 100], over)[0];
        assert!((first(1.0) - 0.5).abs() < 1e-9 && (first(1.6) - 0.8).abs() < 1e-9);
        assert!((first(2.0) - 1.0).abs() < 1e-9 && (first(10.0) - 1.0).abs() < 1e-9);
    }
}
