//! The slots of a service's tables.

use std::sync::Arc;

use lb_common::{
    address::Address,
    service::TableRef,
    slot::{self, Slot},
};

use super::{Look, Subject};
use crate::{
    admin::verify::Difference,
    plan::PlannedService,
    reconcile::{AppliedService, Op, ReadSlots, tables},
};

/// Slots of one table that are told one by one.
const TOLD: usize = 8;

/// What a table is called, and where it lies.
struct Stretch {
    name: &'static str,
    table: TableRef,
}

impl<S: ReadSlots> Look<'_, S> {
    /// The slots of both tables, and what makes them whole. The table goes before the entry that leads to it.
    pub(super) fn tables(&mut self, service: &AppliedService, planned: &PlannedService) {
        let stretch = Stretch { name: "previous slot", table: service.entry.previous_table };
        let before = Arc::clone(&service.previous_slots);
        if self.compare(service, &stretch, &before).is_some() {
            self.writes.push(Op::WriteSlots { base: stretch.table.base, slots: before.to_vec() });
        }
        let expected = expected(service, planned);
        let stretch = Stretch { name: "slot", table: service.entry.table };
        let Some(held) = self.compare(service, &stretch, &expected) else { return };
        let remembers = tables::remembers(planned);
        let mend = |(&held, &expected)| mended(service, held, expected, remembers);
        let slots: Vec<Slot> = held.iter().zip(&expected).map(mend).collect();
        let mut service = service.clone();
        service.note_moves(&slots, self.now);
        self.moved.push(service);
        self.writes.push(Op::WriteSlots { base: stretch.table.base, slots });
    }

    /// Tells what differs, and gives what is there if anything does.
    fn compare(
        &mut self,
        service: &AppliedService,
        stretch: &Stretch,
        expected: &[Slot],
    ) -> Option<Vec<Slot>> {
        let Stretch { name, table } = *stretch;
        if table.length == 0 {
            return None;
        }
        self.looked_at.slots += u64::from(table.length);
        let held = self.slots.slots(table);
        let differ = |(_, (expected, held)): &(u32, (&Slot, &Slot))| expected != held;
        let different: Vec<_> = (0..).zip(expected.iter().zip(&held)).filter(differ).collect();
        let subject = Subject::of_service("arena", service);
        for &(index, (expected, held)) in different.iter().take(TOLD) {
            let (expected, held) = (self.word(service, *expected), self.word(service, *held));
            self.tell(subject, format!("{name} {index}"), expected, held);
        }
        let others = different.len().saturating_sub(TOLD) as u32;
        if others > 0 {
            let field = format!("{others} more of its {name}s");
            let all = Difference::new("arena", field, "what was published", "something else");
            let all = all.of(Some(service.name.clone()), None);
            self.differences.push(Difference { count: others, ..all });
        }
        (!different.is_empty()).then_some(held)
    }

    /// Whom a slot names.
    fn word(&self, service: &AppliedService, slot: Slot) -> String {
        let current = self.who(service, slot.current());
        if slot.is_settled() {
            return current;
        }
        format!("{current}, before {}", self.who(service, slot.previous()))
    }

    /// The backend with an index.
    pub(super) fn who(&self, service: &AppliedService, index: u16) -> String {
        match member(service, index) {
            Some(address) => self.name(&service.name, address),
            None if index == slot::NONE => "nobody".to_owned(),
            None => format!("number {index}, which is no backend"),
        }
    }
}

/// What a service's table is to hold.
fn expected(service: &AppliedService, planned: &PlannedService) -> Vec<Slot> {
    let previous = |index| service.moved.get(&index).map_or(slot::NONE, |moved| moved.previous);
    let current = tables::target(service, planned);
    (0..).zip(current).map(|(index, current)| Slot::new(current, previous(index))).collect()
}

fn member(service: &AppliedService, index: u16) -> Option<Address> {
    let member = service.members.get(usize::from(index))?.as_ref()?;
    Some(member.entry.address)
}

/// What becomes of a slot that is to hold `expected`. Where it was a settled one of another backend, that one has flows by now
/// which nothing remembers; where it was a moved one, all that came meanwhile is remembered, and has to be asked for.
fn mended(service: &AppliedService, held: Slot, expected: Slot, remembers: bool) -> Slot {
    let took_flows = held.current() != expected.current() && member(service, held.current()).is_some();
    if held == expected || !expected.is_settled() || !remembers || !took_flows {
        return expected;
    }
    let previous = if held.is_settled() { held.current() } else { expected.current() };
    if expected.current() == slot::NONE { expected } else { Slot::new(expected.current(), previous) }
}
