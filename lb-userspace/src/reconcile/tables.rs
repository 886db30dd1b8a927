//! Placing a service's table: merged into the one that is there, and published whole.

use std::sync::Arc;

use lb_common::{
    backend::{Backend as Entry, OldFlows},
    service::{TableRef, Track},
    slot::{self, Slot},
};

use super::{AppliedService, CapacityError, Op, ReadSlots, Work};
use crate::plan::PlannedService;

impl<S: ReadSlots> Work<'_, S> {
    /// Publishes a service's table, if it is another than the one that is there.
    pub(super) fn place_table(&mut self, planned: &PlannedService) -> Result<(), CapacityError> {
        let Some(mut service) = self.next.services.remove(&planned.key) else { return Ok(()) };
        let before = service.entry;
        service.entry.track = planned.track as u8;
        let same_table = service.merged.as_ref().is_some_and(|merged| Arc::ptr_eq(merged, &planned.table));
        if same_table && service.entry == before {
            self.next.services.insert(planned.key, service);
            return Ok(());
        }
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
        service.merged = Some(Arc::clone(&planned.table));
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
}

/// The planned table in the service's own indexes.
fn target<'a>(service: &AppliedService, planned: &'a PlannedService) -> impl Iterator<Item = u16> + use<'a> {
    let known = service.indexes();
    let index = |entry: &Entry| known.get(&entry.address).copied().unwrap_or(slot::NONE);
    let indexes: Vec<u16> = planned.backends.iter().map(index).collect();
    planned
        .table
        .slots()
        .iter()
        .map(move |&member| indexes.get(usize::from(member)).copied().unwrap_or(slot::NONE))
}

/// The new table merged into the old one of the same length.
fn merge(old: &[Slot], service: &AppliedService, planned: &PlannedService) -> Vec<Slot> {
    let keeps: Vec<bool> = service
        .members
        .iter()
        .map(|m| m.as_ref().is_some_and(|m| m.entry.old_flows == OldFlows::Keep as u8))
        .collect();
    let remembers = planned.track == Track::Moved;
    let merged = old.iter().zip(target(service, planned)).map(|(slot, next)| {
        let moved = slot.moved_to(next);
        let kept = keeps.get(usize::from(moved.previous())).copied().unwrap_or(false);
        match (remembers && kept, slot.is_settled()) {
            (true, _) => moved,
            // Its oldest flows are given up; those of the time since are in the connection table.
            (false, false) if remembers && next != slot::NONE => Slot::new(next, next),
            (false, _) => Slot::settled(next),
        }
    });
    merged.collect()
}
