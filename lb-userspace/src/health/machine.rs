//! The rise/fall state machine of one backend. No clock, no socket: results go in, changes come out.
//!
//! ```text
//!                 first result passed              first result failed
//!             +------------------------- unknown -------------------------+
//!             v                                                           v
//!            up  ----------- `fall` failures in a row ----------------> down
//!                <---------- `rise` passes in a row -------------------
//! ```
//!
//! The first result decides alone. Waiting for `rise` of them would keep a fleet of healthy backends in doubt when the
//! daemon starts, and waiting for `fall` would send flows to a backend that is dead; a result that was a fluke is
//! corrected like any other.

use super::Health;

/// The rise/fall state machine of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    rise: u32,
    fall: u32,
    health: Option<Health>,
    passed: bool,
    streak: u32,
}

impl Machine {
    /// Starts without health. `rise` and `fall` count results in a row; 0 acts as 1.
    #[must_use]
    pub const fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, health: None, passed: false, streak: 0 }
    }

    /// Goes on from what is known: another health takes as many results in a row as ever.
    #[must_use]
    pub const fn resumed(rise: u32, fall: u32, known: Option<Health>) -> Self {
        Self { health: known, passed: matches!(known, Some(Health::Up)), ..Self::new(rise, fall) }
    }

    /// Changes the thresholds; health and history stay.
    pub const fn set_thresholds(&mut self, rise: u32, fall: u32) {
        self.rise = rise;
        self.fall = fall;
    }

    /// None until the first result.
    #[must_use]
    pub const fn health(&self) -> Option<Health> {
        self.health
    }

    /// How many results in a row were like the last one.
    #[must_use]
    pub const fn streak(&self) -> u32 {
        self.streak
    }

    /// Whether the last results speak against what the health is.
    #[must_use]
    pub const fn is_changing(&self) -> bool {
        match self.health {
            Some(Health::Up) => !self.passed,
            Some(Health::Down) => self.passed,
            None => true,
        }
    }

    /// Takes in a probe's result; the new health, if this changes it.
    pub fn observe(&mut self, passed: bool) -> Option<Health> {
        self.streak = if self.passed == passed { self.streak.saturating_add(1) } else { 1 };
        self.passed = passed;
        let (verdict, needed) = if passed { (Health::Up, self.rise) } else { (Health::Down, self.fall) };
        let decided = match self.health {
            None => true,
            Some(health) => health != verdict && self.streak >= needed,
        };
        decided.then(|| *self.health.insert(verdict))
    }

    /// Why health has just become what it is, for people. `failure` is the last probe's.
    #[must_use]
    pub fn reason(&self, failure: Option<&str>) -> String {
        let how = failure.map_or_else(|| "passed".to_owned(), |failure| format!("failed: {failure}"));
        match self.streak {
            1 => format!("probe {how}"),
            streak => format!("{streak} probes in a row {how}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Health::*, *};

    /// A machine with rise 2 and fall 3 in the given state.
    const fn at(health: Option<Health>, passed: bool, streak: u32) -> Machine {
        Machine { rise: 2, fall: 3, health, passed, streak }
    }

    #[test]
    fn resumed_machine_needs_as_many_results_as_ever_to_change() {
        let mut machine = Machine::resumed(2, 3, Some(Up));
        assert_eq!([(); 3].map(|()| machine.observe(false)), [None, None, Some(Down)]);
        let mut machine = Machine::resumed(2, 3, Some(Down));
        assert_eq!([(); 2].map(|()| machine.observe(true)), [None, Some(Up)]);
    }

    #[test]
    fn transitions_follow_the_table() {
        const PASS: bool = true;
        const FAIL: bool = false;
        // (before, result, after, change)
        let table = [
            (at(None, FAIL, 0), PASS, at(Some(Up), PASS, 1), Some(Up)),
            (at(None, FAIL, 0), FAIL, at(Some(Down), FAIL, 1), Some(Down)),
            (at(Some(Up), PASS, 1), PASS, at(Some(Up), PASS, 2), None),
            (at(Some(Up), PASS, 9), FAIL, at(Some(Up), FAIL, 1), None),
            (at(Some(Up), FAIL, 1), PASS, at(Some(Up), PASS, 1), None),
            (at(Some(Up), FAIL, 1), FAIL, at(Some(Up), FAIL, 2), None),
            (at(Some(Up), FAIL, 2), PASS, at(Some(Up), PASS, 1), None),
            (at(Some(Up), FAIL, 2), FAIL, at(Some(Down), FAIL, 3), Some(Down)),
            (at(Some(Down), FAIL, 3), FAIL, at(Some(Down), FAIL, 4), None),
            (at(Some(Down), FAIL, 9), PASS, at(Some(Down), PASS, 1), None),
            (at(Some(Down), PASS, 1), FAIL, at(Some(Down), FAIL, 1), None),
            (at(Some(Down), PASS, 1), PASS, at(Some(Up), PASS, 2), Some(Up)),
        ];
        for (before, result, after, change) in table {
            let mut machine = before.clone();
            assert_eq!(machine.observe(result), change, "{before:?}, passed: {result}");
            assert_eq!(machine, after, "{before:?}, passed: {result}");
        }
    }

    #[test]
    fn lowered_threshold_acts_at_the_next_result() {
        let mut machine = at(Some(Up), false, 2);
        machine.set_thresholds(2, 1);
        assert_eq!(machine.health(), Some(Up));
        assert_eq!(machine.observe(false), Some(Down));
    }

    #[test]
    fn machine_is_changing_while_results_speak_against_its_health() {
        let table = [
            (at(None, false, 0), true),
            (at(Some(Up), true, 5), false),
            (at(Some(Up), false, 1), true),
            (at(Some(Down), false, 5), false),
            (at(Some(Down), true, 1), true),
        ];
        for (machine, changing) in table {
            assert_eq!(machine.is_changing(), changing, "{machine:?}");
        }
    }

    #[test]
    fn reason_says_how_many_and_why() {
        let mut machine = Machine::new(2, 3);
        machine.observe(false);
        assert_eq!(machine.reason(Some("connection refused")), "probe failed: connection refused");
        machine.observe(true);
        machine.observe(true);
        assert_eq!(machine.reason(None), "2 probes in a row passed");
    }

    proptest! {
        /// After the first result, health changes exactly where the last `rise` (or `fall`) results agree against it.
        #[test]
        fn health_changes_only_after_enough_results_in_a_row(
            rise in 1_u32..6,
            fall in 1_u32..6,
            results in proptest::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut machine = Machine::new(rise, fall);
            for (n, &passed) in results.iter().enumerate() {
                let before = machine.health();
                let changed = machine.observe(passed);
                let needed = if passed { rise } else { fall } as usize;
                let enough = n + 1 >= needed && results[n + 1 - needed..=n].iter().all(|&result| result == passed);
                let verdict = if passed { Up } else { Down };
                let expected = match before {
                    None => Some(verdict),
                    Some(health) => (health != verdict && enough).then_some(verdict),
                };
                prop_assert_eq!(changed, expected);
                prop_assert_eq!(machine.health(), expected.or(before));
            }
        }
    }
}
