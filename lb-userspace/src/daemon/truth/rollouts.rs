//! What somebody wants of a roll-out by command, and how roll-outs stand.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use tracing::info;

use super::Truth;
use crate::{
    admin::{rollout::Obeyed, status},
    causes::with_causes,
    config::Service,
    daemon::RolloutEvent,
    health::TargetKey,
    history::Aspect,
    plan::{PlannedService, rollout::Part},
    version::Version,
    wishes::{RolloutError, RolloutWish},
};

/// An order that was taken, and whom to tell once it is carried out.
#[derive(Debug)]
pub(super) struct PendingRollout {
    service: String,
    /// What the operator has to know beside that.
    warning: Option<String>,
    answer: oneshot::Sender<Result<Obeyed, RolloutError>>,
}

impl Truth {
    /// Takes an order. It holds also where it cannot be kept.
    pub(super) fn roll_out(&mut self, event: RolloutEvent) {
        let RolloutEvent { service, order, answer } = event;
        let before = self.view.wishes.rollout_of(&service).cloned();
        if let Err(error) = self.view.wishes.roll_out(&self.config, &service, &order) {
            // Nobody waits any more where this fails.
            return drop(answer.send(Err(error)));
        }
        let wish = self.view.wishes.rollout_of(&service);
        if wish != before.as_ref() {
            self.stale.service(&service);
            info!(service, "roll-out set by command: {}", wish.map_or("as the file says".to_owned(), words));
        }
        let warning =
            self.keep().err().map(|error| format!("a restart forgets this: {}", with_causes(&error)));
        self.pending_rollouts.push(PendingRollout { service, warning, answer });
    }

    /// Tells what became of the orders, now that the data plane follows, but for a `problem`.
    pub(super) fn answer_rollouts(&mut self, problem: Option<&str>) {
        for PendingRollout { service, warning, answer } in std::mem::take(&mut self.pending_rollouts) {
            let warning = problem.map(str::to_owned).or(warning);
            let found = self.config.services.iter().find(|candidate| candidate.name == service);
            let result = match found.and_then(|found| self.rollout_status(found)) {
                Some(rollout) => Ok(Obeyed { service, rollout, warning }),
                // A reload in the same moment has taken it away.
                None => Err(RolloutError::NoRollout(service)),
            };
            drop(answer.send(result));
        }
    }

    /// How the roll-out of a service stands; none where it has none.
    pub(super) fn rollout_status(&self, service: &Service) -> Option<status::Rollout> {
        let rules = self.view.wishes.rules_of(service)?;
        let wish = self.view.wishes.rollout_of(&service.name).cloned().unwrap_or_default();
        let planned = self.planned(service);
        Some(status::Rollout {
            compatible: rules.compatible.to_string(),
            prefer: rules.prefer.to_string(),
            prefer_by_command: wish.has_preference(),
            canary: rules.canary.map(|canary| canary.to_string()),
            canary_by_command: wish.has_canary(),
            go: wish.go().map(ToString::to_string),
            runs: planned.and_then(|planned| planned.runs.as_ref()).map(ToString::to_string),
            versions: planned.map(|planned| versions(service, planned)).unwrap_or_default(),
        })
    }

    /// Why a backend is given no new flows though it is ready and up.
    pub(super) fn held_back(&self, service: &Service, at: Option<usize>, key: &TargetKey) -> Option<String> {
        let planned = self.planned(service)?;
        let at = at.filter(|&at| planned.backends.get(at).is_some_and(|entry| entry.takes_new == 0))?;
        if self.view.damped.contains_key(key) {
            let change = self.record.histories().last(key, Aspect::Damping)?;
            return Some(format!("held for {}", change.why));
        }
        match (planned.parts.get(at)?, &planned.runs) {
            (Part::Waits, Some(runs)) => Some(format!("its version waits while {runs} runs")),
            (Part::Spare, _) => Some("another version is preferred".to_owned()),
            _ => None,
        }
    }
}

fn words(wish: &RolloutWish) -> String {
    serde_json::to_string(wish).unwrap_or_default()
}

/// The versions that the file has, the oldest first.
fn versions(service: &Service, planned: &PlannedService) -> Vec<status::RolloutVersion> {
    let mut found: BTreeMap<&Version, status::RolloutVersion> = BTreeMap::new();
    let slots = f64::from(service.slots.max(1));
    for (at, backend) in service.backends.iter().enumerate() {
        let (Some(version), Some(part)) = (&backend.version, planned.parts.get(at)) else { continue };
        let entry = found.entry(version).or_insert_with(|| status::RolloutVersion {
            version: version.to_string(),
            backends: 0,
            waits: *part == Part::Waits,
            share: 0.0,
        });
        entry.backends += 1;
        entry.share += planned.table.shares().get(at).map_or(0.0, |&share| f64::from(share) / slots);
    }
    found.into_values().collect()
}
