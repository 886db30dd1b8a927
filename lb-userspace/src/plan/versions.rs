//! A service's roll-out, from what is known of its backends, and what it leaves each of them of its weight.

use std::time::Duration;

use super::{
    View,
    rollout::{self, Decision, Part, Stopped, decide},
    shares::{Candidate, WHOLE},
    state::Wanted,
};
use crate::{config::Service, health::Health};

/// Decides which versions get new flows, and gives each candidate its part; nothing where the service has no roll-out.
pub(super) fn roll_out<'a>(
    service: &'a Service,
    view: &'a View,
    wanted: &[Wanted],
    candidates: &mut [Candidate],
    now: Duration,
) -> Option<Decision<'a>> {
    let rules = view.wishes.rules_of(service)?;
    let of_rollout = |((backend, candidate), wanted): ((&'a crate::config::Backend, &Candidate), &Wanted)| {
        Some(rollout::Candidate {
            version: backend.version.as_ref()?,
            takes_new: candidate.takes(),
            stopped: stopped(*wanted, candidate, service.down_grace),
            weight: f64::from(candidate.weight) * f64::from(candidate.percent),
        })
    };
    let all = service.backends.iter().zip(&*candidates).zip(wanted);
    // A checked configuration gives every backend of such a service a version.
    let decision = decide(rules, &all.map(of_rollout).collect::<Option<Vec<_>>>()?, now);
    let factors = || decision.parts.iter().map(|part| part.factor());
    let most = factors().fold(0.0, f64::max);
    candidates.iter_mut().zip(factors()).for_each(|(candidate, factor)| candidate.part = part(factor, most));
    Some(decision)
}

/// What a wish, health and weight come to. Damping stops nobody: it ends by itself.
fn stopped(wanted: Wanted, candidate: &Candidate, grace: Duration) -> Stopped {
    if wanted != Wanted::Ready || candidate.weight == 0 || candidate.percent == 0 {
        return Stopped::Yes;
    }
    match candidate.health {
        Some((Health::Down, since)) => Stopped::From(since.saturating_add(grace)),
        _ => Stopped::No,
    }
}

/// A factor as a part of [`WHOLE`], which the largest one is. One that is not nothing stays so.
#[expect(clippy::cast_sign_loss, reason = "no factor is negative, and none above the largest")]
fn part(factor: f64, most: f64) -> u32 {
    if factor > 0.0 { ((factor / most * f64::from(WHOLE)).round() as u32).max(1) } else { 0 }
}

impl Part {
    const fn factor(self) -> f64 {
        match self {
            Self::Takes(factor) => factor,
            Self::Spare | Self::Waits => 0.0,
        }
    }
}
