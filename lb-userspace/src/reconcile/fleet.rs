//! What balancers of a fleet tell each other, and what a telling changes.
//!
//! Indexes of backends differ between balancers (they follow the order of arrival), so backends are named by their
//! addresses and services by their keys. Nobody is believed against what is known here: a slot that has moved keeps its
//! own previous backend, and a flow that was seen later keeps its entry.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use lb_common::{
    address::Address,
    connection::{Closing, Connection},
    flow::Flow,
    hash::{HashKey, KeyWords as _},
    service::{Service, ServiceKey, TableRef, Track},
    slot::{self, Slot},
};

use super::{Applied, AppliedService, Op, ReadSlots, tables::tells_openings};
use crate::config::Forwarding;

/// What two balancers compare of a service: equal on both, and their tables are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The service.
    pub key: ServiceKey,
    /// Length of its table.
    pub length: u32,
    /// Leading bits of the source that choose a slot; 0: the whole flow does.
    pub source_bits: u8,
    /// Digest of its table.
    pub digest: u64,
}

/// A backend, as another balancer can find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its own address.
    pub address: Address,
    /// How packets reach it; none where the teller does not know a way either.
    pub forwarding: Option<Forwarding>,
}

/// Where flows of a service are that nobody remembers: by the teller's oldest table that still counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The service.
    pub key: ServiceKey,
    /// Length of the table whose slots are meant.
    pub length: u32,
    /// What chose its slots, as [`Published::source_bits`].
    pub source_bits: u8,
    /// Slots by the backend that has their flows. One that is not named has nothing to tell.
    pub pasts: Vec<Past>,
}

/// The slots whose old flows one backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The backend.
    pub host: Host,
    /// The slots, ascending.
    pub slots: Vec<u32>,
}

/// A flow that a balancer remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The flow.
    pub flow: Flow,
    /// Its backend.
    pub host: Host,
    /// Whether its client has said that it ends: one of [`Closing`].
    pub closing: u8,
    /// When its last packet was seen, on the monotonic clock.
    pub seen: Duration,
}

/// What became of flows that a peer told of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// What is to be done.
    pub ops: Vec<Op>,
    /// Flows that are to be remembered.
    pub remembered: u64,
    /// Backends that nobody here knows, with the services that have flows there.
    pub strangers: Vec<(ServiceKey, Host)>,
}

/// The published tables.
#[must_use]
pub fn published(applied: &Applied) -> Vec<Published> {
    let services = applied.services.values().filter(|service| service.entry.table.length > 0);
    services.map(|service| published_of(&service.entry)).collect()
}

fn published_of(entry: &Service) -> Published {
    Published {
        key: entry.key,
        length: entry.table.length,
        source_bits: entry.source_bits,
        digest: entry.digest,
    }
}

/// Whether slots of a service can have a past: plain UDP, which does not tell what opens a flow, has none where all is
/// remembered.
fn has_past(entry: &Service) -> bool {
    entry.track == Track::Moved as u8
        || entry.track == Track::Always as u8 && tells_openings(entry.key, entry.options)
}

/// What a balancer that has published `theirs` does not know of where old flows are.
///
/// The same table needs only its moved slots told; of another one every slot is.
#[must_use]
pub fn history(applied: &Applied, slots: &impl ReadSlots, theirs: &[Published]) -> Vec<History> {
    let theirs: HashMap<ServiceKey, Published> = theirs.iter().map(|table| (table.key, *table)).collect();
    let tracking = applied.services.values().filter(|service| has_past(&service.entry));
    let histories = tracking.map(|service| {
        let ours = published_of(&service.entry);
        history_of(service, slots, theirs.get(&ours.key) == Some(&ours))
    });
    histories.filter(|history| !history.pasts.is_empty()).collect()
}

fn history_of(service: &AppliedService, slots: &impl ReadSlots, same: bool) -> History {
    let Service { key, table, previous_table, .. } = service.entry;
    let pending = previous_table.length > 0;
    let (table, source_bits) = if pending {
        (previous_table, service.entry.previous_source_bits)
    } else {
        (table, service.entry.source_bits)
    };
    let mut by_backend: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for (index, slot) in (0..).zip(slots.slots(table)) {
        let past = if slot.is_settled() { slot.current() } else { slot.previous() };
        if pending || !same || past != slot.current() {
            by_backend.entry(past).or_default().push(index);
        }
    }
    let pasts = by_backend
        .into_iter()
        .filter_map(|(backend, slots)| Some(Past { host: host(service, backend)?, slots }));
    History { key, length: table.length, source_bits, pasts: pasts.collect() }
}

/// The backend with an index, if there is one.
fn host(service: &AppliedService, index: u16) -> Option<Host> {
    let entry = service.members.get(usize::from(index))?.as_ref()?.entry;
    Some(Host { address: entry.address, forwarding: Forwarding::of(entry.forwarding) })
}

/// Gives settled slots the past that a peer knows of, before this balancer forwards anything: later on, its own flows
/// would be in them, of which nothing is remembered. A table of another length becomes the previous one of a service
/// without a past of its own.
pub fn take_history(
    applied: &mut Applied,
    history: &History,
    slots: &impl ReadSlots,
    now: Duration,
) -> Vec<Op> {
    let Some(service) = applied.service_mut(&history.key) else { return Vec::new() };
    let entry = service.entry;
    if !has_past(&entry) || entry.previous_table.length > 0 || entry.table.length == 0 {
        return Vec::new();
    }
    let past = past(service, history);
    if (history.length, history.source_bits) != (entry.table.length, entry.source_bits) {
        return take_previous_table(applied, history, past, now);
    }
    let held = slots.slots(entry.table);
    let merged: Vec<Slot> = held.iter().zip(past).map(|(&slot, past)| with_past(slot, past)).collect();
    if merged == held {
        return Vec::new();
    }
    service.note_moves(&merged, now);
    vec![Op::WriteSlots { base: entry.table.base, slots: merged }]
}

/// The index of the backend that has the old flows, for each slot of a history.
fn past(service: &AppliedService, history: &History) -> Vec<u16> {
    let mut past = vec![slot::NONE; history.length as usize];
    let known = service.indexes();
    for Past { host, slots } in &history.pasts {
        let Some(&index) = known.get(&host.address) else { continue };
        for &slot in slots {
            if let Some(cell) = past.get_mut(slot as usize) {
                *cell = index;
            }
        }
    }
    past
}

/// The backends of a history that are not known here.
#[must_use]
pub fn strangers(applied: &Applied, history: &History) -> Vec<(ServiceKey, Host)> {
    let Some(service) = applied.services.get(&history.key) else { return Vec::new() };
    let known = service.indexes();
    let unknown = history.pasts.iter().filter(|past| !known.contains_key(&past.host.address));
    unknown.map(|past| (history.key, past.host)).collect()
}

const fn with_past(slot: Slot, past: u16) -> Slot {
    if slot.is_settled() && past != slot::NONE && past != slot.current() {
        Slot::new(slot.current(), past)
    } else {
        slot
    }
}

fn take_previous_table(applied: &mut Applied, history: &History, past: Vec<u16>, now: Duration) -> Vec<Op> {
    if applied.service(&history.key).is_none_or(|service| service.moved_slots != 0) {
        return Vec::new();
    }
    // Where the arena is full, old flows follow the new table, as they would without peers.
    let Some(base) = applied.arena.take(history.length) else { return Vec::new() };
    let Some(service) = applied.service_mut(&history.key) else { return Vec::new() };
    service.entry.previous_table = TableRef { base, length: history.length };
    service.entry.previous_source_bits = history.source_bits;
    service.moved_slots = service.entry.table.length;
    service.rehashed_at = now;
    let slots: Vec<Slot> = past.into_iter().map(Slot::settled).collect();
    service.previous_slots = slots.as_slice().into();
    vec![Op::WriteSlots { base, slots }, Op::WriteService { id: service.id, entry: service.entry }]
}

/// The flows that another balancer could not place by its table alone, of all that are remembered here.
#[must_use]
pub fn sightings(
    applied: &Applied,
    remembered: &[(Flow, Connection)],
    slots: &impl ReadSlots,
    flow_key: &HashKey,
    now: Duration,
) -> Vec<Sighting> {
    let services: HashMap<u32, &AppliedService> =
        applied.services.values().map(|service| (service.id, &**service)).collect();
    let mut tables: HashMap<u32, Table<'_>> = HashMap::new();
    let told = remembered.iter().filter_map(|(flow, connection)| {
        let service = *services.get(&connection.service)?;
        let seen = Duration::from_nanos(connection.last_seen_ns);
        let ended = connection.closing == Closing::Reset as u8;
        if ended || now.saturating_sub(seen) > service.idle_timeout {
            return None;
        }
        let table = tables.entry(service.id).or_insert_with(|| Table::of(service, slots, flow_key));
        if table.places(flow, connection.backend) {
            return None;
        }
        let host = host(service, connection.backend)?;
        Some(Sighting { flow: *flow, host, closing: connection.closing, seen })
    });
    told.collect()
}

/// Remembers flows that a peer has told of. A settled slot that would send one of them elsewhere is no longer settled.
pub fn take_flows(
    applied: &mut Applied,
    flows: &[Sighting],
    slots: &impl ReadSlots,
    flow_key: &HashKey,
    now: Duration,
) -> Taken {
    let mut by_service: BTreeMap<ServiceKey, Vec<&Sighting>> = BTreeMap::new();
    for sighting in flows {
        let exact = sighting.flow.service_key();
        let any_port = ServiceKey { port: [0; 2], ..exact };
        if let Some(key) = [exact, any_port].into_iter().find(|key| applied.services.contains_key(key)) {
            by_service.entry(key).or_default().push(sighting);
        }
    }
    let mut taken = Taken::default();
    for (key, mut flows) in by_service {
        let Some(service) = applied.service_mut(&key) else { continue };
        flows.retain(|flow| now.saturating_sub(flow.seen) <= service.idle_timeout);
        if service.entry.track == Track::Never as u8 || service.entry.table.length == 0 {
            continue;
        }
        if let Some(slots) = Table::of(service, slots, flow_key).take(&flows, &mut taken) {
            service.note_moves(&slots, now);
        }
    }
    taken
}

/// A service with the slots of its table.
struct Table<'a> {
    service: &'a AppliedService,
    slots: Vec<Slot>,
    flow_key: &'a HashKey,
}

impl<'a> Table<'a> {
    fn of(service: &'a AppliedService, slots: &impl ReadSlots, flow_key: &'a HashKey) -> Self {
        Self { service, slots: slots.slots(service.entry.table), flow_key }
    }

    /// Where a flow's slot is.
    fn place(&self, flow: &Flow) -> usize {
        let table = self.service.entry.table;
        let hash = self.flow_key.flow(&flow.chooser(self.service.entry.source_bits));
        (table.slot_of((hash >> 32) as u32) - table.base) as usize
    }

    /// Whether the table alone sends a flow to `backend`, here and wherever else it is held.
    fn places(&self, flow: &Flow, backend: u16) -> bool {
        self.service.entry.previous_table.length == 0
            && self.slots[self.place(flow)] == Slot::settled(backend)
    }

    /// Takes flows, and gives the slots if some are no longer settled for them.
    fn take(mut self, flows: &[&Sighting], taken: &mut Taken) -> Option<Vec<Slot>> {
        let known = self.service.indexes();
        let mut unsettled = false;
        for sighting in flows {
            let Some(&backend) = known.get(&sighting.host.address) else {
                taken.strangers.push((self.service.entry.key, sighting.host));
                continue;
            };
            if self.places(&sighting.flow, backend) {
                continue;
            }
            taken.remembered += 1;
            taken.ops.push(self.remember(sighting, backend));
            if let Some(op) = self.unsettle(self.place(&sighting.flow), backend) {
                taken.ops.push(op);
                unsettled = true;
            }
        }
        unsettled.then_some(self.slots)
    }

    fn remember(&self, sighting: &Sighting, backend: u16) -> Op {
        let connection = Connection {
            last_seen_ns: sighting.seen.as_nanos() as u64,
            service: self.service.id,
            backend,
            closing: sighting.closing,
            again: 0,
        };
        Op::Remember { flow: sighting.flow, connection }
    }

    /// Makes a settled slot ask the connection table, where settled ones do not. Flows that it does not have stay with
    /// the backend that the slot has had for them until now.
    fn unsettle(&mut self, at: usize, backend: u16) -> Option<Op> {
        let Service { track, table, previous_table, .. } = self.service.entry;
        let slot = self.slots[at];
        if track != Track::Moved as u8 || previous_table.length > 0 || !slot.is_settled() {
            return None;
        }
        let previous = if slot.current() == slot::NONE { backend } else { slot.current() };
        self.slots[at] = Slot::new(slot.current(), previous);
        Some(Op::WriteSlots { base: table.base + at as u32, slots: vec![self.slots[at]] })
    }
}
