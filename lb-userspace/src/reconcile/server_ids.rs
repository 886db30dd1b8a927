//! Whom the server ids in connection ids name.
//!
//! An id that is not in the plan any more goes on naming a backend that has retired, until that one gives its index
//! back: of the connections that it still has nothing else is remembered.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::quic::{Server, ServerId, ServerKey};

use super::{Applied, AppliedService, Op, Work};
use crate::plan::PlannedService;

/// The backend that a server id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its index.
    pub backend: u16,
    /// When a packet last did so, on the monotonic clock.
    pub used: Duration,
}

impl From<Server> for Named {
    fn from(server: Server) -> Self {
        Self { backend: server.backend, used: Duration::from_nanos(server.used_ns) }
    }
}

impl From<Named> for Server {
    fn from(named: Named) -> Self {
        Self { used_ns: named.used.as_nanos() as u64, backend: named.backend, _pad: [0; 6] }
    }
}

/// The server ids of a service, out of those of all.
pub(super) fn of_service(service: u32, all: &[(ServerKey, Server)]) -> BTreeMap<ServerId, Named> {
    let own = all.iter().filter(|(key, _)| key.service == service);
    own.map(|(key, server)| (key.id, Named::from(*server))).collect()
}

impl Applied {
    /// Takes note of when packets last named backends by server ids.
    pub fn note_server_ids(&mut self, used: &[(ServerKey, Server)]) {
        for service in self.services.values_mut().filter(|service| !service.server_ids.is_empty()) {
            let service = Arc::make_mut(service);
            for (id, named) in of_service(service.id, used) {
                service.server_ids.entry(id).and_modify(|known| known.used = known.used.max(named.used));
            }
        }
    }
}

impl AppliedService {
    /// Forgets those that name no backend, which a daemon that was killed may have left.
    pub(super) fn drop_strange_server_ids(&mut self) {
        let members = &self.members;
        self.server_ids
            .retain(|_, named| members.get(usize::from(named.backend)).is_some_and(Option::is_some));
    }

    /// Backends that packets have named more lately than a flow may be silent.
    pub fn named_lately(&self, now: Duration) -> impl Iterator<Item = u16> {
        let lately = move |named: &&Named| {
            named.used > Duration::ZERO && now.saturating_sub(named.used) <= self.idle_timeout
        };
        self.server_ids.values().filter(lately).map(|named| named.backend)
    }

    /// When a packet last named a backend.
    #[must_use]
    pub fn last_named(&self, backend: u16) -> Option<Duration> {
        let of_backend = self.server_ids.values().filter(|named| named.backend == backend);
        of_backend.map(|named| named.used).max().filter(|used| *used > Duration::ZERO)
    }

    /// What writes all of them.
    pub(super) fn write_server_ids(&self) -> impl Iterator<Item = Op> {
        let service = self.id;
        self.server_ids.iter().map(move |(&id, &named)| Op::WriteServerId { service, id, named })
    }

    /// What clears those that name one of these backends.
    pub(super) fn clear_server_ids(&self, names: impl Fn(u16) -> bool) -> impl Iterator<Item = Op> {
        let service = self.id;
        let gone = self.server_ids.iter().filter(move |(_, named)| names(named.backend));
        gone.map(move |(&id, _)| Op::ClearServerId { service, id })
    }
}

impl<S> Work<'_, S> {
    /// Makes the server ids true, after the entries of the backends that they name.
    pub(super) fn place_server_ids(&mut self, service: &mut AppliedService, planned: &PlannedService) {
        let mut wanted: BTreeMap<ServerId, Named> = service.server_ids.clone();
        wanted.retain(|_, named| service.members[usize::from(named.backend)].is_some_and(|m| m.retired));
        let indexes = service.indexes();
        for (address, id) in &planned.server_ids {
            let Some(&backend) = indexes.get(address) else { continue };
            let known = service.server_ids.get(id).filter(|named| named.backend == backend);
            wanted.insert(*id, known.copied().unwrap_or(Named { backend, used: Duration::ZERO }));
        }
        let number = service.id;
        for &id in service.server_ids.keys().filter(|id| !wanted.contains_key(*id)) {
            self.ops.push(Op::ClearServerId { service: number, id });
        }
        for (&id, &named) in wanted.iter().filter(|(id, named)| service.server_ids.get(*id) != Some(*named)) {
            self.ops.push(Op::WriteServerId { service: number, id, named });
        }
        service.server_ids = wanted;
    }
}
