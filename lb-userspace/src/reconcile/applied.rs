//! What the data plane holds, as the daemon has written it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    backend::Backend as Entry,
    hash::HashKey,
    maglev::Table,
    nat::Pool,
    policy::{OPTION_NAT, Policy},
    quic::ServerId,
    service::{Service, ServiceKey},
    slot::{LINE, Slot},
};

use super::{Named, Op, index::ServiceIndex, stretch::Stretches};
use crate::{config::Limits, plan::PlannedService};

/// What the data plane holds, as far as the daemon has written it.
#[derive(Clone, Debug)]
pub struct Applied {
    pub(super) services: BTreeMap<ServiceKey, Arc<AppliedService>>,
    /// The entries that mark VIPs.
    pub(super) vips: BTreeMap<Address, Vip>,
    pub(super) ids: Stretches,
    pub(super) backends: Stretches,
    pub(super) arena: Stretches,
    pub(super) index: ServiceIndex,
    /// What new flows are translated to, of IPv4 and of IPv6.
    pub(super) pools: [Pool; 2],
    /// When a flow may last have gone unremembered, on the monotonic clock: what moved before waits anew.
    pub(super) forgot_at: Duration,
}

/// The entry of a VIP itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vip {
    pub(super) id: u32,
    pub(super) options: u8,
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
    /// Its policy.
    pub(super) policy: Policy,
    /// Backends by index; `None` is a free index.
    pub members: Vec<Option<Member>>,
    /// Whom connection ids name.
    pub(super) server_ids: BTreeMap<ServerId, Named>,
    /// The table that the slots were merged with, while nothing else that they follow from has changed. Most events
    /// concern few services, and reading all slots of the others would be most of the work.
    pub(super) merged: Option<Arc<Table>>,
    /// What it was placed by, while nothing else has changed it: there is nothing to be done for the same again.
    pub(super) placed: Option<Arc<PlannedService>>,
    /// How long a silent flow is remembered.
    pub idle_timeout: Duration,
    /// Slots that are not settled.
    pub moved_slots: u32,
    /// What is known of each of them, by its index in the table.
    pub(super) moved: Arc<BTreeMap<u32, Moved>>,
    /// The slots of the table before, while there is one.
    pub(super) previous_slots: Arc<[Slot]>,
    /// When the table became one of another length, or with another chooser, on the monotonic clock.
    pub(super) rehashed_at: Duration,
}

/// A slot that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// When it left its settled state, on the monotonic clock.
    pub(super) since: Duration,
    /// The backend of flows from before.
    pub(super) previous: u16,
}

/// A backend as it was written. Its address is its identity: another address is another host, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its entry.
    pub entry: Entry,
    /// Whether it is gone from the configuration, and only old flows may still be with it.
    pub retired: bool,
}

impl Vip {
    /// What writes it.
    pub(super) fn write(self, address: Address) -> Op {
        Op::WriteService { id: self.id, entry: self.entry(address) }
    }

    /// The entry.
    pub(super) fn entry(self, address: Address) -> Service {
        Service { key: ServiceKey::vip(address), options: self.options, ..Service::zeroed() }
    }
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
            pools: [Pool::zeroed(); 2],
            forgot_at: Duration::ZERO,
        }
    }

    /// The services, by key.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &AppliedService)> {
        self.services.iter().map(|(key, service)| (key, &**service))
    }

    /// A service, to be changed by something else than a plan.
    pub(super) fn service_mut(&mut self, key: &ServiceKey) -> Option<&mut AppliedService> {
        let service = Arc::make_mut(self.services.get_mut(key)?);
        service.placed = None;
        Some(service)
    }

    /// Takes note that a flow may have gone unremembered until `now`.
    pub fn note_forgotten(&mut self, now: Duration) {
        self.forgot_at = now;
    }

    /// The service with `key`.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&AppliedService> {
        self.services.get(key).map(AsRef::as_ref)
    }

    /// The addresses that packets are translated for.
    #[must_use]
    pub fn translated(&self) -> BTreeSet<IpAddr> {
        let marked = self.vips.iter().filter(|(_, vip)| vip.options & OPTION_NAT != 0);
        marked.map(|(&address, _)| address.into()).collect()
    }

    /// Slots in use and all slots.
    #[must_use]
    pub fn arena_use(&self) -> (u32, u32) {
        (self.arena.used(), self.arena.capacity())
    }
}

impl AppliedService {
    /// Number of the backend with this address.
    #[must_use]
    pub fn backend_id(&self, address: IpAddr) -> Option<u32> {
        let address = Address::from(address);
        let (index, _) = self.members().find(|(_, member)| member.entry.address == address)?;
        Some(self.entry.first_backend + u32::from(index))
    }

    /// The entries with their numbers, by address.
    #[must_use]
    pub fn entries(&self) -> HashMap<Address, (u32, Entry)> {
        let first = self.entry.first_backend;
        let numbered = self.members().map(|(index, member)| (first + u32::from(index), member.entry));
        numbered.map(|(id, entry)| (entry.address, (id, entry))).collect()
    }

    /// The address of each index.
    #[must_use]
    pub fn addresses(&self) -> HashMap<u16, Address> {
        self.members().map(|(index, member)| (index, member.entry.address)).collect()
    }

    /// Whether what happened at a time is longer ago than a flow may be silent.
    pub(super) fn has_waited(&self, forgot_at: Duration, now: Duration) -> impl Fn(Duration) -> bool + use<> {
        let idle_timeout = self.idle_timeout;
        move |since: Duration| now >= since.max(forgot_at).saturating_add(idle_timeout)
    }

    /// Takes note of which slots of its table are settled; one that is not any more has moved at `at`.
    pub(super) fn note_moves(&mut self, slots: &[Slot], at: Duration) {
        let known = Arc::make_mut(&mut self.moved);
        let since = |index: &u32| known.get(index).map_or(at, |moved| moved.since);
        let moved = (0..).zip(slots).filter(|(_, slot)| !slot.is_settled());
        *known = moved
            .map(|(index, slot)| (index, Moved { since: since(&index), previous: slot.previous() }))
            .collect();
        let all = self.entry.previous_table.length > 0;
        self.moved_slots = if all { slots.len() } else { known.len() } as u32;
    }

    /// The backends with their indexes.
    pub fn members(&self) -> impl Iterator<Item = (u16, &Member)> {
        (0..).zip(&self.members).filter_map(|(index, member)| Some((index, member.as_ref()?)))
    }

    /// The index of each address.
    pub(super) fn indexes(&self) -> HashMap<Address, u16> {
        self.members().map(|(index, member)| (member.entry.address, index)).collect()
    }
}
