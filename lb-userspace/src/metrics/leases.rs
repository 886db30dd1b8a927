//! Leases of backends, counted by service.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::changes::Changes;

/// The leases of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfService {
    /// Backends that are there by lease now.
    pub held: u32,
    /// Leases that have begun.
    pub registered: u64,
    /// How often one was said again.
    pub renewed: u64,
    /// Those that nobody has said again in time.
    pub lapsed: u64,
}

/// See the module. It begins with nothing; what was kept over a restart is held, and nobody has registered it.
#[derive(Debug, Default)]
pub struct Leases(Mutex<BTreeMap<String, OfService>>);

impl Leases {
    /// These are held now.
    pub fn hold(&self, changes: &Changes) {
        let mut all = self.all();
        all.values_mut().for_each(|service| service.held = 0);
        for (key, _) in changes.leases() {
            all.entry(key.service.clone()).or_default().held += 1;
        }
    }

    /// What was `before` is `after` now.
    pub fn note(&self, before: &Changes, after: &Changes) {
        let mut all = self.all();
        for (key, lease) in after.leases() {
            let service = all.entry(key.service.clone()).or_default();
            match before.lease(key) {
                None => service.registered += 1,
                Some(former) if former != lease => service.renewed += 1,
                Some(_) => {}
            }
        }
        drop(all);
        self.hold(after);
    }

    /// A lease of `service` has lapsed.
    pub fn note_lapse(&self, service: &str) {
        self.all().entry(service.to_owned()).or_default().lapsed += 1;
    }

    /// Those of a service.
    #[must_use]
    pub fn of(&self, service: &str) -> OfService {
        self.all().get(service).copied().unwrap_or_default()
    }

    /// Only these services are there still.
    pub fn forget_others(&self, services: &BTreeSet<&str>) {
        self.all().retain(|service, _| services.contains(service.as_str()));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, OfService>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        changes::{Document, Lease},
        health::TargetKey,
    };

    fn changes(leases: &[(&str, u64)]) -> Changes {
        let file = Document::parse("[[service]]\nname = 'web'\n").unwrap();
        let mut changes = Changes::default();
        for (backend, until) in leases {
            let key = TargetKey { service: "web".to_owned(), backend: (*backend).to_owned() };
            let lease = Lease { ttl: Duration::from_secs(30), until: Duration::from_secs(*until) };
            changes.put_backend(&file, &key, toml::Table::new(), Some(lease)).unwrap();
        }
        changes
    }

    #[test]
    fn leases_are_counted_by_what_becomes_of_them() {
        let leases = Leases::default();
        let (none, first) = (Changes::default(), changes(&[("b1", 30)]));
        let (both, renewed) = (changes(&[("b1", 30), ("b2", 31)]), changes(&[("b1", 60), ("b2", 31)]));
        leases.note(&none, &first);
        leases.note(&first, &both);
        leases.note(&both, &renewed);
        assert_eq!(leases.of("web"), OfService { held: 2, registered: 2, renewed: 1, lapsed: 0 });
        leases.note_lapse("web");
        leases.note(&renewed, &none);
        assert_eq!(leases.of("web"), OfService { held: 0, registered: 2, renewed: 1, lapsed: 1 });
        leases.forget_others(&BTreeSet::from(["web"]));
        assert_eq!(leases.of("web").registered, 2);
        leases.forget_others(&BTreeSet::new());
        assert_eq!(leases.of("web"), OfService::default());
    }

    #[test]
    fn leases_of_before_are_held_and_not_registered() {
        let leases = Leases::default();
        leases.hold(&changes(&[("b1", 30), ("b2", 31)]));
        assert_eq!(leases.of("web"), OfService { held: 2, ..OfService::default() });
    }
}
