//! Placing a service's backends: each keeps its index, and their entries lie side by side.

use std::{collections::BTreeMap, sync::Arc};

use bytemuck::Zeroable as _;
use lb_common::{backend::Backend as Entry, policy::Policy, service::Service, slot};

use super::{AppliedService, CapacityError, Member, Op, ReadSlots, Work};
use crate::plan::PlannedService;

impl<S: ReadSlots> Work<'_, S> {
    /// Makes the entries of a service's backends true. A new service is not found by any packet yet.
    pub(super) fn place_backends(&mut self, planned: &PlannedService) -> Result<(), CapacityError> {
        let mut service = match self.next.services.remove(&planned.key) {
            Some(service) => Arc::unwrap_or_clone(service),
            None => self.new_service(planned)?,
        };
        planned.name.clone_into(&mut service.name);
        service.idle_timeout = planned.idle_timeout;
        self.place_policy(&mut service, planned);
        for member in service.members.iter_mut().flatten() {
            member.retired = true;
        }
        let known = service.indexes();
        for &entry in &planned.backends {
            let index = known.get(&entry.address).copied();
            self.place_member(&mut service, index, Member { entry, retired: false })?;
        }
        self.place_retired(&mut service, &planned.leaving)?;
        self.grow(&mut service)?;
        self.place_server_ids(&mut service, planned);
        self.next.services.insert(planned.key, Arc::new(service));
        Ok(())
    }

    /// Before the entry that says that there is one to be read.
    fn place_policy(&mut self, service: &mut AppliedService, planned: &PlannedService) {
        if service.policy != planned.policy {
            self.ops.push(Op::WritePolicy { id: service.id, policy: planned.policy });
            service.policy = planned.policy;
        }
    }

    /// Makes the entries of backends true that are not planned any more and may still have old flows. One that the plan
    /// does not follow keeps its last entry, but takes no new flows; one that only other balancers have had gets one.
    fn place_retired(
        &mut self,
        service: &mut AppliedService,
        leaving: &[Entry],
    ) -> Result<(), CapacityError> {
        let retired: Vec<_> = service
            .members()
            .filter(|(_, member)| member.retired)
            .map(|(index, m)| (index, m.entry))
            .collect();
        for (index, last) in retired {
            let followed = leaving.iter().find(|entry| entry.address == last.address);
            let entry = followed.copied().unwrap_or(Entry { takes_new: 0, ..last });
            self.place_member(service, Some(index), Member { entry, retired: true })?;
        }
        let known = service.indexes();
        for &entry in leaving.iter().filter(|entry| !known.contains_key(&entry.address)) {
            self.place_member(service, None, Member { entry, retired: true })?;
        }
        Ok(())
    }

    fn new_service(&mut self, planned: &PlannedService) -> Result<AppliedService, CapacityError> {
        let id = self.new_id(&planned.name)?;
        Ok(AppliedService {
            name: planned.name.clone(),
            id,
            entry: Service { key: planned.key, ..Service::zeroed() },
            policy: Policy::zeroed(),
            members: Vec::with_capacity(planned.backends.len()),
            server_ids: BTreeMap::new(),
            merged: None,
            placed: None,
            idle_timeout: planned.idle_timeout,
            moved_slots: 0,
            moved: Arc::default(),
            previous_slots: Arc::default(),
            rehashed_at: self.now,
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
        member: Member,
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
        if before.is_none() {
            service.merged = None;
        }
        let written = before.is_some_and(|before| before.entry == member.entry);
        if !written && (index as u32) < service.entry.capacity {
            let id = service.entry.first_backend + index as u32;
            self.ops.push(Op::WriteBackend { id, entry: member.entry });
        }
        service.members[index] = Some(member);
        Ok(())
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
