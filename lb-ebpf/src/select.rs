//! Choosing the backend of a flow.
//!
//! A settled slot decides alone, without any state. A moved slot asks the connection table; a flow that is not in it
//! is either opening, and then takes the slot's current backend, or from before the move, and then keeps the
//! previous one. Either way it is remembered, so that it stays where it is whatever happens to the slot.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::{
    backend::{Backend, Forwarding},
    connection::Connection,
    counter::Reason,
    flow::Flow,
    hash::KeyWords as _,
    knobs::FEATURE_TRACKING,
    service::Track,
    slot::{self, Slot},
};

use crate::{
    lookup::Found,
    maps::{BACKENDS, CONNECTIONS, ConstantKey, FLOW_KEY, connection, slot, table_of, uses},
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
    let at = table_of(found.service).slot_of((hash >> 32) as u32);
    let slot = slot(at).ok_or(Verdict::drop(Reason::Internal))?;
    let index = index(found, facts, slot);
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
fn index(found: Found, facts: &Facts, slot: Slot) -> u16 {
    let track = found.service.track;
    if !uses(FEATURE_TRACKING) || track == Track::Never as u8 {
        return slot.current();
    }
    if slot.is_settled() && track == Track::Moved as u8 {
        return slot.current();
    }
    tracked(found, facts, slot)
}

#[inline(always)]
fn tracked(found: Found, facts: &Facts, slot: Slot) -> u16 {
    // SAFETY: reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(entry) = connection(&facts.flow)
        && entry.service == found.id
        && !facts.opens
        && keeps_flows(found, entry.backend)
    {
        entry.last_seen_ns = now;
        return entry.backend;
    }
    // Where every flow is remembered, one that is not must be new.
    let before_the_move = found.service.track == Track::Moved as u8 && !facts.opens && !slot.is_settled();
    let backend = if before_the_move { slot.previous() } else { slot.current() };
    if backend != slot::NONE {
        remember(&facts.flow, Connection { last_seen_ns: now, service: found.id, backend, _pad: 0 });
    }
    backend
}

/// Whether a backend may still serve the flows that it has.
#[inline(always)]
fn keeps_flows(found: Found, index: u16) -> bool {
    let id = found.service.first_backend.wrapping_add(u32::from(index));
    BACKENDS.get(id).is_some_and(|backend| backend.gives_up_flows == 0)
}

/// Remembers a flow. Where the table has no room for it the hash decides again at its next packet.
#[inline(always)]
fn remember(flow: &Flow, connection: Connection) {
    let _ = CONNECTIONS.insert(flow, connection, ANY);
}
