//! From the plan to the data plane: what to write, in which order.
//!
//! Pure: [`reconcile`] takes what is applied and what is planned and gives a list of operations and the state after
//! them. At no point between two operations does a packet see anything but a whole old or a whole new state of its
//! slot. A plan that does not fit is refused before anything is written.
//!
//! A service is known by its key, a backend by name and address. Both keep their numbers for as long as anything
//! names them, so what a reload does not change, it does not touch.

mod index;
mod settle;
mod stretch;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    backend::Backend as Entry,
    hash::HashKey,
    service::{Service, ServiceKey, TableRef, Track},
    slot::{self, LINE, Slot},
};

use crate::{
    config::Limits,
    plan::{Plan, PlannedService},
};
use index::ServiceIndex;
use stretch::Stretches;

pub use index::Cell;
pub use settle::{LiveFlow, settle, settle_is_due};

/// One step for the data plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Replace a backend's entry.
    WriteBackend {
        /// Number of the backend.
        id: u32,
        /// Its entry.
        entry: Entry,
    },
    /// Fill a stretch of the arena.
    WriteSlots {
        /// Index of the first slot.
        base: u32,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// Replace a service's entry; its table reference last, as one word.
    WriteService {
        /// Number of the service.
        id: u32,
        /// Its entry.
        entry: Service,
    },
    /// Replace one entry of the service index.
    WriteIndex(Cell),
    /// Wait until no packet is in flight that began before.
    Grace,
    /// Add the counters of backends `from..` to those of `to..`.
    MoveCounters {
        /// First number before.
        from: u32,
        /// First number after.
        to: u32,
        /// How many.
        count: u32,
    },
    /// Empty a service's entry and counters, and forget its flows.
    ClearService {
        /// Number of the service.
        id: u32,
    },
    /// Empty the entries and counters of backends.
    ClearBackends {
        /// First number.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// Where the slots that the data plane holds are read from.
pub trait ReadSlots {
    /// The slots of `table`.
    fn slots(&self, table: TableRef) -> Vec<Slot>;
}

/// Why a plan does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// No number for a service or VIP.
    #[error(
        "no room for service `{service}`: limits.services is {limit}, and each service and each VIP takes one; \
             raise it and restart"
    )]
    Services {
        /// The service that found no room.
        service: String,
        /// The limit.
        limit: u32,
    },
    /// Both buckets of a key are full.
    #[error("the index has no cell for service `{0}`: raise limits.services and restart")]
    Index(String),
    /// No stretch for a service's backends.
    #[error(
        "no room for {needed} backends of service `{service}`: limits.backends is {limit}, of which {used} are in \
             use; raise it and restart"
    )]
    Backends {
        /// The service that found no room.
        service: String,
        /// How many it asked for.
        needed: u32,
        /// The limit.
        limit: u32,
        /// Entries in use.
        used: u32,
    },
    /// No stretch for a table.
    #[error(
        "no room for {needed} slots of service `{service}`: limits.slots is {limit}, of which {used} are in use \
             (a table's old and new version exist side by side); raise it and restart"
    )]
    Slots {
        /// The service that found no room.
        service: String,
        /// How many it asked for.
        needed: u32,
        /// The limit.
        limit: u32,
        /// Slots in use.
        used: u32,
    },
    /// More backends, those that still keep flows included, than a slot can name.
    #[error("service `{0}` has more backends, with those that still keep old flows, than the {max} that a table can \
             name; wait for the old ones to settle", max = slot::MAX_BACKENDS)]
    Members(String),
}

/// What the data plane holds, as far as the daemon has written it.
#[derive(Clone, Debug)]
pub struct Applied {
    services: BTreeMap<ServiceKey, AppliedService>,
    /// Numbers of the entries that mark VIPs.
    vips: BTreeMap<Address, u32>,
    ids: Stretches,
    backends: Stretches,
    arena: Stretches,
    index: ServiceIndex,
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

    fn index_of(&self, name: &str, address: IpAddr) -> Option<u16> {
        let same = |member: &Applicant| member.name == name && member.address == address;
        self.members.iter().position(|member| member.as_ref().is_some_and(same)).map(|index| index as u16)
    }
}

/// Computes the operations that make the data plane hold `plan`, and what it holds after them. `now` is on the
/// monotonic clock.
///
/// # Errors
///
/// [`CapacityError`] where the plan does not fit into the maps; nothing is to be applied then.
pub fn reconcile(
    applied: &Applied,
    plan: &Plan,
    slots: &impl ReadSlots,
    now: Duration,
) -> Result<(Vec<Op>, Applied), CapacityError> {
    let mut work = Work { next: applied.clone(), ops: Vec::new(), slots, now };
    work.remove_services(plan);
    for planned in &plan.services {
        work.place_backends(planned)?;
    }
    for planned in &plan.services {
        work.place_table(planned)?;
    }
    work.mark_vips(plan)?;
    if work.next.arena.any_rests() || work.next.backends.any_rests() {
        work.grace();
        work.clear_rested();
    }
    Ok((work.ops, work.next))
}

/// A reconciliation under way.
struct Work<'a, S> {
    next: Applied,
    ops: Vec<Op>,
    slots: &'a S,
    now: Duration,
}

impl<S: ReadSlots> Work<'_, S> {
    /// Takes away the services that are not planned, and the marks of VIPs that nobody has any more.
    fn remove_services(&mut self, plan: &Plan) {
        let keys: BTreeSet<_> = plan.services.iter().map(|service| service.key).collect();
        let gone: Vec<_> = self.next.services.keys().filter(|key| !keys.contains(key)).copied().collect();
        let addresses: BTreeSet<_> = keys.iter().map(|key| key.address).collect();
        let unmarked: Vec<_> = self
            .next
            .vips
            .iter()
            .filter(|(vip, _)| !addresses.contains(vip))
            .map(|(&vip, &id)| (vip, id))
            .collect();
        if gone.is_empty() && unmarked.is_empty() {
            return;
        }
        for &(vip, id) in &unmarked {
            self.unpublish(&ServiceKey::vip(vip), id);
        }
        for key in &gone {
            self.unpublish(key, self.next.services[key].id);
        }
        self.grace();
        for (vip, id) in unmarked {
            self.next.vips.remove(&vip);
            self.release_id(id);
        }
        for key in gone {
            if let Some(service) = self.next.services.remove(&key) {
                self.release(&service);
            }
        }
        self.clear_rested();
    }

    fn unpublish(&mut self, key: &ServiceKey, id: u32) {
        if let Some(cell) = self.next.index.remove(key, id) {
            self.ops.push(Op::WriteIndex(cell));
        }
    }

    fn release(&mut self, service: &AppliedService) {
        self.release_id(service.id);
        self.ops.push(Op::ClearBackends { first: service.entry.first_backend, count: service.capacity });
        self.next.backends.rest(service.entry.first_backend, service.capacity);
        for table in [service.entry.table, service.entry.previous_table] {
            self.rest_table(table);
        }
    }

    fn rest_table(&mut self, table: TableRef) {
        if table.length > 0 {
            self.next.arena.rest(table.base, table.length);
        }
    }

    fn release_id(&mut self, id: u32) {
        self.ops.push(Op::ClearService { id });
        self.next.ids.rest(id, 1);
    }

    /// Makes the entries of a service's backends true. A new service is not found by any packet yet.
    fn place_backends(&mut self, planned: &PlannedService) -> Result<(), CapacityError> {
        let mut service = match self.next.services.remove(&planned.key) {
            Some(service) => service,
            None => self.new_service(planned)?,
        };
        planned.name.clone_into(&mut service.name);
        service.idle_timeout = planned.idle_timeout;
        for member in service.members.iter_mut().flatten() {
            member.retired = true;
        }
        for backend in &planned.backends {
            let applicant = Applicant {
                name: backend.name.clone(),
                address: backend.address,
                entry: backend.entry,
                retired: false,
            };
            self.place_member(&mut service, applicant)?;
        }
        self.grow(&mut service)?;
        self.next.services.insert(planned.key, service);
        Ok(())
    }

    fn new_service(&mut self, planned: &PlannedService) -> Result<AppliedService, CapacityError> {
        let id = self.new_id(&planned.name)?;
        Ok(AppliedService {
            name: planned.name.clone(),
            id,
            entry: Service { key: planned.key, ..Service::zeroed() },
            capacity: 0,
            members: Vec::new(),
            idle_timeout: planned.idle_timeout,
            moved_slots: 0,
            last_move: self.now,
        })
    }

    fn new_id(&mut self, service: &str) -> Result<u32, CapacityError> {
        let limit = self.next.ids.capacity();
        self.next.ids.take(1).ok_or_else(|| CapacityError::Services { service: service.to_owned(), limit })
    }

    /// Gives a backend the index that it has, or a free one, and writes its entry where there is room for it already.
    fn place_member(
        &mut self,
        service: &mut AppliedService,
        applicant: Applicant,
    ) -> Result<(), CapacityError> {
        let free = || service.members.iter().position(Option::is_none);
        let known = service.index_of(&applicant.name, applicant.address).map(usize::from);
        let index = known.or_else(free).unwrap_or(service.members.len());
        if index >= slot::MAX_BACKENDS {
            return Err(CapacityError::Members(service.name.clone()));
        }
        if index == service.members.len() {
            service.members.push(None);
        }
        let written = service.members[index].as_ref().is_some_and(|member| member.entry == applicant.entry);
        if !written && (index as u32) < service.capacity {
            let id = service.entry.first_backend + index as u32;
            self.ops.push(Op::WriteBackend { id, entry: applicant.entry });
        }
        service.members[index] = Some(applicant);
        Ok(())
    }

    /// Moves a service's backends to a longer stretch where they have outgrown theirs. Indexes stay, so the table that
    /// packets read meanwhile is right with either stretch.
    fn grow(&mut self, service: &mut AppliedService) -> Result<(), CapacityError> {
        let needed = service.members.len() as u32;
        if needed <= service.capacity && service.capacity != 0 {
            return Ok(());
        }
        let (first, capacity) = self.take_backends(service, needed)?;
        for (id, member) in (first..).zip(&service.members) {
            if let Some(member) = member {
                self.ops.push(Op::WriteBackend { id, entry: member.entry });
            }
        }
        let (from, before) = (service.entry.first_backend, service.capacity);
        (service.entry.first_backend, service.capacity) = (first, capacity);
        if before != 0 {
            self.ops.push(Op::WriteService { id: service.id, entry: service.entry });
            self.grace();
            self.ops.push(Op::MoveCounters { from, to: first, count: before });
            self.ops.push(Op::ClearBackends { first: from, count: before });
            self.next.backends.rest(from, before);
        }
        Ok(())
    }

    /// Half as many again as needed, or just what is needed where that does not fit.
    fn take_backends(&mut self, service: &AppliedService, needed: u32) -> Result<(u32, u32), CapacityError> {
        let needed = needed.max(1);
        for capacity in [needed + needed.div_ceil(2), needed] {
            if let Some(first) = self.next.backends.take(capacity) {
                return Ok((first, capacity));
            }
        }
        let (limit, used) = (self.next.backends.capacity(), self.next.backends.used());
        Err(CapacityError::Backends { service: service.name.clone(), needed, limit, used })
    }

    /// Publishes a service's table, if it is another than the one that is there.
    fn place_table(&mut self, planned: &PlannedService) -> Result<(), CapacityError> {
        let Some(mut service) = self.next.services.remove(&planned.key) else { return Ok(()) };
        let before = service.entry;
        service.entry.track = planned.track as u8;
        if before.table.length == 0 {
            let slots = target(&service, planned).map(Slot::settled).collect();
            self.publish(&mut service, planned, slots)?;
            self.enter_index(&planned.key, service.id, &service.name)?;
        } else if before.table.length as usize != planned.table.slots().len() {
            self.change_length(&mut service, planned)?;
        } else {
            let old = self.slots.slots(before.table);
            let new = merge(&old, &service, planned);
            if new != old {
                self.publish(&mut service, planned, new)?;
                self.rest_table(before.table);
            } else if service.entry != before {
                self.ops.push(Op::WriteService { id: service.id, entry: service.entry });
            }
        }
        self.next.services.insert(planned.key, service);
        Ok(())
    }

    /// Publishes a table of another length. The old one stays as everybody's previous, until the service settles; it is
    /// named as such before the new one is, so no packet meets the new one alone.
    fn change_length(
        &mut self,
        service: &mut AppliedService,
        planned: &PlannedService,
    ) -> Result<(), CapacityError> {
        let before = service.entry.table;
        let keeps_old = planned.track == Track::Moved && service.entry.previous_table.length == 0;
        if keeps_old {
            service.entry.previous_table = before;
            self.ops.push(Op::WriteService { id: service.id, entry: service.entry });
            self.grace();
        }
        let slots = target(service, planned).map(Slot::settled).collect();
        self.publish(service, planned, slots)?;
        if !keeps_old {
            self.rest_table(before);
        }
        Ok(())
    }

    fn publish(
        &mut self,
        service: &mut AppliedService,
        planned: &PlannedService,
        slots: Vec<Slot>,
    ) -> Result<(), CapacityError> {
        let length = slots.len() as u32;
        let base = self.take_slots(&service.name, length)?;
        let moved = |slot: &&Slot| !slot.is_settled() || service.entry.previous_table.length > 0;
        service.moved_slots = slots.iter().filter(moved).count() as u32;
        service.last_move = self.now;
        service.entry.table = TableRef { base, length };
        service.entry.generation += 1;
        service.entry.digest = planned.table.digest();
        self.ops.push(Op::WriteSlots { base, slots });
        self.ops.push(Op::WriteService { id: service.id, entry: service.entry });
        Ok(())
    }

    /// A stretch of the arena. Where none is free but some rest, a grace period frees them.
    fn take_slots(&mut self, service: &str, needed: u32) -> Result<u32, CapacityError> {
        if let Some(base) = self.next.arena.take(needed) {
            return Ok(base);
        }
        if self.next.arena.any_rests() {
            self.grace();
            self.next.arena.wake();
        }
        let (limit, used) = (self.next.arena.capacity(), self.next.arena.used());
        let full = CapacityError::Slots { service: service.to_owned(), needed, limit, used };
        self.next.arena.take(needed).ok_or(full)
    }

    /// Marks the addresses of all services as VIPs.
    fn mark_vips(&mut self, plan: &Plan) -> Result<(), CapacityError> {
        for planned in &plan.services {
            let vip = planned.key.address;
            if self.next.vips.contains_key(&vip) {
                continue;
            }
            let id = self.new_id(&planned.name)?;
            let key = ServiceKey::vip(vip);
            self.ops.push(Op::WriteService { id, entry: Service { key, ..Service::zeroed() } });
            self.enter_index(&key, id, &planned.name)?;
            self.next.vips.insert(vip, id);
        }
        Ok(())
    }

    fn enter_index(&mut self, key: &ServiceKey, id: u32, name: &str) -> Result<(), CapacityError> {
        let cell = self.next.index.insert(key, id).ok_or_else(|| CapacityError::Index(name.to_owned()))?;
        self.ops.push(Op::WriteIndex(cell));
        Ok(())
    }

    /// One grace period, unless nothing was written since the last one.
    fn grace(&mut self) {
        if self.ops.last().is_some_and(|op| *op != Op::Grace) {
            self.ops.push(Op::Grace);
        }
    }

    fn clear_rested(&mut self) {
        self.next.ids.wake();
        self.next.backends.wake();
        self.next.arena.wake();
    }
}

/// The planned table in the service's own indexes.
fn target<'a>(service: &'a AppliedService, planned: &'a PlannedService) -> impl Iterator<Item = u16> + 'a {
    let indexes: Vec<u16> = planned
        .backends
        .iter()
        .map(|backend| service.index_of(&backend.name, backend.address).unwrap_or(slot::NONE))
        .collect();
    planned
        .table
        .slots()
        .iter()
        .map(move |&member| indexes.get(usize::from(member)).copied().unwrap_or(slot::NONE))
}

/// The new table merged into the old one of the same length.
fn merge(old: &[Slot], service: &AppliedService, planned: &PlannedService) -> Vec<Slot> {
    let keeps: Vec<bool> =
        service.members.iter().map(|m| m.as_ref().is_some_and(|m| m.entry.gives_up_flows == 0)).collect();
    let remembers = planned.track == Track::Moved;
    let merged = old.iter().zip(target(service, planned)).map(|(slot, next)| {
        let moved = slot.moved_to(next);
        let kept = keeps.get(usize::from(moved.previous())).copied().unwrap_or(false);
        if remembers && kept { moved } else { Slot::settled(next) }
    });
    merged.collect()
}
