//! Choosing the backend of a flow.
//!
//! A settled slot decides alone, without any state. Only what belongs to a moved slot, or to a service that tracks all
//! its flows, goes to [`crate::remember`].

use lb_common::{
    backend::{Backend, Forwarding},
    capture::How,
    counter::Reason,
    flow::Flow,
    hash::KeyWords as _,
    knobs::{FEATURE_AFFINITY, FEATURE_QUIC, FEATURE_TRACKING},
    service::{TableRef, Track},
    slot::{self, Slot},
};

use crate::{
    capture, guard,
    lookup::Found,
    maps::{BACKENDS, ConstantKey, FLOW_KEY, Features, slot, table, uses},
    packet::Packet,
    parse::Facts,
    quic,
    remember::{self, Moved},
    verdict::Verdict,
};

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
pub fn backend<const GUARDED: bool, const WATCHED: bool>(
    packet: &Packet,
    found: Found,
    facts: &mut Facts,
) -> Result<Selected, Verdict> {
    let hash = ConstantKey(&FLOW_KEY).flow(&facts.flow);
    let index = index::<GUARDED, WATCHED>(packet, found, facts, hash)?;
    selected(found, index, hash)
}

/// The index of the backend that a flow has, for what is not the flow's own packet: nothing is remembered by that. With it
/// the flow's hash.
#[inline(always)]
pub fn holder(found: Found, flow: &Flow) -> Result<(u16, u64), Verdict> {
    let hash = ConstantKey(&FLOW_KEY).flow(flow);
    let index = match in_tables(found, flow, hash, Features::load())? {
        Told::Alone(index) => index,
        Told::Moved(slot, before) => remember::holder(Moved { found, slot, before, hash }, flow),
    };
    Ok((index, hash))
}

/// The backend with an index, if packets can be sent to it.
#[inline(always)]
pub fn selected(found: Found, index: u16, hash: u64) -> Result<Selected, Verdict> {
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

/// The slot of a flow in a table: its own hash chooses it, or that of its source's first `source_bits`.
#[inline(always)]
pub fn slot_in(table: TableRef, flow: &Flow, hash: u64, source_bits: u8) -> Option<Slot> {
    slot(position_in(table, flow, hash, source_bits))
}

/// Where that slot lies in the arena.
#[inline(always)]
pub fn position_in(table: TableRef, flow: &Flow, hash: u64, source_bits: u8) -> u32 {
    let chosen = if uses(FEATURE_AFFINITY) && source_bits != 0 {
        ConstantKey(&FLOW_KEY).flow(&flow.chooser(source_bits))
    } else {
        hash
    };
    table.slot_of((chosen >> 32) as u32)
}

/// What the tables say of a flow.
enum Told {
    /// The index of its backend.
    Alone(u16),
    /// What its slot names, and the table that was another one: what is remembered has to be asked.
    Moved(Slot, TableRef),
}

#[inline(always)]
fn index<const GUARDED: bool, const WATCHED: bool>(
    packet: &Packet,
    found: Found,
    facts: &mut Facts,
    hash: u64,
) -> Result<u16, Verdict> {
    let features = Features::load();
    if features.include(FEATURE_QUIC)
        && let Some(told) = quic::told(packet, found)
    {
        if told.backend != slot::NONE {
            if WATCHED {
                capture::note_how(How::ConnectionId);
            }
            return Ok(told.backend);
        }
        facts.flags = told.flags;
        if GUARDED {
            guard::check_told(found, facts)?;
        }
    }
    match in_tables(found, &facts.flow, hash, features)? {
        Told::Alone(index) => {
            if WATCHED {
                capture::note_how(How::Settled);
            }
            Ok(index)
        }
        Told::Moved(slot, before) => {
            if WATCHED {
                capture::note_how(How::Moved);
            }
            remember::backend::<GUARDED, WATCHED>(Moved { found, slot, before, hash }, facts)
        }
    }
}

#[inline(always)]
fn in_tables(found: Found, flow: &Flow, hash: u64, features: Features) -> Result<Told, Verdict> {
    let service = found.service;
    let slot = slot_in(table(&service.table), flow, hash, service.source_bits)
        .ok_or(Verdict::drop(Reason::Internal))?;
    let track = service.track;
    if !features.include(FEATURE_TRACKING) || track == Track::Never as u8 {
        return Ok(Told::Alone(slot.current()));
    }
    let before = table(&service.previous_table);
    if track == Track::Moved as u8 && slot.is_settled() && before.length == 0 {
        return Ok(Told::Alone(slot.current()));
    }
    Ok(Told::Moved(slot, before))
}
