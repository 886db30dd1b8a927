//! Backends that clients' packets speak against: taken for down for a while, whatever their probes say.
//!
//! What the probes say meanwhile is kept, and holds again after that.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use lb_common::passive::Signs;

use super::{Truth, key};
use crate::{
    config::{Passive, Service},
    daemon::now,
    health::{
        Health, TargetKey,
        passive::{Track, reason, suspects},
    },
    plan::Verdict,
    reconcile::AppliedService,
};

/// How often counters are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What is watched, and who is suspected.
#[derive(Debug, Default)]
pub(super) struct Watch {
    tracks: HashMap<TargetKey, Track>,
    suspects: HashMap<TargetKey, Suspect>,
    last: Duration,
}

/// A backend that is taken for down.
#[derive(Debug)]
struct Suspect {
    until: Duration,
    /// What its probes say.
    probed: Verdict,
    /// Why they say so.
    cause: String,
}

impl Watch {
    /// Keeps what probes say of a suspect for later. Whether it is one.
    pub(super) fn keep(&mut self, target: &TargetKey, probed: Verdict, cause: &str) -> bool {
        let Some(suspect) = self.suspects.get_mut(target) else { return false };
        suspect.probed = probed;
        cause.clone_into(&mut suspect.cause);
        true
    }
}

impl Truth {
    /// When clients' packets are to be looked at.
    pub(in crate::daemon) fn next_judgement(&self) -> Option<Duration> {
        let is_due = self.config.services.iter().any(|service| service.passive.is_some());
        (is_due || !self.watch.suspects.is_empty()).then(|| self.watch.last + EVERY)
    }

    /// Looks at how connections have opened, and takes for down whom that speaks against.
    pub(in crate::daemon) fn judge(&mut self) {
        self.watch.last = now();
        let mut changed = self.release();
        let config = Arc::clone(&self.config);
        for service in &config.services {
            if let Some(rule) = &service.passive {
                changed |= self.judge_service(service, rule);
            }
        }
        if changed {
            self.converge_or_log();
        }
    }

    fn judge_service(&mut self, service: &Service, rule: &Passive) -> bool {
        let entries = self.applied.service(&service.key()).map(AppliedService::entries).unwrap_or_default();
        let mut seen = Vec::new();
        for backend in &service.backends {
            let track = self.watch.tracks.entry(key(service, &backend.name)).or_default();
            // Of one that gets no connections nothing can be said, nor of its last ones once it gets some again.
            seen.push(match entries.get(&backend.address.into()) {
                Some((id, entry)) if entry.takes_new != 0 => {
                    track.observe(self.watch.last, *id, self.dataplane.signs(*id), rule.window)
                }
                _ => {
                    track.forget();
                    Signs::default()
                }
            });
        }
        let mut changed = false;
        for place in suspects(rule, &seen) {
            changed |= self.suspect(key(service, &service.backends[place].name), rule, seen[place]);
        }
        changed
    }

    /// Takes a backend for down, where its probes say that it is up.
    fn suspect(&mut self, target: TargetKey, rule: &Passive, signs: Signs) -> bool {
        let Some(&probed) = self.view.health.get(&target).filter(|verdict| verdict.health == Health::Up)
        else {
            return false;
        };
        let since = self.watch.last;
        let cause = self.causes.get(&target).cloned().unwrap_or_default();
        self.watch.suspects.insert(target.clone(), Suspect { until: since + rule.hold, probed, cause });
        self.change_health(target, Verdict { health: Health::Down, since, ..probed }, reason(rule, signs));
        true
    }

    /// Lets the probes speak for those again whose time is over, or of whom nothing passive is asked any more.
    fn release(&mut self) -> bool {
        let watched: HashSet<TargetKey> = self
            .config
            .services
            .iter()
            .filter(|service| service.passive.is_some())
            .flat_map(|service| service.backends.iter().map(|backend| key(service, &backend.name)))
            .collect();
        self.watch.tracks.retain(|target, _| watched.contains(target));
        let over = |target: &TargetKey, suspect: &Suspect| {
            suspect.until <= self.watch.last || !watched.contains(target)
        };
        let released: Vec<_> = self
            .watch
            .suspects
            .iter()
            .filter(|(target, suspect)| over(target, suspect))
            .map(|(target, _)| target.clone())
            .collect();
        for target in &released {
            let Some(Suspect { probed, cause, .. }) = self.watch.suspects.remove(target) else { continue };
            if probed.health == Health::Up {
                self.change_health(target.clone(), Verdict { since: self.watch.last, ..probed }, cause);
            } else {
                // Nothing but the reason changes.
                self.causes.insert(target.clone(), cause);
            }
        }
        !released.is_empty()
    }
}
