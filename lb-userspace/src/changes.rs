//! What was changed at run time of services and backends, over what the file says of them.
//!
//! A change holds a table as the file would have it, or says that there is none, and beside it what the file said when the
//! change was made. It holds until the file itself says something else of that service or backend: then the file wins.
//! What runs is the file with the changes in it ([`Changes::merge`]), read by the same parser as any file, so that every
//! check and every message is the same. Why so: docs/design/0009-changes-over-the-file.md.
//!
//! Pure: moments are arguments, on the monotonic clock. [`mod@file`] keeps it over restarts.

mod condition;
mod document;
pub mod file;
mod said;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use toml::{Table, Value};

use crate::health::TargetKey;

/// How far the time at which a lease lapses may be another one than is kept, so that not every renewal is written.
const SLACK: Duration = Duration::from_mins(5);

pub use condition::{Condition, Unmet};
pub use document::Document;
pub use said::{Edit, Patch, Said};

/// All changes that hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    services: BTreeMap<String, Change>,
    backends: BTreeMap<TargetKey, Change>,
}

/// What was said of a service or a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What the file said then; none: nothing. Of a service without its backends, unless it was removed.
    pub over: Option<Table>,
    /// What holds instead; none: it is removed. Of a service without its backends.
    pub is: Option<Table>,
    /// How long it holds; none: until somebody says otherwise.
    pub lease: Option<Lease>,
}

/// A change that has to be said again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long it holds from when it was said last.
    pub ttl: Duration,
    /// When it lapses.
    pub until: Duration,
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such service.
    #[error("there is no service {0}")]
    NoService(String),
    /// There is no such backend.
    #[error("service {} has no backend {}", .0.service, .0.backend)]
    NoBackend(TargetKey),
    /// A backend of the service's list has no name to know it by.
    #[error("backend[{0}] has no name")]
    Nameless(usize),
    /// A value is nothing that a file could hold.
    #[error("{0}")]
    NoValue(String),
}

impl Changes {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.backends.is_empty()
    }

    /// Changes of services, by name.
    #[must_use]
    pub const fn services(&self) -> &BTreeMap<String, Change> {
        &self.services
    }

    /// Changes of backends.
    #[must_use]
    pub const fn backends(&self) -> &BTreeMap<TargetKey, Change> {
        &self.backends
    }

    /// Follows the file. What it has come to say by itself is no change any more; what it says otherwise of by now than when
    /// it was changed is overruled, and named.
    pub fn follow(&mut self, file: &Document) -> Vec<String> {
        let mut overruled = Vec::new();
        self.services.retain(|name, change| {
            let says = if change.is.is_none() { file.service(name).cloned() } else { file.own(name) };
            let holds = says == change.over;
            if !holds && says != change.is {
                overruled.push(name.clone());
            }
            holds
        });
        let services = &self.services;
        self.backends.retain(|key, change| {
            let says = file.backend(key);
            let holds = says == change.over.as_ref();
            let has_service = match services.get(&key.service) {
                Some(service) => service.is.is_some(),
                None => file.service(&key.service).is_some(),
            };
            if change.is.is_some() && (!has_service || !holds && says != change.is.as_ref())
                || change.is.is_none() && !holds && says.is_some()
            {
                overruled.push(format!("{}/{}", key.service, key.backend));
            }
            holds && has_service
        });
        overruled
    }

    /// The file with the changes in it.
    #[must_use]
    pub fn merge(&self, file: &Document) -> Document {
        let mut document = file.clone();
        for (name, change) in &self.services {
            document.set_own(name, change.is.as_ref());
        }
        for (key, change) in &self.backends {
            document.set_backend(key, change.is.as_ref());
        }
        document
    }

    /// Has `table` be the service, and its list of backends, where it has one, all that there are. Those of them that are
    /// there by lease still are.
    ///
    /// # Errors
    ///
    /// [`EditError::Nameless`].
    pub fn put_service(&mut self, file: &Document, name: &str, mut table: Table) -> Result<(), EditError> {
        let listed = table.remove("backend").map(listed).transpose()?;
        let over = file.own(name);
        if over.as_ref() == Some(&table) {
            self.services.remove(name);
        } else {
            self.services.insert(name.to_owned(), Change { over, is: Some(table), lease: None });
        }
        let Some(listed) = listed else { return Ok(()) };
        let before = self.merge(file);
        let key = |backend: &str| TargetKey { service: name.to_owned(), backend: backend.to_owned() };
        for gone in before.backends(name).filter(|backend| !listed.contains_key(*backend)) {
            self.remove_backend(file, &key(gone));
        }
        for (backend, table) in listed {
            let key = key(&backend);
            let lease = self.lease(&key);
            self.set_backend(file, &key, table, lease);
        }
        Ok(())
    }

    /// Takes a service out, with its backends.
    ///
    /// # Errors
    ///
    /// [`EditError::NoService`].
    pub fn delete_service(&mut self, file: &Document, name: &str) -> Result<(), EditError> {
        if self.merge(file).service(name).is_none() {
            return Err(EditError::NoService(name.to_owned()));
        }
        self.backends.retain(|key, _| key.service != name);
        match file.service(name).cloned() {
            None => drop(self.services.remove(name)),
            over => drop(self.services.insert(name.to_owned(), Change { over, is: None, lease: None })),
        }
        Ok(())
    }

    /// Has `table` be the backend, for as long as the lease lasts.
    ///
    /// # Errors
    ///
    /// [`EditError::NoService`].
    pub fn put_backend(
        &mut self,
        file: &Document,
        key: &TargetKey,
        table: Table,
        lease: Option<Lease>,
    ) -> Result<(), EditError> {
        if self.merge(file).service(&key.service).is_none() {
            return Err(EditError::NoService(key.service.clone()));
        }
        self.set_backend(file, key, table, lease);
        Ok(())
    }

    /// Takes a backend out.
    ///
    /// # Errors
    ///
    /// [`EditError::NoService`] and [`EditError::NoBackend`].
    pub fn delete_backend(&mut self, file: &Document, key: &TargetKey) -> Result<(), EditError> {
        let merged = self.merge(file);
        if merged.service(&key.service).is_none() {
            return Err(EditError::NoService(key.service.clone()));
        }
        if merged.backend(key).is_none() {
            return Err(EditError::NoBackend(key.clone()));
        }
        self.remove_backend(file, key);
        Ok(())
    }

    fn set_backend(&mut self, file: &Document, key: &TargetKey, table: Table, lease: Option<Lease>) {
        let over = file.backend(key).cloned();
        if over.as_ref() == Some(&table) && lease.is_none() {
            self.backends.remove(key);
        } else {
            self.backends.insert(key.clone(), Change { over, is: Some(table), lease });
        }
    }

    fn remove_backend(&mut self, file: &Document, key: &TargetKey) {
        match file.backend(key).cloned() {
            None => drop(self.backends.remove(key)),
            over => drop(self.backends.insert(key.clone(), Change { over, is: None, lease: None })),
        }
    }

    /// The lease of a backend, where it has one.
    #[must_use]
    pub fn lease(&self, key: &TargetKey) -> Option<Lease> {
        self.backends.get(key)?.lease
    }

    /// All leases, by backend.
    pub fn leases(&self) -> impl Iterator<Item = (&TargetKey, Lease)> {
        self.backends.iter().filter_map(|(key, change)| Some((key, change.lease?)))
    }

    /// What was kept by a daemon that is no more. Not every renewal was written, and nobody has taken in any since: a lease
    /// goes on for the longest that it may have had left, and long enough to be said again.
    #[must_use]
    pub fn resumed(mut self, now: Duration) -> Self {
        for lease in self.backends.values_mut().filter_map(|change| change.lease.as_mut()) {
            let longest = lease.until.max(now).saturating_add(SLACK);
            // Whatever somebody has done to the clock.
            lease.until = longest.min(now.saturating_add(lease.ttl));
        }
        self
    }

    /// Whether a restart loses nothing where these are kept instead, but for what [`Self::resumed`] makes up for.
    #[must_use]
    fn is_as_good_as(&self, kept: &Self) -> bool {
        let is_near = |(a, b): (Lease, Lease)| a.ttl == b.ttl && a.until.abs_diff(b.until) <= SLACK;
        let are_alike = |a: &Change, b: &Change| {
            (&a.over, &a.is, a.lease.is_some()) == (&b.over, &b.is, b.lease.is_some())
                && a.lease.zip(b.lease).is_none_or(is_near)
        };
        let mut pairs = self.backends.iter().zip(&kept.backends);
        self.services == kept.services
            && self.backends.len() == kept.backends.len()
            && pairs.all(|((own, a), (other, b))| own == other && are_alike(a, b))
    }

    /// When the next lease lapses.
    #[must_use]
    pub fn next_lapse(&self) -> Option<Duration> {
        self.leases().map(|(_, lease)| lease.until).min()
    }

    /// Ends the leases that have lapsed, and names their backends. What the file says of those holds again.
    pub fn lapse(&mut self, now: Duration) -> Vec<TargetKey> {
        let lapsed = self.leases().filter(|(_, lease)| lease.until <= now);
        let lapsed: Vec<_> = lapsed.map(|(key, _)| key.clone()).collect();
        for key in &lapsed {
            self.backends.remove(key);
        }
        lapsed
    }
}

/// The backends of a service's list, by name. What is no list has none: the parser says so.
fn listed(backends: Value) -> Result<BTreeMap<String, Table>, EditError> {
    let Value::Array(backends) = backends else { return Ok(BTreeMap::new()) };
    let named = |(index, backend): (usize, Value)| {
        let Value::Table(backend) = backend else { return Err(EditError::Nameless(index)) };
        let name = backend.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok((name.ok_or(EditError::Nameless(index))?, backend))
    };
    backends.into_iter().enumerate().map(named).collect()
}
