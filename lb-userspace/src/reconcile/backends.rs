//! Placing a service's backends: each keeps its index, and their entries lie side by side.

use bytemuck::Zeroable as _;
use lb_common::{backend::Backend as Entry, service::Service, slot};

use super::{AppliedService, CapacityError, Member, Op, ReadSlots, Work};
use crate::plan::PlannedService;

impl<S: ReadSlots> Work<'_, S> {
    /// Makes the entries of a service's backends true. A new service is not found by any packet yet.
    pub(super) fn place_backends(&mut self, planned: &PlannedService) -> Result<(), CapacityError> {
        let mut service = match self.next.services.remove(&planned.key) {
            Some(service) => service,
            None => self.new_service(planned)?,
        };
        planned.name.clone_into(&mut service.name);
        service.idle_timeout = planned.idle_timeout;
        for member in service.members.iter_mut().flatten() {
            member.retired = true;
        }
        let known = service.indexes();
        for &entry in &planned.backends {
            let index = known.get(&entry.address).copied();
            self.place_member(&mut service, index, entry)?;
        }
        for &entry in &planned.leaving {
            if let Some(&index) = known.get(&entry.address) {
                self.place_leaving(&mut service, index, entry);
            }
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
            members: Vec::new(),
            merged: None,
            idle_timeout: planned.idle_timeout,
            moved_slots: 0,
            last_move: self.now,
        })
    }

    pub(super) fn new_id(&mut self, service: &str) -> Result<u32, CapacityError> {
        let limit = self.next.ids.capacity();
        self.next.ids.take(1).ok_or_else(|| CapacityError::Services { service: service.to_owned(), limit })
    }

    /// Gives a backend its `known` index or a free one, and writes its entry where there is room for it already.
    fn place_member(
        &mut self,
        service: &mut AppliedService,
        known: Option<u16>,
        entry: Entry,
    ) -> Result<(), CapacityError> {
        let free = || service.members.iter().position(Option::is_none);
        let index = known.map(usize::from).or_else(free).unwrap_or(service.members.len());
        if index >= slot::MAX_BACKENDS {
            return Err(CapacityError::Members(service.name.clone()));
        }
        if index == service.members.len() {
            service.members.push(None);
        }
        let before = service.members[index];
        if before.is_none_or(|member| member.entry.old_flows != entry.old_flows) {
            service.merged = None;
        }
        let written = before.is_some_and(|member| member.entry == entry);
        if !written && (index as u32) < service.entry.capacity {
            self.ops.push(Op::WriteBackend { id: service.entry.first_backend + index as u32, entry });
        }
        service.members[index] = Some(Member { entry, retired: false });
        Ok(())
    }

    /// Writes the entry of a backend that keeps its index only until nothing names it any more.
    fn place_leaving(&mut self, service: &mut AppliedService, index: u16, entry: Entry) {
        let before = service.members[usize::from(index)];
        if before.is_none_or(|member| member.entry.old_flows != entry.old_flows) {
            service.merged = None;
        }
        if before.is_none_or(|member| member.entry != entry) && u32::from(index) < service.entry.capacity {
            self.ops.push(Op::WriteBackend { id: service.entry.first_backend + u32::from(index), entry });
        }
        service.members[usize::from(index)] = Some(Member { entry, retired: true });
    }

    /// Moves a service's backends to a longer stretch where they have outgrown theirs. Indexes stay, so the table that
    /// packets read meanwhile is right with either stretch.
    fn grow(&mut self, service: &mut AppliedService) -> Result<(), CapacityError> {
        let needed = service.members.len() as u32;
        if needed <= service.entry.capacity && service.entry.capacity != 0 {
            return Ok(());
        }
        let (first, capacity) = self.take_backends(service, needed)?;
        for (id, member) in (first..).zip(&service.members) {
            if let Some(member) = member {
                self.ops.push(Op::WriteBackend { id, entry: member.entry });
            }
        }
        let (from, before) = (service.entry.first_backend, service.entry.capacity);
        (service.entry.first_backend, service.entry.capacity) = (first, capacity);
        if before != 0 {
            self.ops.push(Op::WriteService { id: service.id, entry: service.entry });
            self.grace();
            self.ops.push(Op::MoveCounters { from, to: first, count: before });
            self.ops.push(Op::ClearBackends { first: from, count: before });
            self.next.backends.rest(from, before);
        }
        Ok(())
    }

    /// Just what is needed by a new service; half as many again by one that has outgrown its entries, where that fits.
    fn take_backends(&mut self, service: &AppliedService, needed: u32) -> Result<(u32, u32), CapacityError> {
        let needed = needed.max(1);
        let slack = if service.entry.capacity == 0 { 0 } else { needed.div_ceil(2) };
        for capacity in [needed + slack, needed] {
            if let Some(first) = self.next.backends.take(capacity) {
                return Ok((first, capacity));
            }
        }
        if self.next.backends.any_rests() {
            self.grace();
            self.next.backends.wake();
            return self
                .next
                .backends
                .take(needed)
                .map(|first| (first, needed))
                .ok_or_else(|| self.no_backends(service, needed));
        }
        Err(self.no_backends(service, needed))
    }

    fn no_backends(&self, service: &AppliedService, needed: u32) -> CapacityError {
        let (limit, used) = (self.next.backends.capacity(), self.next.backends.used());
        CapacityError::Backends { service: service.name.clone(), needed, limit, used }
    }
}
