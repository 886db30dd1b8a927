//! Two configurations side by side. What is the very same in both is shared (`Arc`), so that nobody has to look into it.

use std::sync::Arc;

use super::{Config, Service};
use crate::health::TargetKey;

impl Config {
    /// The service `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        let at = self.services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
        Some(&self.services[at])
    }

    /// Whether it has such a backend.
    #[must_use]
    pub fn has(&self, target: &TargetKey) -> bool {
        let service = self.service(&target.service);
        service.is_some_and(|service| service.backend(&target.backend).is_some())
    }

    /// Has services that are as they were `before` be the very same, so that nobody has to look into them.
    pub fn share(&mut self, before: &Self) {
        let services = self.services.iter_mut().enumerate();
        for (_, service) in services.filter(|(at, service)| {
            before.services.get(*at).is_none_or(|before| !Arc::ptr_eq(before, service))
        }) {
            if let Some(same) = before.service(&service.name).filter(|same| *same == service) {
                *service = Arc::clone(same);
            }
        }
    }

    /// The services that are not the very same in `after`, by name: what they are here, and there.
    pub fn changes<'a>(
        &'a self,
        after: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a Arc<Service>>, Option<&'a Arc<Service>>)> {
        let pairs = after.namesakes(self).map(|(after, before)| (before, Some(after)));
        let gone = self.namesakes(after).filter(|(_, after)| after.is_none());
        pairs.chain(gone.map(|(before, _)| (Some(before), None)))
    }

    /// The services that are not the very same in `other`, and what is there called the same.
    fn namesakes<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a Arc<Service>, Option<&'a Arc<Service>>)> {
        let placed = self.services.iter().enumerate();
        let others = placed.filter(|(at, service)| {
            // Mostly the same is at the same place.
            other.services.get(*at).is_none_or(|other| !Arc::ptr_eq(other, service))
        });
        let pairs = others.map(|(_, service)| (service, other.service(&service.name)));
        pairs.filter(|(service, other)| other.is_none_or(|other| !Arc::ptr_eq(other, service)))
    }
}
