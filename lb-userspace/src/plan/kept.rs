//! Which services are still as they were planned. Most events concern few of many services, and planning all of them anew is
//! what a large configuration costs most.
//!
//! What a service's plan follows from is its configuration, the balancer's location, what is known of the world, and the
//! time. [`Stale`] is told of each change of the world; the rest is compared.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use super::{Plan, PlannedService};
use crate::config::{Config, Service};

/// What has changed of the world since a plan was made.
#[derive(Clone, Debug, Default)]
pub struct Stale {
    everything: bool,
    services: HashSet<String>,
    addresses: HashSet<IpAddr>,
}

impl Stale {
    /// Something that any service may follow from.
    pub const fn everything(&mut self) {
        self.everything = true;
    }

    /// What is known or wanted of a backend of the service `name`.
    pub fn service(&mut self, name: &str) {
        if !self.services.contains(name) {
            self.services.insert(name.to_owned());
        }
    }

    /// How backends with this address are reached.
    pub fn address(&mut self, address: IpAddr) {
        self.addresses.insert(address);
    }

    fn concerns(&self, planned: &PlannedService) -> bool {
        let is_reached_otherwise = || {
            let own = planned.source.backends.iter().map(|backend| backend.address);
            let leaving = planned.leaving.iter().map(|entry| IpAddr::from(entry.address));
            own.chain(leaving).any(|address| self.addresses.contains(&address))
        };
        self.everything
            || self.services.contains(&planned.name)
            || !self.addresses.is_empty() && is_reached_otherwise()
    }
}

/// What stays of a plan: a service's, or nothing, for each service of a configuration.
#[derive(Clone, Debug)]
pub struct Kept(Vec<Option<Arc<PlannedService>>>);

impl Kept {
    /// Nothing of what `config` has.
    #[must_use]
    pub fn nothing(config: &Config) -> Self {
        Self(vec![None; config.services.len()])
    }

    /// What stays of `plan` for `config`. `now` is on the monotonic clock.
    #[must_use]
    pub fn of(plan: &Plan, config: &Config, stale: &Stale, now: Duration) -> Self {
        if plan.location != config.balancer.location {
            return Self::nothing(config);
        }
        let by_source: HashMap<*const Service, &Arc<PlannedService>> =
            plan.services.iter().map(|planned| (Arc::as_ptr(&planned.source), planned)).collect();
        let stays = |service: &Arc<Service>| {
            let planned = *by_source.get(&Arc::as_ptr(service))?;
            let is_over = planned.until.is_some_and(|until| until <= now) || stale.concerns(planned);
            (!is_over).then(|| Arc::clone(planned))
        };
        Self(config.services.iter().map(stays).collect())
    }

    /// What stays, in the order of the configuration's services.
    pub fn services(&self) -> impl Iterator<Item = Option<&Arc<PlannedService>>> {
        self.0.iter().map(Option::as_ref)
    }

    /// The services of `config` of which nothing stays.
    pub fn others<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a Arc<Service>> {
        config.services.iter().zip(&self.0).filter(|(_, kept)| kept.is_none()).map(|(service, _)| service)
    }
}
