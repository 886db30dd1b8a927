//! Settling: a moved slot whose old flows are gone decides by its hash alone again, and a retired backend that nothing
//! names any more gives its index back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use lb_common::{
    flow::Flow,
    service::{ServiceKey, TableRef},
    slot::Slot,
};

use super::{Applied, AppliedService, Member, Op, ReadSlots};

/// A flow that is remembered and that was not silent for longer than its service's idle timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveFlow {
    /// The flow.
    pub flow: Flow,
    /// Number of its service.
    pub service: u32,
    /// Upper half of the hash that chooses its slot.
    pub hash: u32,
    /// Index of its backend.
    pub backend: u16,
    /// When its last packet came, on the monotonic clock.
    pub last_seen: Duration,
}

/// Settles what can be settled, given all live flows. `now` is on the monotonic clock.
///
/// A slot that moved less than its service's idle timeout ago stays, since flows from before may be silent and alive;
/// one with a live flow that the hash would send elsewhere stays too. That a slot moves again starts no new wait: from
/// the first time on, every flow of it that speaks is remembered.
pub fn settle(applied: &mut Applied, live: &[LiveFlow], slots: &impl ReadSlots, now: Duration) -> Vec<Op> {
    let mut by_service: HashMap<u32, Vec<LiveFlow>> = HashMap::new();
    for flow in live {
        by_service.entry(flow.service).or_default().push(*flow);
    }
    let mut ops = Vec::new();
    let due: Vec<ServiceKey> =
        applied.services().filter(|(_, s)| is_due(applied, s, now)).map(|(&key, _)| key).collect();
    let forgot_at = applied.forgot_at;
    for key in due {
        let Some(service) = applied.service_mut(&key) else { continue };
        let live = by_service.get(&service.id).map_or(&[][..], Vec::as_slice);
        let waited = service.has_waited(forgot_at, now);
        settle_slots(service, live, slots, now, waited, &mut ops);
        if let Some(table) = drop_previous_table(service, &mut ops) {
            applied.arena.rest(table.base, table.length);
        }
    }
    if applied.arena.any_rests() {
        ops.push(Op::Grace);
        applied.arena.wake();
    }
    ops
}

/// Whether [`settle`] has anything to look at.
#[must_use]
pub fn settle_is_due(applied: &Applied, now: Duration) -> bool {
    applied.services.values().any(|service| is_due(applied, service, now))
}

/// Whether a service has something to settle, or to give back.
fn is_due(applied: &Applied, service: &AppliedService, now: Duration) -> bool {
    let waited = service.has_waited(applied.forgot_at, now);
    if service.entry.previous_table.length > 0 {
        return waited(service.rehashed_at);
    }
    service.members.iter().flatten().any(|member| member.retired)
        || service.moved.values().any(|moved| waited(moved.since))
}

fn settle_slots(
    service: &mut AppliedService,
    live: &[LiveFlow],
    slots: &impl ReadSlots,
    now: Duration,
    waited: impl Fn(Duration) -> bool,
    ops: &mut Vec<Op>,
) {
    let table = service.entry.table;
    let old = slots.slots(table);
    let at = |flow: &LiveFlow| table.slot_of(flow.hash) - table.base;
    let mut elsewhere: HashMap<u32, Vec<u16>> = HashMap::new();
    for flow in live.iter().filter(|flow| old[at(flow) as usize].current() != flow.backend) {
        elsewhere.entry(at(flow)).or_default().push(flow.backend);
    }
    let mut held = old.clone();
    for (index, slot) in (0..).zip(&mut held) {
        if service.moved.get(&index).is_none_or(|moved| waited(moved.since)) {
            *slot = settled(*slot, elsewhere.get(&index).map_or(&[], Vec::as_slice));
        }
    }
    let mut named: HashSet<u16> = live.iter().map(|flow| flow.backend).collect();
    // What a slot named until now a packet in flight may still be about to remember.
    named.extend(old.iter().chain(&held).flat_map(|slot| [slot.current(), slot.previous()]));
    named.extend(service.named_lately(now));
    service.note_moves(&held, service.rehashed_at);
    if held != old {
        // In place: each slot is whole in itself, and those that stay are written as they were.
        ops.push(Op::WriteSlots { base: table.base, slots: held });
    }
    if service.entry.previous_table.length == 0 {
        free_retired(service, &named, ops);
    }
}

/// What becomes of a slot of which everything that lives is remembered, where `elsewhere` are the backends of live flows
/// that the slot alone would send to its current one. While there are any it keeps asking for them, also where only a
/// change of the table's length had made it do so; but it names its previous backend only for flows of that one.
fn settled(slot: Slot, elsewhere: &[u16]) -> Slot {
    if elsewhere.is_empty() {
        Slot::settled(slot.current())
    } else if elsewhere.contains(&slot.previous()) {
        slot
    } else {
        Slot::new(slot.current(), slot.current())
    }
}

/// Lets go of the table of another length: all flows that still live are remembered by now.
fn drop_previous_table(service: &mut AppliedService, ops: &mut Vec<Op>) -> Option<TableRef> {
    let table = std::mem::take(&mut service.entry.previous_table);
    service.entry.previous_source_bits = 0;
    (table.length > 0).then(|| {
        service.moved_slots = service.moved.len() as u32;
        service.previous_slots = Arc::default();
        ops.push(Op::WriteService { id: service.id, entry: service.entry });
        table
    })
}

/// Frees the indexes of retired backends that neither a slot nor a flow names.
fn free_retired(service: &mut AppliedService, named: &HashSet<u16>, ops: &mut Vec<Op>) {
    let is_free = |(index, member): &(u16, &Member)| member.retired && !named.contains(index);
    let free: Vec<u16> = service.members().filter(is_free).map(|(index, _)| index).collect();
    let before = ops.len();
    ops.extend(service.clear_server_ids(|index| free.contains(&index)));
    if ops.len() > before {
        // Whoever gets the index must not get packets that named the one before.
        ops.push(Op::Grace);
        service.server_ids.retain(|_, named| !free.contains(&named.backend));
    }
    for index in free {
        service.members[usize::from(index)] = None;
        let first = service.entry.first_backend + u32::from(index);
        ops.push(Op::ClearBackends { first, count: 1 });
    }
}
