//! What damping means for a service: who is held gets no new flows, unless nobody else takes any.

use std::time::Duration;

use super::{View, shares::Candidate};
use crate::{config::Service, health::TargetKey};

/// Holds those of the candidates that are to be held. Until when the first of them is.
pub(super) fn hold(service: &Service, view: &View, candidates: &mut [Candidate]) -> Option<Duration> {
    // Mostly nobody is, and a key costs two allocations.
    if service.flap.is_none() || view.damped.is_empty() {
        return None;
    }
    let key = |backend: &str| TargetKey { service: service.name.clone(), backend: backend.to_owned() };
    let backends = service.backends.iter();
    let until: Vec<_> = backends.map(|backend| view.damped.get(&key(&backend.name)).copied()).collect();
    let takes = |(candidate, until): (&Candidate, &Option<_>)| until.is_none() && candidate.takes();
    if candidates.iter().zip(&until).any(takes) {
        let held = candidates.iter_mut().zip(&until).filter(|(_, until)| until.is_some());
        held.for_each(|(candidate, _)| candidate.ready = false);
    }
    until.into_iter().flatten().min()
}
