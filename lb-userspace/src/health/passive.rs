//! What clients' packets tell of backends: a pure judgement by how many connections failed to open.
//!
//! A client that hears nothing sends its SYN again, which the balancer sees, though the answers go past it; and some resets and
//! ICMP errors come back to it. That may be the fault of the way to the client as well, or of whoever makes up clients; but such troubles are those of all backends
//! alike, since nobody can choose the backend of a flow. So only a backend that stands out among others is judged.

use std::{collections::VecDeque, time::Duration};

use lb_common::passive::Signs;

use crate::config::Passive;

/// What was counted of one backend lately.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Its number among all, since another number has another counter.
    id: u32,
    samples: VecDeque<(Duration, Signs)>,
}

impl Track {
    /// Takes in what was counted until `now`, and gives what came to it within the window.
    pub fn observe(&mut self, now: Duration, id: u32, counted: Signs, window: Duration) -> Signs {
        let began_anew = self.samples.back().is_some_and(|(_, last)| counted.opened < last.opened);
        if self.id != id || began_anew {
            self.samples.clear();
            self.id = id;
        }
        self.samples.push_back((now, counted));
        while self.samples.len() > 1 && now.saturating_sub(self.samples[1].0) >= window {
            self.samples.pop_front();
        }
        let (_, first) = self.samples[0];
        Signs {
            opened: counted.opened.saturating_sub(first.opened),
            again: counted.again.saturating_sub(first.again),
            refused: counted.refused.saturating_sub(first.refused),
            unreachable: counted.unreachable.saturating_sub(first.unreachable),
        }
    }

    /// Forgets what was counted.
    pub fn forget(&mut self) {
        self.samples.clear();
    }
}

/// Which backends of a service are to be taken for down, by their places in `seen`: those that have the share, while at
/// least as many others that can be judged have less than half of it.
#[must_use]
pub fn suspects(rule: &Passive, seen: &[Signs]) -> Vec<usize> {
    let judged = |signs: &&Signs| signs.opened >= u64::from(rule.connections);
    let share = u64::from(rule.share);
    let is_bad = |signs: &Signs| signs.failed() * 100 >= signs.opened * share && signs.failed() > 0;
    let is_good = |signs: &Signs| signs.failed() * 200 < signs.opened * share;
    let good = seen.iter().filter(judged).filter(|signs| is_good(signs)).count();
    let bad: Vec<usize> =
        (0..).zip(seen).filter(|(_, signs)| judged(signs) && is_bad(signs)).map(|(place, _)| place).collect();
    if bad.len() <= good { bad } else { Vec::new() }
}

/// Why a backend was taken for down, for people.
#[must_use]
pub fn reason(rule: &Passive, signs: Signs) -> String {
    let window = humantime::format_duration(rule.window);
    let Signs { opened, again, refused, unreachable } = signs;
    let kinds = [
        (refused, "were refused", "refused"),
        (unreachable, "found it unreachable", "unreachable"),
        (again, "were opened again", "opened again"),
    ];
    let there = kinds.into_iter().filter(|(count, ..)| *count > 0);
    let (ended, parts) = match there.clone().collect::<Vec<_>>()[..] {
        [(_, ended, _)] => (ended, String::new()),
        _ => {
            ("failed", there.map(|(count, _, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(", "))
        }
    };
    let failed = signs.failed();
    let parts = if parts.is_empty() { parts } else { format!(" ({parts})") };
    format!("passive: {failed} of {opened} connections within {window} {ended}{parts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Passive = Passive {
        share: 50,
        connections: 10,
        window: Duration::from_secs(10),
        hold: Duration::from_secs(30),
    };

    const fn signs(opened: u64, again: u64) -> Signs {
        Signs { opened, again, refused: 0, unreachable: 0 }
    }

    const fn refused(opened: u64, refused: u64) -> Signs {
        Signs { opened, again: 0, refused, unreachable: 0 }
    }

    const fn mixed(opened: u64, [again, refused, unreachable]: [u64; 3]) -> Signs {
        Signs { opened, again, refused, unreachable }
    }

    #[test]
    fn backend_that_stands_out_is_judged() {
        // (what was seen of the backends, who is taken for down)
        let table: [(&[Signs], &[usize]); 16] = [
            (&[signs(14, 12), signs(20, 0)], &[0]),
            (&[signs(10, 5), signs(10, 2)], &[0]),
            (&[signs(10, 4), signs(10, 0)], &[]),
            // Too few to tell.
            (&[signs(9, 9), signs(20, 0)], &[]),
            (&[signs(20, 20), signs(9, 0)], &[]),
            // Everybody's trouble, or as good as everybody's.
            (&[signs(20, 20), signs(20, 20)], &[]),
            (&[signs(20, 20), signs(20, 6)], &[]),
            (&[signs(20, 20), signs(20, 20), signs(20, 0)], &[]),
            (&[signs(20, 20), signs(20, 20), signs(20, 0), signs(30, 1)], &[0, 1]),
            // Whatever has failed counts, and all of it together.
            (&[refused(20, 10), signs(20, 0)], &[0]),
            (&[refused(20, 9), signs(20, 0)], &[]),
            (&[mixed(20, [0, 0, 10]), signs(20, 0)], &[0]),
            (&[mixed(20, [3, 3, 4]), signs(20, 0)], &[0]),
            (&[mixed(20, [3, 3, 3]), signs(20, 0)], &[]),
            // So it does of those that a bad one is compared with.
            (&[refused(20, 20), mixed(20, [2, 2, 1])], &[]),
            (&[refused(20, 20), mixed(20, [1, 1, 2])], &[0]),
        ];
        for (seen, expected) in table {
            assert_eq!(suspects(&RULE, seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn nobody_is_judged_by_nothing() {
        let zero = Passive { share: 0, ..RULE };
        assert_eq!(suspects(&zero, &[signs(20, 0), signs(20, 0)]), [0; 0]);
        assert_eq!(suspects(&RULE, &[]), [0; 0]);
    }

    #[test]
    fn only_the_window_counts() {
        let mut track = Track::default();
        let mut at = |second, opened, again| {
            track.observe(Duration::from_secs(second), 7, signs(opened, again), RULE.window)
        };
        assert_eq!(at(0, 100, 5), signs(0, 0), "what was before the first look says nothing");
        assert_eq!(at(5, 130, 25), signs(30, 20));
        assert_eq!(at(10, 140, 26), signs(40, 21));
        assert_eq!(at(15, 150, 26), signs(20, 1), "the first five seconds are too long ago");
    }

    #[test]
    fn every_kind_is_counted_within_the_window() {
        let mut track = Track::default();
        let mut at = |second, seen| track.observe(Duration::from_secs(second), 7, seen, RULE.window);
        at(0, mixed(100, [5, 6, 7]));
        assert_eq!(at(5, mixed(110, [6, 8, 10])), mixed(10, [1, 2, 3]));
    }

    #[test]
    fn another_counter_begins_anew() {
        let mut track = Track::default();
        track.observe(Duration::from_secs(0), 7, signs(100, 5), RULE.window);
        assert_eq!(track.observe(Duration::from_secs(1), 8, signs(200, 90), RULE.window), signs(0, 0));
        assert_eq!(track.observe(Duration::from_secs(2), 8, signs(3, 1), RULE.window), signs(0, 0));
        assert_eq!(track.observe(Duration::from_secs(3), 8, signs(5, 2), RULE.window), signs(2, 1));
    }

    #[test]
    fn reason_counts() {
        let table = [
            (signs(14, 12), "passive: 12 of 14 connections within 10s were opened again"),
            (refused(50, 42), "passive: 42 of 50 connections within 10s were refused"),
            (mixed(50, [0, 0, 42]), "passive: 42 of 50 connections within 10s found it unreachable"),
            (
                mixed(50, [2, 30, 10]),
                "passive: 42 of 50 connections within 10s failed (30 refused, 10 unreachable, 2 opened again)",
            ),
            (
                mixed(50, [2, 0, 40]),
                "passive: 42 of 50 connections within 10s failed (40 unreachable, 2 opened again)",
            ),
        ];
        for (seen, said) in table {
            assert_eq!(reason(&RULE, seen), said);
        }
    }
}
