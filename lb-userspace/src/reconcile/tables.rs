//! Placing a service's table: merged into the one that is there, and published whole.

use std::sync::Arc;

use lb_common::{
    backend::Backend as Entry,
    policy::OPTION_QUIC,
    service::{Service, ServiceKey, TableRef, Track},
    slot::{self, Slot},
};

use super::{AppliedService, CapacityError, Op, ReadSlots, Work};
use crate::plan::PlannedService;

impl<S: ReadSlots> Work<'_, S> {
    /// Publishes a service's table, if it is another than the one that is there.
    pub(super) fn place_table(&mut self, planned: &Arc<PlannedService>) -> Result<(), CapacityError> {
        let Some(service) = self.next.services.remove(&planned.key) else { return Ok(()) };
        let mut service = Arc::unwrap_or_clone(service);
        self.replace_table(&mut service, planned)?;
        service.placed = Some(Arc::clone(planned));
        self.next.services.insert(planned.key, Arc::new(service));
        Ok(())
    }

    fn replace_table(
        &mut self,
        service: &mut AppliedService,
        planned: &PlannedService,
    ) -> Result<(), CapacityError> {
        let before = service.entry;
        service.entry.track = planned.track as u8;
        service.entry.source_bits = planned.source_bits;
        service.entry.options = planned.options;
        let same_table = service.merged.as_ref().is_some_and(|merged| Arc::ptr_eq(merged, &planned.table));
        if same_table && service.entry == before {
            return Ok(());
        }
        if before.table.length == 0 {
            let slots = target(service, planned).map(Slot::settled).collect();
            self.publish(service, planned, slots)?;
            self.enter_index(&planned.key, service.id, &service.name)?;
        } else if before.table.length as usize != planned.table.length()
            || before.source_bits != planned.source_bits
        {
            self.rehash(service, planned, before)?;
        } else {
            let old = self.slots.slots(before.table);
            let new = merge(&old, service, planned);
            if new != old {
                self.publish(service, planned, new)?;
                self.rest_table(before.table);
            } else if service.entry != before {
                self.ops.push(Op::WriteService { id: service.id, entry: service.entry });
            }
        }
        service.merged = Some(Arc::clone(&planned.table));
        Ok(())
    }

    /// Publishes a table of another length, or whose slots something else chooses. The old one stays as everybody's
    /// previous, until the service settles; it is named as such before the new one is, so no packet meets the new one
    /// alone.
    fn rehash(
        &mut self,
        service: &mut AppliedService,
        planned: &PlannedService,
        before: Service,
    ) -> Result<(), CapacityError> {
        let keeps_old = remembers(planned) && before.previous_table.length == 0;
        if keeps_old {
            service.entry.previous_table = before.table;
            service.entry.previous_source_bits = before.source_bits;
            service.previous_slots = self.slots.slots(before.table).into();
            let entry = Service { source_bits: before.source_bits, ..service.entry };
            self.ops.push(Op::WriteService { id: service.id, entry });
            self.grace();
        }
        service.rehashed_at = self.now;
        service.moved = Arc::default();
        let slots = target(service, planned).map(Slot::settled).collect();
        self.publish(service, planned, slots)?;
        if !keeps_old {
            self.rest_table(before.table);
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
        service.note_moves(&slots, self.now);
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

/// IANA's number of TCP.
const TCP: u8 = 6;

/// The planned table in the service's own indexes.
pub(super) fn target(
    service: &AppliedService,
    planned: &PlannedService,
) -> impl Iterator<Item = u16> + use<> {
    let known = service.indexes();
    let index = |entry: &Entry| known.get(&entry.address).copied().unwrap_or(slot::NONE);
    let indexes: Vec<u16> = planned.backends.iter().map(index).collect();
    let members = planned.table.slots().into_owned().into_iter();
    members.map(move |member| indexes.get(usize::from(member)).copied().unwrap_or(slot::NONE))
}

/// Whether the flows of moved slots are to be remembered. What opens no connection cannot be told from what is older,
/// so those of plain UDP are only where all are.
pub(super) fn remembers(planned: &PlannedService) -> bool {
    planned.track == Track::Moved
        || planned.track == Track::Always && tells_openings(planned.key, planned.options)
}

/// Whether the packets of a service say of themselves whether they open a connection.
pub(super) const fn tells_openings(key: ServiceKey, options: u8) -> bool {
    key.protocol == TCP || options & OPTION_QUIC != 0
}

/// The new table merged into the old one of the same length.
fn merge(old: &[Slot], service: &AppliedService, planned: &PlannedService) -> Vec<Slot> {
    let remembers = remembers(planned);
    let next = |slot: &Slot, next| if remembers { slot.moved_to(next) } else { Slot::settled(next) };
    old.iter().zip(target(service, planned)).map(|(slot, member)| next(slot, member)).collect()
}
