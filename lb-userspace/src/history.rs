//! The last changes of each backend's state, and their reasons.
//!
//! A backend is known by its name within its service, so its history outlives reloads and changes of its address. Every
//! change is a line in a file at once ([`journal`]), so it outlives the daemon too, however that ends.

pub mod journal;

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::health::{TargetKey, damping::Damper};

/// Changes that are kept of each backend.
pub const KEPT: usize = 16;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// What the operator wants of it.
    Admin,
    /// What its probes say.
    Health,
    /// Its share relative to the others'.
    Weight,
    /// What it runs.
    Version,
    /// What it says of itself.
    Advice,
    /// Whether it is held for changing its health too often.
    Damping,
}

/// A change of a backend's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, on the monotonic clock.
    pub at: Duration,
    /// What.
    pub aspect: Aspect,
    /// What it is from then on.
    pub is: Cow<'static, str>,
    /// Why.
    pub why: Cow<'static, str>,
}

/// What a backend is while damping holds it.
pub const HELD: &str = "held";

/// The last changes of one backend, the oldest first. What has become of many backends at once is there once.
type History = Vec<Arc<Change>>;

/// The histories of all backends.
#[derive(Clone, Debug, Default)]
pub struct Histories {
    /// By service and backend: there may be a million of them, most with one change.
    of: HashMap<String, HashMap<Box<str>, History>>,
    /// The last change of all.
    last: Option<Arc<Change>>,
}

impl Aspect {
    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Health => "health",
            Self::Weight => "weight",
            Self::Version => "version",
            Self::Advice => "advice",
            Self::Damping => "damping",
        }
    }
}

impl Histories {
    /// The changes of a backend, the oldest first.
    #[must_use]
    pub fn of(&self, key: &TargetKey) -> impl DoubleEndedIterator<Item = &Change> + use<'_> {
        self.history(key).unwrap_or_default().iter().map(AsRef::as_ref)
    }

    fn history(&self, key: &TargetKey) -> Option<&[Arc<Change>]> {
        self.of.get(&key.service)?.get(key.backend.as_str()).map(Vec::as_slice)
    }

    /// The last change of that aspect.
    #[must_use]
    pub fn last(&self, key: &TargetKey, aspect: Aspect) -> Option<&Change> {
        self.of(key).rfind(|change| change.aspect == aspect)
    }

    /// All changes, with the names of service and backend.
    pub fn all(&self) -> impl Iterator<Item = ([&str; 2], &Change)> {
        self.backends().flat_map(|(key, history)| history.iter().map(move |change| (key, &**change)))
    }

    /// How many backends have one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of.values().map(HashMap::len).sum()
    }

    /// Whether no backend has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn backends(&self) -> impl Iterator<Item = ([&str; 2], &History)> {
        self.of.iter().flat_map(|(service, backends)| {
            backends.iter().map(move |(backend, history)| ([service.as_str(), backend], history))
        })
    }

    /// The dampers of the backends that need one.
    pub fn dampers(&self) -> impl Iterator<Item = (TargetKey, Damper)> {
        let of_backend = |([service, backend], history): ([&str; 2], &History)| {
            (TargetKey::new(service, backend), damper(history))
        };
        self.backends().map(of_backend).filter(|(_, damper)| *damper != Damper::default())
    }

    /// Adds a change. What is oldest makes room, but for what says that the backend is held while it is.
    pub fn add(&mut self, key: &TargetKey, change: Change) {
        let last = self.last.take().filter(|last| **last == change);
        let change = last.unwrap_or_else(|| Arc::new(change));
        self.last = Some(Arc::clone(&change));
        let history = self.of_mut(key);
        history.push(change);
        if history.len() > KEPT {
            let mark = is_held(history).then(|| mark(history)).flatten();
            history.remove(usize::from(mark == Some(0)));
        }
    }

    fn of_mut(&mut self, key: &TargetKey) -> &mut History {
        if !self.of.contains_key(&key.service) {
            self.of.insert(key.service.clone(), HashMap::new());
        }
        let of_service = self.of.get_mut(&key.service).expect("it has just been made sure of");
        of_service.entry(key.backend.as_str().into()).or_insert_with(|| Vec::with_capacity(1))
    }

    /// Gives a history to a backend's new name. Whether there is one.
    pub fn rename(&mut self, from: &TargetKey, to: &TargetKey) -> bool {
        let of_service = self.of.get_mut(&from.service);
        let Some(history) = of_service.and_then(|backends| backends.remove(from.backend.as_str())) else {
            return false;
        };
        *self.of_mut(to) = history;
        true
    }

    /// Forgets the backends that are not `known` by the names of service and backend. Whether there were any.
    pub fn retain(&mut self, known: impl Fn(&str, &str) -> bool) -> bool {
        let before = self.len();
        self.of.retain(|service, backends| {
            backends.retain(|backend, _| known(service, backend));
            !backends.is_empty()
        });
        self.len() != before
    }
}

/// The damping of a backend with this history.
fn damper(history: &[Arc<Change>]) -> Damper {
    let begin = history.iter().rposition(|change| change.aspect == Aspect::Damping && change.is != HELD);
    let since = history.iter().skip(begin.map_or(0, |begin| begin + 1));
    let changes = since.filter(|change| change.aspect == Aspect::Health).map(|change| change.at);
    Damper::resumed(changes, is_held(history))
}

fn mark(history: &[Arc<Change>]) -> Option<usize> {
    history.iter().rposition(|change| change.aspect == Aspect::Damping)
}

fn is_held(history: &[Arc<Change>]) -> bool {
    mark(history).is_some_and(|mark| history[mark].is == HELD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flap;

    impl PartialEq for Histories {
        fn eq(&self, other: &Self) -> bool {
            self.of == other.of
        }
    }

    const RULE: Option<Flap> =
        Some(Flap { changes: 3, within: Duration::from_secs(10), hold: Duration::from_secs(30) });

    fn key(backend: &str) -> TargetKey {
        TargetKey { service: "web".to_owned(), backend: backend.to_owned() }
    }

    pub(super) fn change(at: u64, aspect: Aspect, is: &str) -> Change {
        Change { at: Duration::from_secs(at), aspect, is: is.to_owned().into(), why: "a test".into() }
    }

    fn histories(changes: impl IntoIterator<Item = Change>) -> Histories {
        let mut histories = Histories::default();
        changes.into_iter().for_each(|change| histories.add(&key("b1"), change));
        histories
    }

    fn moments(histories: &Histories) -> Vec<u64> {
        histories.of(&key("b1")).map(|change| change.at.as_secs()).collect()
    }

    #[test]
    fn oldest_change_makes_room() {
        let full = histories((0..20).map(|at| change(at, Aspect::Health, "up")));
        assert_eq!(moments(&full), (4..20).collect::<Vec<_>>());
        assert_eq!(full.last(&key("b1"), Aspect::Health), Some(&change(19, Aspect::Health, "up")));
        assert_eq!(full.last(&key("b1"), Aspect::Weight), None);
    }

    #[test]
    fn mark_of_a_held_backend_stays() {
        let changes = |end: &'static str| {
            let mark = [change(0, Aspect::Damping, HELD)];
            let later = (1..30).map(move |at| match at {
                2 => change(2, Aspect::Damping, end),
                at => change(at, Aspect::Health, "up"),
            });
            histories(mark.into_iter().chain(later))
        };
        let held = changes(HELD);
        assert_eq!(moments(&held)[..2], [2, 15], "the last of the marks");
        assert!(held.dampers().next().unwrap().1.until(RULE).is_some());
        let released = changes("released");
        assert_eq!(moments(&released)[0], 14);
        assert_eq!(released.dampers().next().unwrap().1.until(RULE), None);
    }

    #[test]
    fn damper_goes_on_where_the_history_ends() {
        let (key, mut damper) = histories([
            change(90, Aspect::Health, "down"),
            change(91, Aspect::Damping, "released"),
            change(97, Aspect::Health, "up"),
            change(98, Aspect::Weight, "3"),
            change(99, Aspect::Health, "down"),
        ])
        .dampers()
        .next()
        .unwrap();
        assert_eq!(key, super::tests::key("b1"));
        assert_eq!(damper, Damper::resumed([97, 99].map(Duration::from_secs), false));
        assert_eq!(
            damper.note_change(RULE, Duration::from_secs(100)),
            None,
            "what was before the release counts no more"
        );
    }

    #[test]
    fn history_follows_a_backend_to_its_new_name() {
        let mut histories = histories([change(1, Aspect::Health, "up")]);
        assert!(histories.rename(&key("b1"), &key("b1@192.0.2.11")));
        assert!(!histories.rename(&key("b1"), &key("b2")));
        assert_eq!(histories.of(&key("b1")).count(), 0);
        assert_eq!(histories.of(&key("b1@192.0.2.11")).count(), 1);
        assert!(histories.retain(|_, backend| backend == "b1"));
        assert!(histories.is_empty());
    }
}
