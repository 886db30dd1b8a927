//! Damping: a backend whose health changes too often gets no new flows until it has been calm. No clock: moments go in.
//!
//! ```text
//!            more than `changes` changes of health within `within`
//!     calm ---------------------------------------------------------> held
//!          <---------------------------------------------------------
//!                    no change of health for as long as `hold`
//! ```
//!
//! RFC 2439 lets a penalty decay instead; that can be less harsh on the way back, but nobody can tell from the outside how
//! much is left. Counting can be checked by hand against a backend's history.

use std::{collections::VecDeque, time::Duration};

use crate::config::Flap;

/// The damping of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damper {
    /// The last changes of its health.
    changes: VecDeque<Duration>,
    held: bool,
}

/// What has become of a damper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its backend is held from now on. It has changed its health so often.
    Held(u32),
    /// It is not any more.
    Released,
}

impl Damper {
    /// Goes on from what was known: the last changes, the oldest first, and whether the backend was held.
    #[must_use]
    pub fn resumed(changes: impl IntoIterator<Item = Duration>, held: bool) -> Self {
        Self { changes: changes.into_iter().collect(), held }
    }

    /// Takes in a change of health.
    pub fn note_change(&mut self, rule: Option<Flap>, now: Duration) -> Option<Turn> {
        let rule = rule?;
        self.changes.push_back(now);
        let excess = self.changes.len().saturating_sub(rule.changes as usize + 1);
        self.changes.drain(..excess);
        let recent = self.changes.iter().filter(|&&at| now.saturating_sub(at) <= rule.within).count();
        if self.held || recent <= rule.changes as usize {
            return None;
        }
        self.held = true;
        Some(Turn::Held(recent as u32))
    }

    /// Releases a backend that has been calm, or that nothing holds any more.
    pub fn look(&mut self, rule: Option<Flap>, now: Duration) -> Option<Turn> {
        if !self.held || self.until(rule).is_some_and(|until| until > now) {
            return None;
        }
        *self = Self::default();
        Some(Turn::Released)
    }

    /// Whether its backend is held.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// Until when its backend is held, if its health does not change any more; none where it is not.
    #[must_use]
    pub fn until(&self, rule: Option<Flap>) -> Option<Duration> {
        let hold = rule.filter(|_| self.held)?.hold;
        Some(self.changes.back()?.saturating_add(hold))
    }
}

#[cfg(test)]
mod tests {
    use Turn::{Held, Released};
    use proptest::prelude::*;

    use super::*;

    /// More than three changes within 10 s, and 30 s of calm.
    const RULE: Option<Flap> =
        Some(Flap { changes: 3, within: Duration::from_secs(10), hold: Duration::from_secs(30) });

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn damper(changes: &[u64], held: bool) -> Damper {
        Damper::resumed(changes.iter().copied().map(at), held)
    }

    #[test]
    fn changes_of_health_follow_the_table() {
        // (changes before, whether it was held, when the next change comes, what that comes to, until when it is held)
        type Case = (&'static [u64], bool, u64, Option<Turn>, Option<u64>);
        let table: [Case; 9] = [
            (&[], false, 100, None, None),
            (&[98, 99], false, 100, None, None),
            (&[97, 98, 99], false, 100, Some(Held(4)), Some(130)),
            (&[90, 98, 99], false, 100, Some(Held(4)), Some(130)),
            (&[89, 98, 99], false, 100, None, None),
            (&[80, 81, 82, 99], false, 100, None, None),
            (&[96, 97, 98, 99], true, 100, None, Some(130)),
            // It is not calm, however rarely it changes.
            (&[97, 98, 99, 100], true, 129, None, Some(159)),
            (&[], true, 100, None, Some(130)),
        ];
        for (before, held, now, turn, until) in table {
            let mut after = damper(before, held);
            assert_eq!(after.note_change(RULE, at(now)), turn, "{before:?}, {now}");
            assert_eq!(after.until(RULE), until.map(at), "{before:?}, {now}");
        }
    }

    #[test]
    fn time_follows_the_table() {
        // (changes, whether it is held, now, what that comes to)
        let table: [(&[u64], bool, u64, Option<Turn>); 5] = [
            (&[97, 98, 99, 100], true, 129, None),
            (&[97, 98, 99, 100], true, 130, Some(Released)),
            (&[97, 98, 99, 100], false, 130, None),
            (&[], false, 130, None),
            // Held, and nobody knows since when: there is nothing to wait for.
            (&[], true, 130, Some(Released)),
        ];
        for (changes, held, now, turn) in table {
            let mut after = damper(changes, held);
            assert_eq!(after.look(RULE, at(now)), turn, "{changes:?}, {now}");
            assert_eq!(after.look(RULE, at(now)), None, "once");
        }
    }

    #[test]
    fn one_that_was_released_begins_anew() {
        let mut damper = damper(&[97, 98, 99, 100], true);
        assert_eq!(damper.look(RULE, at(130)), Some(Released));
        assert_eq!(damper.note_change(RULE, at(131)), None);
    }

    #[test]
    fn nothing_holds_without_a_rule() {
        let mut held = damper(&[97, 98, 99, 100], true);
        assert_eq!(held.until(None), None);
        assert_eq!(held.look(None, at(101)), Some(Released));
        let mut calm = Damper::default();
        assert!((0..99).all(|second| calm.note_change(None, at(second)).is_none()));
        assert_eq!(calm, Damper::default());
    }

    proptest! {
        /// A backend is held exactly from the moment at which the history has more changes than allowed, to the moment at
        /// which the last one is `hold` ago.
        #[test]
        fn held_as_the_history_says(gaps in proptest::collection::vec(0_u64..40, 1..60)) {
            let (mut damper, mut now, mut changes, mut held) = (Damper::default(), 0, Vec::new(), false);
            for gap in gaps {
                now += gap;
                if held && gap >= 30 {
                    held = false;
                    changes.clear();
                    prop_assert_eq!(damper.look(RULE, at(now)), Some(Released));
                }
                changes.push(now);
                held |= changes.iter().filter(|&&change| now - change <= 10).count() > 3;
                damper.note_change(RULE, at(now));
                prop_assert_eq!(damper.until(RULE), held.then(|| at(now + 30)));
            }
        }
    }
}
