//! Flows that the hash alone does not place: those of moved slots, and of services that track all.
//!
//! A flow that is known stays with its backend for as long as that one may serve it. Of the others, one that opens takes
//! the slot's current backend and one that goes on keeps the previous one; either is remembered, so that it stays where
//! it is whatever happens to the slot.
//!
//! Entries begin in `openings`, which anybody can fill with packets from made-up sources, and pass to `connections` with
//! the flow's second packet; each table has a budget of its own. An entry that cannot be made must not split a
//! connection: what opens goes where its next packet would be sent without any entry, to the previous backend.

use aya_ebpf::btf_maps::LruHashMap;
use lb_common::{
    backend::{Backend, OldFlows},
    budget::Kind,
    capture::How,
    connection::{Closing, Connection, Tracked},
    counter::Reason,
    flow::Flow,
    knobs::{FEATURE_PASSIVE, FEATURE_PEERS, FEATURE_RESET},
    passive::{AGAIN_WITHIN_NS, Sign},
    service::{TableRef, Track},
    slot::{self, Slot},
};

use crate::{
    capture,
    fragment::Part,
    guard,
    limits::{self, Opening},
    lookup::Found,
    maps::{
        BACKENDS, CONNECTIONS, INSERT_INTERVAL_NS, NEWS, OPENINGS, admits, connection, count_opened, now_ns,
        table, uses,
    },
    parse::{FLAG_ACK, FLAG_RST, Facts},
    passive::count_sign,
    select::{position_in, slot_in},
    verdict::Verdict,
};

/// `BPF_ANY`: create the entry or replace it.
const ANY: u64 = 0;
/// `BPF_EXIST`: replace the entry, if it is still there.
const EXIST: u64 = 2;

/// A slot that does not decide alone.
#[derive(Clone, Copy)]
pub struct Moved<const GUARDED: bool> {
    /// Its service.
    pub found: Found,
    /// What it names.
    pub slot: Slot,
    /// The table that was another one; length 0: there is none.
    pub before: TableRef,
    /// The flow's hash.
    pub hash: u64,
}

/// The index of the backend that a flow has or gets; [`slot::NONE`] where there is none.
#[inline(always)]
pub fn backend<const GUARDED: bool, const WATCHED: bool>(
    moved: Moved<GUARDED>,
    facts: &Facts,
) -> Result<u16, Verdict> {
    let now_ns = now_ns();
    if let Some(entry) = known(&CONNECTIONS, moved, facts) {
        if WATCHED {
            capture::note_how(How::Remembered);
        }
        if moved.stays(facts, entry.backend)? {
            moved.see(entry, facts, now_ns);
            return Ok(entry.backend);
        }
        return Ok(moved.again(&CONNECTIONS, facts, entry, now_ns));
    }
    if let Some(entry) = known(&OPENINGS, moved, facts) {
        if WATCHED {
            capture::note_how(How::Remembered);
        }
        if !moved.stays(facts, entry.backend)? {
            return Ok(moved.again(&OPENINGS, facts, entry, now_ns));
        }
        let backend = entry.backend;
        if uses(FEATURE_PASSIVE) && facts.opens() {
            moved.hear_again(entry, now_ns);
        }
        if facts.opens()
            || facts.closing() as u8 != Closing::Open as u8
            || !moved.goes_on(facts, entry, now_ns)
        {
            moved.see(entry, facts, now_ns);
        }
        return Ok(backend);
    }
    moved.unknown(facts, now_ns)
}

/// The index of the backend that a flow has, of which nothing is to be remembered; [`slot::NONE`] where there is none.
#[inline(always)]
pub fn holder(moved: Moved<false>, flow: &Flow) -> u16 {
    let entry = connection(&CONNECTIONS, flow).or_else(|| connection(&OPENINGS, flow));
    let known = entry.filter(|entry| entry.service == moved.found.id);
    let held = known.map_or_else(|| moved.previous(flow), |entry| entry.backend);
    let keeps = moved.backend(held).is_some_and(|backend| backend.old_flows != OldFlows::Move as u8);
    if held != slot::NONE && keeps { held } else { moved.slot.current() }
}

/// The entry of a flow in a table, if it is the service's own.
#[inline(always)]
fn known<const GUARDED: bool, const N: usize>(
    table: &LruHashMap<Flow, Connection, N>,
    moved: Moved<GUARDED>,
    facts: &Facts,
) -> Option<&'static mut Connection> {
    connection(table, facts.flow).filter(|entry| entry.service == moved.found.id)
}

impl<const GUARDED: bool> Moved<GUARDED> {
    /// Takes in another packet of a flow.
    #[inline(always)]
    fn see(&self, entry: &mut Connection, facts: &Facts, now_ns: u64) {
        let before = entry.closing;
        if facts.opens() {
            entry.reopen(now_ns);
        } else {
            entry.touch(facts.closing(), now_ns);
        }
        if self.is_limited() {
            limits::note(self.found, entry.backend, before, entry.closing);
        }
    }

    /// Whether the flows of backends are counted.
    #[inline(always)]
    fn is_limited(&self) -> bool {
        GUARDED && limits::apply(self.found)
    }

    /// Whether a packet may go to a backend that its flow has: it takes new flows, where the packet opens one, or does
    /// not give up those that it has. The verdict is a reset, where it resets them.
    #[inline(always)]
    fn stays(&self, facts: &Facts, index: u16) -> Result<bool, Verdict> {
        let Some(backend) = self.backend(index) else { return Ok(false) };
        if facts.opens() {
            return Ok(backend.takes_new != 0);
        }
        // A reset is no answer to a reset, nor to what acknowledges nothing (RFC 9293 section 3.10.7.1).
        let can_be_reset = uses(FEATURE_RESET)
            && facts.part == Part::Whole
            && facts.flags & (FLAG_ACK | FLAG_RST) == FLAG_ACK;
        if can_be_reset && backend.old_flows == OldFlows::Reset as u8 {
            return Err(Verdict::answer(Reason::Reset, 0));
        }
        Ok(backend.old_flows != OldFlows::Move as u8)
    }

    /// Gives a flow that is known, and may not stay, to the current backend.
    #[inline(always)]
    fn again<const N: usize>(
        &self,
        table: &LruHashMap<Flow, Connection, N>,
        facts: &Facts,
        held: &Connection,
        now_ns: u64,
    ) -> u16 {
        let current = self.slot.current();
        if current == slot::NONE {
            return current;
        }
        let (from, closing) = (held.backend, held.closing);
        // Not in place: an entry that is evicted meanwhile is another flow's.
        if table.insert(facts.flow, self.entry(current, now_ns), EXIST).is_ok() && self.is_limited() {
            limits::note(self.found, from, closing, Closing::Fin as u8);
            limits::count(self.found, current, 1);
        }
        current
    }

    /// Remembers a flow as one that went on. `false`: it stays among those of which one packet was seen, and its next
    /// packet tries again.
    #[inline(always)]
    fn goes_on(&self, facts: &Facts, held: &Connection, now_ns: u64) -> bool {
        let (backend, closing) = (held.backend, held.closing);
        let connection = self.entry(backend, now_ns);
        if !may_insert(Kind::Connections, now_ns) || CONNECTIONS.insert(facts.flow, connection, ANY).is_err()
        {
            return false;
        }
        let _ = OPENINGS.remove(facts.flow);
        if self.is_limited() {
            limits::note(self.found, backend, closing, Closing::Open as u8);
        }
        if uses(FEATURE_PEERS) && (!self.slot.is_settled() || self.before.length > 0) {
            // Without a reader, or with one that is slow, it is left out: the daemon tells all flows now and then.
            if let Some(mut record) = NEWS.reserve_untyped::<Tracked>(0) {
                record.write(Tracked { flow: facts.flow, connection });
                record.submit(0);
            }
        }
        true
    }

    /// The backend of a flow that nothing is remembered of.
    #[inline(always)]
    fn unknown(&self, facts: &Facts, now_ns: u64) -> Result<u16, Verdict> {
        // Where all flows are remembered, one that is not and does not say that it goes on must be new.
        let is_older = !facts.opens() && (self.found.service.track == Track::Moved as u8 || facts.goes_on());
        if !is_older {
            return self.beginning(facts, now_ns);
        }
        let previous = self.previous(&facts.flow);
        let stays = previous != slot::NONE && self.stays(facts, previous)?;
        let backend = if stays { previous } else { self.slot.current() };
        if backend != slot::NONE && facts.closing() as u8 == Closing::Open as u8 {
            self.begin(facts, backend, now_ns);
        }
        Ok(backend)
    }

    /// The backend of a flow that begins.
    #[inline(always)]
    fn beginning(&self, facts: &Facts, now_ns: u64) -> Result<u16, Verdict> {
        let current = self.slot.current();
        if GUARDED {
            guard::check_unseen(self.found, facts)?;
        }
        if self.is_limited() && current != slot::NONE {
            return self.beginning_where_there_is_room(facts, now_ns);
        }
        if current == slot::NONE || self.begin_new(facts, current, now_ns) || !facts.opens() {
            return Ok(current);
        }
        let previous = self.previous(&facts.flow);
        if previous == slot::NONE || previous == current {
            return Ok(current);
        }
        match self.backend(previous) {
            Some(backend) if backend.takes_new != 0 => Ok(previous),
            _ => Err(Verdict::drop(Reason::NotRemembered)),
        }
    }

    /// The same among backends that have limits: the one that it gets is where it is remembered to be.
    #[inline(always)]
    fn beginning_where_there_is_room(&self, facts: &Facts, now_ns: u64) -> Result<u16, Verdict> {
        let service = self.found.service;
        let table = table(&service.table);
        let position = position_in(table, &facts.flow, self.hash, service.source_bits);
        let opening = Opening { found: self.found, index: self.slot.current(), table, position };
        let index = opening.place(facts, now_ns)?;
        if self.begin_new(facts, index, now_ns) {
            Ok(index)
        } else {
            Err(Verdict::drop(Reason::NotRemembered))
        }
    }

    /// Remembers a flow that begins, within the budget. One whose packets do not say what they open, as those of UDP, is
    /// counted as opened by that; the others are where they are forwarded ([`crate::pipeline`]).
    #[inline(always)]
    fn begin_new(&self, facts: &Facts, backend: u16, now_ns: u64) -> bool {
        let remembered = self.begin(facts, backend, now_ns);
        if remembered && !facts.opens() {
            count_opened(self.found.id, self.number(backend));
        }
        remembered
    }

    /// Remembers a flow of which one packet was seen, within the budget.
    #[inline(always)]
    fn begin(&self, facts: &Facts, backend: u16, now_ns: u64) -> bool {
        if !may_insert(Kind::Openings, now_ns)
            || OPENINGS.insert(facts.flow, self.entry(backend, now_ns), ANY).is_err()
        {
            return false;
        }
        if self.is_limited() {
            limits::count(self.found, backend, 1);
        }
        if uses(FEATURE_PASSIVE) && facts.opens() {
            count_sign(self.number(backend), Sign::Opened as u32);
        }
        true
    }

    /// Counts a SYN that is sent again, once: its client has heard nothing of the backend, and nobody has answered for that
    /// one. After a while it is another connection.
    #[inline(always)]
    fn hear_again(&self, entry: &mut Connection, now_ns: u64) {
        let again = u8::from(now_ns.wrapping_sub(entry.last_seen_ns) < AGAIN_WITHIN_NS);
        if again == 0 || entry.again == 0 {
            let sign = if again == 0 { Sign::Opened } else { Sign::Again };
            count_sign(self.number(entry.backend), sign as u32);
        }
        entry.again = again;
    }

    /// The number of a backend among all.
    #[inline(always)]
    const fn number(&self, index: u16) -> u32 {
        self.found.service.first_backend.wrapping_add(index as u32)
    }

    /// Where a flow is that was there before the slot moved, or before the table became another one.
    #[inline(always)]
    fn previous(&self, flow: &Flow) -> u16 {
        if self.before.length == 0 {
            return self.slot.previous();
        }
        match slot_in(self.before, flow, self.hash, self.found.service.previous_source_bits) {
            Some(slot) if slot.is_settled() => slot.current(),
            Some(slot) => slot.previous(),
            None => slot::NONE,
        }
    }

    #[inline(always)]
    fn backend(&self, index: u16) -> Option<&'static Backend> {
        BACKENDS.get(self.found.service.first_backend.wrapping_add(u32::from(index)))
    }

    #[inline(always)]
    const fn entry(&self, backend: u16, now_ns: u64) -> Connection {
        let closing = Closing::Open as u8;
        Connection { last_seen_ns: now_ns, service: self.found.id, backend, closing, again: 0 }
    }
}

/// Whether this CPU may make another entry of a kind.
#[inline(always)]
fn may_insert(kind: Kind, now_ns: u64) -> bool {
    admits(kind, now_ns, INSERT_INTERVAL_NS.load())
}
