//! Choosing the backend of a flow.
//!
//! A settled slot decides alone, without any state. A moved slot asks the connection table; a flow that is not in it
//! is either opening, and then takes the slot's current backend, or from before the move, and then keeps the
//! previous one. Either way it is remembered, so that it stays where it is whatever happens to the slot.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::{
    backend::{Backend, Forwarding, OldFlows},
    connection::Connection,
    counter::Reason,
    flow::Flow,
    hash::KeyWords as _,
    knobs::FEATURE_TRACKING,
    service::{TableRef, Track},
    slot::{self, Slot},
};

use crate::{
    lookup::Found,
    maps::{BACKENDS, CONNECTIONS, ConstantKey, FLOW_KEY, connection, slot, table, uses},
    parse::Facts,
    verdict::Verdict,
};

/// `BPF_ANY`: create the entry or replace it.
const ANY: u64 = 0;

/// A backend and its number.
#[derive(Clone, Copy)]
pub struct Selected {
    /// Its number, which is also that of its counter.
    pub id: u32,
    /// Its entry.
    pub backend: &'static Backend,
    /// The flow's hash, for what varies per flow in an outer header.
    pub hash: u64,
}

/// The backend that `facts`' flow has or gets.
#[inline(always)]
pub fn backend(found: Found, facts: &Facts) -> Result<Selected, Verdict> {
    let hash = ConstantKey(&FLOW_KEY).flow(&facts.flow);
    let slot = slot_in(table(&found.service.table), hash).ok_or(Verdict::drop(Reason::Internal))?;
    let index = index(found, facts, slot, hash);
    if index == slot::NONE {
        return Err(Verdict::drop(Reason::NoBackend));
    }
    let id = found.service.first_backend.wrapping_add(u32::from(index));
    let backend = BACKENDS.get(id).ok_or(Verdict::drop(Reason::Internal))?;
    if backend.forwarding == Forwarding::Unresolved as u8 {
        return Err(Verdict::drop(Reason::NoNextHop));
    }
    Ok(Selected { id, backend, hash })
}

#[inline(always)]
fn slot_in(table: TableRef, hash: u64) -> Option<Slot> {
    slot(table.slot_of((hash >> 32) as u32))
}

#[inline(always)]
fn index(found: Found, facts: &Facts, slot: Slot, hash: u64) -> u16 {
    let track = found.service.track;
    if !uses(FEATURE_TRACKING) || track == Track::Never as u8 {
        return slot.current();
    }
    let before = table(&found.service.previous_table);
    if track == Track::Moved as u8 && slot.is_settled() && before.length == 0 {
        return slot.current();
    }
    if let Some(backend) = remembered(found, facts) {
        return backend;
    }
    // Where every flow is remembered, one that is not must be new.
    let is_older = track == Track::Moved as u8 && !facts.opens;
    let previous = if is_older { previous(before, slot, hash) } else { slot::NONE };
    let keeps = previous != slot::NONE && keeps_flows(found, previous);
    let backend = if keeps { previous } else { slot.current() };
    if backend != slot::NONE {
        remember(found, facts.flow, backend);
    }
    backend
}

/// Where a flow is that was there before the slot moved, or before the table's length changed.
#[inline(always)]
fn previous(before: TableRef, slot: Slot, hash: u64) -> u16 {
    if before.length == 0 {
        return slot.previous();
    }
    match slot_in(before, hash) {
        Some(slot) if slot.is_settled() => slot.current(),
        Some(slot) => slot.previous(),
        None => slot::NONE,
    }
}

/// The backend that a flow is known to have. A packet that opens a connection has none.
#[inline(always)]
fn remembered(found: Found, facts: &Facts) -> Option<u16> {
    if facts.opens {
        return None;
    }
    let entry = connection(facts.flow)?;
    if entry.service != found.id || !keeps_flows(found, entry.backend) {
        return None;
    }
    entry.last_seen_ns = now_ns();
    Some(entry.backend)
}

/// Whether a backend may still serve the flows that it has.
#[inline(always)]
fn keeps_flows(found: Found, index: u16) -> bool {
    let id = found.service.first_backend.wrapping_add(u32::from(index));
    BACKENDS.get(id).is_some_and(|backend| backend.old_flows == OldFlows::Keep as u8)
}

/// Remembers a flow. Where the table has no room for it the hash decides again at its next packet.
#[inline(always)]
fn remember(found: Found, flow: Flow, backend: u16) {
    let connection = Connection { last_seen_ns: now_ns(), service: found.id, backend, closing: 0, _pad: 0 };
    let _ = CONNECTIONS.insert(flow, connection, ANY);
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: reads the clock.
    unsafe { bpf_ktime_get_ns() }
}
