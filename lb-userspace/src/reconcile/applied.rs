//! What the data plane holds, as the daemon has written it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use lb_common::{
    address::Address,
    backend::Backend as Entry,
    hash::HashKey,
    service::{Service, ServiceKey},
    slot::LINE,
};

use super::{index::ServiceIndex, stretch::Stretches};
use crate::config::Limits;

/// What the data plane holds, as far as the daemon has written it.
#[derive(Clone, Debug)]
pub struct Applied {
    pub(super) services: BTreeMap<ServiceKey, AppliedService>,
    /// Numbers of the entries that mark VIPs.
    pub(super) vips: BTreeMap<Address, u32>,
    pub(super) ids: Stretches,
    pub(super) backends: Stretches,
    pub(super) arena: Stretches,
    pub(super) index: ServiceIndex,
}

/// A service as it was written.
#[derive(Clone, Debug)]
pub struct AppliedService {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Its entry.
    pub entry: Service,
    /// Entries reserved for its backends.
    pub capacity: u32,
    /// Backends by index; `None` is a free index.
    pub members: Vec<Option<Applicant>>,
    /// How long a silent flow is remembered.
    pub idle_timeout: Duration,
    /// Slots that are not settled.
    pub moved_slots: u32,
    /// When slots moved last, on the monotonic clock.
    pub last_move: Duration,
}

/// A backend as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Applicant {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// Its entry.
    pub entry: Entry,
    /// Whether it is gone from the configuration, and only old flows may still be with it.
    pub retired: bool,
}

impl Applied {
    /// An empty data plane. `index_key` is the key that its program was loaded with.
    #[must_use]
    pub fn new(limits: &Limits, index_key: HashKey) -> Self {
        Self {
            services: BTreeMap::new(),
            vips: BTreeMap::new(),
            ids: Stretches::new(limits.services, 1),
            backends: Stretches::new(limits.backends, 1),
            arena: Stretches::new(limits.slots, LINE as u32),
            index: ServiceIndex::new(index_key, limits.services),
        }
    }

    /// The services, by key.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &AppliedService)> {
        self.services.iter()
    }

    /// The service with `key`.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&AppliedService> {
        self.services.get(key)
    }

    /// Slots in use and all slots.
    #[must_use]
    pub fn arena_use(&self) -> (u32, u32) {
        (self.arena.used(), self.arena.capacity())
    }
}

impl AppliedService {
    /// Number of the backend with this identity.
    #[must_use]
    pub fn backend_id(&self, name: &str, address: IpAddr) -> Option<u32> {
        self.index_of(name, address).map(|index| self.entry.first_backend + u32::from(index))
    }

    pub(super) fn index_of(&self, name: &str, address: IpAddr) -> Option<u16> {
        let same = |member: &Applicant| member.name == name && member.address == address;
        self.members.iter().position(|member| member.as_ref().is_some_and(same)).map(|index| index as u16)
    }
}
