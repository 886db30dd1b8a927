//! Backends that may be given only so many flows: where one that opens goes, and how many each backend has.
//!
//! A flow that finds its slot's backend full goes to one that a following slot names. Only the entry that is made of it
//! tells its next packet so, hence it is dropped if there can be none.

use lb_common::{
    connection::Closing,
    counter::Reason,
    guard::{OnFull, Refusal},
    knobs::FEATURE_LIMITS,
    policy::OPTION_LIMITS,
    service::TableRef,
    slot,
};

use crate::{
    guard,
    lookup::Found,
    maps::{self, BACKENDS, POLICIES, uses},
    parse::{Facts, TCP},
    verdict::Verdict,
};

/// Slots that are looked at for a backend that has room. Neighbours name backends as if at random, so even one of two is
/// missed once in 2¹⁶ times.
const TRIES: u32 = 16;

/// What [`next_with_room`] gives where it finds none.
const NOBODY: u32 = slot::NONE as u32;

/// Whether a service's backends have limits.
#[inline(always)]
pub fn apply(found: Found) -> bool {
    uses(FEATURE_LIMITS) && found.service.options & OPTION_LIMITS != 0
}

/// A flow that opens: the index of its slot's backend, and where that slot is.
#[derive(Clone, Copy)]
pub struct Opening {
    /// Its service.
    pub found: Found,
    /// The index that its slot names.
    pub index: u16,
    /// The table.
    pub table: TableRef,
    /// The slot's index in the arena.
    pub position: u32,
}

impl Opening {
    /// The index of the backend that the flow is given.
    #[inline(always)]
    pub fn place(self, facts: &Facts, now_ns: u64) -> Result<u16, Verdict> {
        let found = self.found;
        let first = found.service.first_backend;
        if maps::backend_admits(first.wrapping_add(u32::from(self.index)), now_ns) {
            return Ok(self.index);
        }
        let on_full = POLICIES.get(found.id).map_or(0, |policy| policy.guard.on_full);
        if on_full == OnFull::Next as u8 {
            let index =
                next_with_room(self.table.to_word(), self.position, first, u32::from(self.index), now_ns);
            if index != NOBODY {
                return Ok(index as u16);
            }
        }
        let dropped = guard::refuse(found, Refusal::BackendFull, Reason::BackendFull);
        let answers = on_full == OnFull::Refuse as u8 && facts.flow.protocol == u32::from(TCP);
        Err(if answers { Verdict::answer(Reason::Refused, 0) } else { dropped })
    }
}

/// The index of a backend with room that one of the slots after `position` names, but for the one that is `full`.
/// A global function with scalars alone: see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn next_with_room(
    table: u64,
    position: u32,
    first_backend: u32,
    full: u32,
    now_ns: u64,
) -> u32 {
    let table = TableRef::from_word(table);
    let end = table.base.wrapping_add(table.length);
    let mut position = position;
    for _ in 0..TRIES {
        position = if position.wrapping_add(1) >= end { table.base } else { position.wrapping_add(1) };
        let Some(slot) = maps::slot(position) else { return NOBODY };
        let index = u32::from(slot.current());
        if index == full || index == NOBODY {
            continue;
        }
        let id = first_backend.wrapping_add(index);
        let takes_new = BACKENDS.get(id).is_some_and(|backend| backend.takes_new != 0);
        if takes_new && maps::backend_admits(id, now_ns) {
            return index;
        }
    }
    NOBODY
}

/// Takes note that a flow's entry said `before` of its end, and says `after`.
#[inline(always)]
pub fn note(found: Found, index: u16, before: u8, after: u8) {
    let open = Closing::Open as u8;
    if (before == open) == (after == open) {
        return;
    }
    count(found, index, if after == open { 1 } else { -1 });
}

/// Adds to the flows that a backend has.
#[inline(always)]
pub fn count(found: Found, index: u16, flows: i64) {
    maps::count_flows(found.service.first_backend.wrapping_add(u32::from(index)), flows);
}
