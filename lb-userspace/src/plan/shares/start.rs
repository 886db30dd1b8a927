//! Slow start: a backend that comes up gets its share in steps.
//!
//! There are [`STEPS`]: a fifth of its share at once, another fifth after each quarter of the time. Every step moves slots,
//! so there are few. Who began when is [`Started`], which knows no reason but one: somebody takes flows who did not before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Candidate;
use crate::health::TargetKey;

/// Steps from nothing to a whole share.
pub const STEPS: u32 = 5;

/// The step of a backend that `started` then, 1 to 4; none where it has its whole share.
pub(super) fn step(started: Option<Duration>, takes: Duration, now: Duration) -> Option<u32> {
    let elapsed = now.saturating_sub(started?);
    let quarter = takes / (STEPS - 1);
    (1..STEPS).find(|&step| elapsed < quarter * step)
}

/// When the next of these takes its next step.
pub(super) fn next_step(candidates: &[Candidate], takes: Duration, now: Duration) -> Option<Duration> {
    let next = |candidate: &Candidate| {
        let step = step(candidate.started, takes, now)?;
        Some(candidate.started? + takes / (STEPS - 1) * step)
    };
    candidates.iter().filter_map(next).min()
}

/// Who takes flows of the services whose backends start slowly, by their names.
pub type Taking = BTreeMap<String, Arc<Takers>>;

/// Who takes flows of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takers {
    /// How long it takes them until they have their whole share.
    pub slow_start: Duration,
    /// Their names.
    pub names: BTreeSet<String>,
}

/// When backends began to take flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Those that take flows, of services that were looked at before.
    taking: Taking,
    /// Those of them that began while somebody looked, until they have their whole share.
    since: BTreeMap<TargetKey, Duration>,
}

impl Started {
    /// What an earlier daemon knew.
    #[must_use]
    pub const fn known(since: BTreeMap<TargetKey, Duration>) -> Self {
        Self { taking: Taking::new(), since }
    }

    /// Takes note of who takes flows now. Those who do at the first look at their service have always done.
    pub fn look(&mut self, taking: Taking, now: Duration) {
        self.since.retain(|backend, since| {
            let takers = taking.get(&backend.service);
            let takers = takers.filter(|takers| takers.names.contains(&backend.backend));
            takers.is_some_and(|takers| now < *since + takers.slow_start)
        });
        for (service, takers) in &taking {
            let Some(already) = self.taking.get(service).filter(|already| !Arc::ptr_eq(already, takers))
            else {
                continue;
            };
            let began = takers.names.difference(&already.names).cloned();
            self.since.extend(began.map(|backend| (TargetKey { service: service.clone(), backend }, now)));
        }
        self.taking = taking;
    }

    /// Who took flows of a service at the last look.
    #[must_use]
    pub fn takers(&self, service: &str) -> Option<&Arc<Takers>> {
        self.taking.get(service)
    }

    /// When a backend began to take flows, if that was seen.
    #[must_use]
    pub fn of(&self, backend: &TargetKey) -> Option<Duration> {
        self.since.get(backend).copied()
    }

    /// All that were seen to begin.
    #[must_use]
    pub const fn all(&self) -> &BTreeMap<TargetKey, Duration> {
        &self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn steps_follow_the_table() {
        // Began at 100 s, takes 40 s.
        let table = [
            (100, Some(1)),
            (109, Some(1)),
            (110, Some(2)),
            (119, Some(2)),
            (120, Some(3)),
            (130, Some(4)),
            (139, Some(4)),
            (140, None),
            (9_000, None),
            (50, Some(1)),
        ];
        for (now, expected) in table {
            assert_eq!(step(Some(at(100)), at(40), at(now)), expected, "at {now}");
        }
        assert_eq!(step(Some(at(100)), Duration::ZERO, at(100)), None);
        assert_eq!(step(None, at(40), at(100)), None);
    }

    fn taking(names: &[&str]) -> Taking {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        [("web".to_owned(), Arc::new(Takers { slow_start: at(5), names }))].into()
    }

    fn began(expected: &[(&str, u64)]) -> BTreeMap<TargetKey, Duration> {
        let key = |backend: &str| TargetKey { service: "web".to_owned(), backend: backend.to_owned() };
        expected.iter().map(|(name, since)| (key(name), at(*since))).collect()
    }

    #[test]
    fn who_begins_is_who_did_not_take_flows_before() {
        /// Who takes flows, when, who has begun and when.
        type Step<'a> = (&'a [&'a str], u64, &'a [(&'a str, u64)]);
        let sequence: [Step<'_>; 8] = [
            (&["a", "b"], 1, &[]),
            (&["a"], 2, &[]),
            (&["a", "b"], 3, &[("b", 3)]),
            (&["a", "b", "new"], 4, &[("b", 3), ("new", 4)]),
            (&["a", "new"], 5, &[("new", 4)]),
            (&["a", "b", "new"], 6, &[("b", 6), ("new", 4)]),
            (&["a", "b", "new"], 9, &[("b", 6)]),
            (&["a", "b", "new"], 11, &[]),
        ];
        let mut started = Started::default();
        for (names, now, expected) in sequence {
            started.look(taking(names), at(now));
            assert_eq!(*started.all(), began(expected), "at {now}");
        }
    }

    #[test]
    fn nobody_begins_with_a_service() {
        let mut started = Started::default();
        started.look(Taking::new(), at(1));
        started.look(taking(&["a", "b"]), at(2));
        assert_eq!(*started.all(), BTreeMap::new());
        started.look(Taking::new(), at(3));
        started.look(taking(&["a"]), at(4));
        assert_eq!(*started.all(), BTreeMap::new());
    }

    #[test]
    fn start_goes_on_over_a_restart_unless_the_backend_has_ended_meanwhile() {
        let mut started = Started::known(began(&[("a", 7), ("b", 7)]));
        started.look(taking(&["a", "c"]), at(9));
        assert_eq!(*started.all(), began(&[("a", 7)]));
    }
}
