//! Having the data plane follow: another configuration, or what has become of the world.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::block_in_place;
use tracing::error;

use super::{Truth, changes, key};
use crate::{
    budget,
    causes::with_causes,
    config::Config,
    daemon::{now, remember},
    health::TargetKey,
    plan::{
        View,
        guards::Guards,
        kept::{Kept, Stale},
        plan_others, taking,
    },
    reconcile::reconcile,
};

/// When what failed is tried again, where nothing else happens.
const RETRY: Duration = Duration::from_secs(1);

impl Truth {
    /// Makes another configuration the one that runs: all of it, or nothing.
    pub(in crate::daemon) fn adopt(&mut self, config: Config) -> Result<()> {
        let config = Arc::new(config);
        let before = self.view.wishes.clone();
        self.view.wishes.release(&self.config, &config, now());
        let overruled = self.view.wishes.follow(Some(&self.config), &config, now());
        let overruled_rollouts = self.view.wishes.follow_rollouts(&config);
        inherit_health(&mut self.view, &config);
        if let Err(error) = self.follow(&config) {
            self.view.wishes = before;
            return Err(error);
        }
        for target in overruled {
            remember::tell_overruled(&target.service, &target.backend);
        }
        for service in overruled_rollouts {
            remember::tell_overruled_rollout(&service);
        }
        self.record.follow((&self.config, &before), (&config, &self.view.wishes));
        self.config = config;
        self.keep_or_log();
        Ok(())
    }

    /// Makes the data plane hold what configuration and world ask for.
    pub(in crate::daemon) fn converge(&mut self) -> Result<()> {
        self.follow(&Arc::clone(&self.config))
    }

    /// As [`Self::converge`], for when there is nobody to tell.
    pub(in crate::daemon) fn converge_or_log(&mut self) {
        let problem = self.converge().err().map(|error| {
            let problem = format!("the data plane does not follow: {}", with_causes(error.as_ref()));
            error!("{problem}");
            self.meters.note_failure();
            self.plan.next_change = Some(now() + RETRY);
            problem
        });
        self.record.save();
        self.answer(problem.as_deref());
    }

    fn follow(&mut self, config: &Config) -> Result<()> {
        self.damp(config);
        let kept = Kept::of(&self.plan, config, &self.stale, now());
        let before = self.view.started.clone();
        self.view.started.look(taking(config, &self.view, &kept, now()), now());
        let followed = block_in_place(|| self.replan(config, &kept));
        if followed.is_err() {
            self.view.started = before;
            // Something may have followed what does not hold now.
            self.stale.everything();
        } else if self.view.started.all() != before.all() {
            self.keep_or_log();
        }
        followed
    }

    fn damp(&mut self, config: &Config) {
        let damped = self.record.damped(config);
        let of_one = |one: &HashMap<TargetKey, Duration>, other: &HashMap<TargetKey, Duration>| {
            let differing = one.iter().filter(|(key, until)| other.get(key) != Some(until));
            differing.map(|(key, _)| key.service.clone()).collect::<Vec<_>>()
        };
        let changed = [of_one(&damped, &self.view.damped), of_one(&self.view.damped, &damped)].concat();
        for service in changed {
            self.stale.service(&service);
        }
        self.view.damped = damped;
    }

    /// Plans what is not `kept`, and writes what that changes.
    fn replan(&mut self, config: &Config, kept: &Kept) -> Result<()> {
        self.roads.follow(config, &self.view, kept);
        let began = now();
        let plan = plan_others(config, &self.view, &mut self.tables, kept, began);
        let (ops, next) = reconcile(&self.applied, &plan, &self.dataplane, now())?;
        let planned = now();
        self.meters.plan.observe(planned.saturating_sub(began).as_secs_f64());
        let former = self.former_tables(&next);
        self.dataplane.follow(&ops, &Guards::of(&plan, &next))?;
        self.meters.apply.observe(now().saturating_sub(planned).as_secs_f64());
        self.note_tables(&former, &plan, &next);
        changes::log(&self.plan, &plan);
        budget::log_changes(&self.plan, &plan);
        self.applied = next;
        self.plan = plan;
        self.stale = Stale::default();
        self.publish_to_peers();
        Ok(())
    }
}

/// A backend that leaves without its name, since another has it now, takes its health along.
pub(super) fn inherit_health(view: &mut View, config: &Config) {
    for service in &config.services {
        for leaving in view.wishes.leaving_of(service.key()) {
            let Some(former) = leaving.former_name() else { continue };
            let to = key(service, &leaving.backend.name);
            if !view.health.contains_key(&to)
                && let Some(&verdict) = view.health.get(&key(service, former))
            {
                view.health.insert(to, verdict);
            }
        }
    }
}
