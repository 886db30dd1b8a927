//! A service's roll-out, from what is known of its backends.

use std::time::Duration;

use super::{
    Verdict, View,
    rollout::{Candidate, Decision, Part, Stopped, decide},
    state::Wanted,
};
use crate::{config::Service, health::Health};

/// What is known of a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// What operator and backend want of it.
    pub(super) wanted: Wanted,
    /// What its probes say.
    pub(super) verdict: Option<Verdict>,
    /// Whether it may be given new flows, as far as it is alone concerned.
    pub(super) takes_new: bool,
    /// Its weight, by the file and by its own word.
    pub(super) weight: f64,
}

/// The decision about all backends of a service; none where it has no roll-out.
pub(super) fn versions<'a>(
    service: &'a Service,
    view: &'a View,
    standings: &[Standing],
    now: Duration,
) -> Option<Decision<'a>> {
    let rules = view.wishes.rules_of(service)?;
    let backends = service.backends.iter().zip(standings);
    // A checked configuration gives every backend of such a service a version.
    let candidates: Option<Vec<_>> = backends
        .map(|(backend, standing)| {
            Some(Candidate {
                version: backend.version.as_ref()?,
                takes_new: standing.takes_new,
                stopped: standing.stopped(service.down_grace),
                weight: standing.weight,
            })
        })
        .collect();
    Some(decide(rules, &candidates?, now))
}

impl Standing {
    fn stopped(&self, grace: Duration) -> Stopped {
        match self.verdict {
            _ if self.wanted != Wanted::Ready || self.weight <= 0.0 => Stopped::Yes,
            Some(Verdict { health: Health::Down, since, .. }) => Stopped::From(since.saturating_add(grace)),
            _ => Stopped::No,
        }
    }
}

impl Part {
    /// How much of its weight it leaves a backend, relative to the most that it leaves any.
    pub(super) const fn factor(self) -> f64 {
        match self {
            Self::Takes(factor) => factor,
            Self::Spare | Self::Waits => 0.0,
        }
    }
}
