//! Which session a client's packet belongs to, and where a new one gets its address and port from.
//!
//! The session says where a flow is for as long as its backend keeps the flows that it has. A packet that opens a flow, or
//! one of QUIC, whose connection ids may name another backend, goes where it was sent by selection.
//!
//! A session begins among the openings, which anybody can fill from made-up sources: there the last ones used stay, and a
//! port that none of some tries finds free is taken from another opening. Once both sides were heard of, it passes to the
//! sessions, which nothing but the daemon's clock takes away.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "what is taken by value lies on the stack, which the functions share with their caller"
)]

use lb_common::{
    budget::Kind,
    counter::Reason,
    flow::Flow,
    knobs::FEATURE_PASSIVE,
    nat::{ENDED_FIN, ENDED_RESET, Half, Pool, SPLICED, Side},
    passive::Sign,
    policy::OPTION_QUIC,
};

use super::{Found, INTERNAL, Work};
use crate::{
    maps::{
        self, BACKENDS, INSERT_INTERVAL_NS, NAT_OPENINGS, NAT_POOLS, NAT_SESSIONS, SERVICES, admits,
        nat_work, session, uses,
    },
    parse::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, TCP},
    passive,
    quic::keeps_its_flows,
    verdict::Verdict,
};

/// Addresses and ports that are tried for a new session. With nine of ten taken, one of five finds none.
const TRIES: u32 = 16;

/// `BPF_ANY`: create the entry or replace it.
const ANY: u64 = 0;
/// `BPF_NOEXIST`: create the entry, unless it is there.
const NOEXIST: u64 = 1;

/// Finds the session of a client's packet, and leaves what the backend's packets look like. `SPLICES` has it told whether a
/// cookie has opened it.
#[inline(always)]
pub(super) fn of_client<const SPLICES: bool>(
    work: &mut Work,
    flags: u8,
    service_id: u32,
    selected: u32,
) -> Result<Found, Verdict> {
    let service = SERVICES.get(service_id).ok_or(INTERNAL)?;
    let opens = flags & (FLAG_SYN | FLAG_ACK) == FLAG_SYN;
    let Some((half, went_on)) =
        session(&work.flow).filter(|(half, _)| half.side == Side::Client as u8 && half.service == service_id)
    else {
        // What goes on without a session was translated by somebody else, or too long ago.
        let goes_on = work.flow.protocol == u32::from(TCP) && !opens;
        return if goes_on { Err(Verdict::drop(Reason::NoSession)) } else { Ok(Found(Found::NEW)) };
    };
    let id = service.first_backend.wrapping_add(u32::from(half.backend));
    let told_anew = opens || service.options & OPTION_QUIC != 0;
    if (id == selected || !told_anew && keeps(id))
        && is_with(half, id)
        && go_on::<SPLICES>(half, went_on, work, flags, opens)
    {
        work.other = half.other;
        let found = Found::session(service_id, id);
        return Ok(if SPLICES { found.spliced_as(half.ended) } else { found });
    }
    // The backend has given it up. Another one, which knows nothing of it, resets it.
    Ok(Found(Found::NEW))
}

/// Finds the session of a backend's packet, and leaves what the client's packets look like and the way to it.
#[inline(always)]
pub(super) fn of_backend<const SPLICES: bool>(work: &mut Work, flags: u8) -> Result<Found, Verdict> {
    let Some((half, _)) = session(&work.flow).filter(|(half, _)| half.side == Side::Backend as u8) else {
        return Err(unknown(&work.flow));
    };
    if uses(FEATURE_PASSIVE) && flags & FLAG_RST != 0 && half.last_seen_ns == 0 {
        let _ = passive::fail(&half.other, &work.flow.source, Sign::Refused);
    }
    see(half, flags, maps::now_ns());
    (work.other, work.way) = (half.other, half.way);
    Ok(if SPLICES { Found::reply().spliced_as(half.ended) } else { Found::reply() })
}

/// Finds the session of the flow that an ICMP error is about, as [`of_client`] and [`of_backend`] do.
#[inline(always)]
pub(super) fn of_error(work: &mut Work, flow: &Flow) -> Result<Found, Verdict> {
    let (half, _) = session(flow).ok_or(Verdict::drop(Reason::NoSession))?;
    (work.flow, work.other, work.way) = (*flow, half.other, half.way);
    if half.side == Side::Backend as u8 {
        return Ok(Found::reply());
    }
    let service = SERVICES.get(half.service).ok_or(INTERNAL)?;
    Ok(Found::session(half.service, service.first_backend.wrapping_add(u32::from(half.backend))))
}

/// What is to become of a packet that came to an address of the pool and is nobody's: ports that the pool leaves out are
/// the host's own.
#[inline(always)]
fn unknown(flow: &Flow) -> Verdict {
    let port = u16::from_be_bytes(flow.destination_port);
    let is_of_pool = NAT_POOLS
        .get(u32::from(!flow.destination.is_v4()))
        .is_none_or(|pool| port >= pool.first_port && port <= pool.last_port);
    if is_of_pool { Verdict::drop(Reason::NoSession) } else { Verdict::pass(Reason::NotOurs) }
}

/// Takes in another packet of a direction.
#[inline(always)]
fn see(half: &mut Half, flags: u8, now_ns: u64) {
    half.last_seen_ns = now_ns;
    let ended = if flags & FLAG_FIN != 0 { ENDED_FIN } else { 0 };
    let ended = if flags & FLAG_RST != 0 { ended | ENDED_RESET } else { ended };
    if ended != 0 {
        half.ended |= ended;
    }
}

/// Whether a backend keeps the flows that it has.
#[inline(always)]
fn keeps(id: u32) -> bool {
    BACKENDS.get(id).is_some_and(keeps_its_flows)
}

/// Whether a number is still that of a session's backend.
#[inline(always)]
fn is_with(half: &Half, id: u32) -> bool {
    BACKENDS.get(id).is_some_and(|backend| backend.address.halves() == half.other.source.halves())
}

/// Takes in another packet of a session. `false`: the session is none, since its port has become another flow's.
#[inline(always)]
fn go_on<const SPLICES: bool>(half: &mut Half, went_on: bool, work: &Work, flags: u8, opens: bool) -> bool {
    let moved = !half.way.is(&work.way);
    if !went_on || moved || opens && half.ended != 0 {
        let Some((other, _)) = session(&half.other) else { return false };
        if !other.other.is(&work.flow) {
            return false;
        }
        if moved {
            (half.way, other.way) = (work.way, work.way);
        }
        if opens && (!SPLICES || may_open_anew(half, other)) {
            (half.ended, other.ended) = (0, 0);
        } else if !went_on && other.last_seen_ns != 0 {
            promote(&work.flow, half, other);
        }
    }
    see(half, flags, maps::now_ns());
    true
}

/// Whether a SYN may be one of another connection. In one that a cookie has opened and that nobody has ended it is a late
/// copy, by which the numbers stay shifted.
#[inline(always)]
const fn may_open_anew(half: &Half, other: &Half) -> bool {
    half.ended & SPLICED == 0 || (half.ended | other.ended) & !SPLICED != 0
}

/// Passes a session to those that went on. Where it finds no room, it stays what it was, and its next packet tries again.
#[inline(always)]
fn promote(flow: &Flow, half: &Half, other: &Half) {
    if NAT_SESSIONS.insert(&half.other, other, ANY).is_ok() && NAT_SESSIONS.insert(flow, half, ANY).is_ok() {
        let _ = NAT_OPENINGS.remove(flow);
        let _ = NAT_OPENINGS.remove(&half.other);
    }
}

/// Begins a session with the backend that was selected.
#[inline(always)]
pub(super) fn begin(service_id: u32, selected: u32, hash: u64) -> Result<Found, Verdict> {
    if !admits(Kind::Sessions, maps::now_ns(), INSERT_INTERVAL_NS.load()) {
        return Err(Verdict::drop(Reason::NotRemembered));
    }
    describe(service_id, selected).ok_or(INTERNAL)?;
    let full = Verdict::drop(Reason::NatFull);
    if take_port(hash) && enter().is_some() { Ok(Found::session(service_id, selected)) } else { Err(full) }
}

/// Writes down the backend's half of a session, which has no address and port yet.
#[inline(always)]
fn describe(service_id: u32, selected: u32) -> Option<()> {
    let (service, backend) = (SERVICES.get(service_id)?, BACKENDS.get(selected)?);
    let Work { flow, other, half, way, spare, .. } = nat_work()?;
    other.source = backend.address;
    other.source_port = if backend.port == [0, 0] { flow.destination_port } else { backend.port };
    other.protocol = flow.protocol;
    half.other = *flow;
    half.way = *way;
    half.last_seen_ns = 0;
    half.service = service_id;
    half.backend = selected.wrapping_sub(service.first_backend) as u16;
    half.side = Side::Backend as u8;
    half.ended = 0;
    *spare = u64::from(TRIES);
    Some(())
}

/// Enters the client's half of a session whose backend's half has been entered.
#[inline(always)]
fn enter() -> Option<()> {
    let Work { flow, other, half, .. } = nat_work()?;
    half.other = *other;
    half.side = Side::Client as u8;
    half.last_seen_ns = maps::now_ns();
    // One that went on would be found first.
    let _ = NAT_SESSIONS.remove(&*flow);
    NAT_OPENINGS.insert(&*flow, &*half, ANY).ok()
}

/// Finds an address and a port that the backend's packets can be told by, and enters the backend's half under them.
#[inline(always)]
fn take_port(hash: u64) -> bool {
    (0..TRIES).any(|attempt| nat_try(hash, attempt) != 0) || nat_replace(hash) != 0
}

/// Tries one address and port; gives 1 where they were free. A function of its own, so that the verifier follows its ways
/// once.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_try(hash: u64, attempt: u32) -> u64 {
    let Some(work) = nat_work() else { return 0 };
    let Work { other, half, spare, .. } = work;
    let Some(pool) = pool(other) else { return 0 };
    (other.destination, other.destination_port) = pool.candidate(hash, attempt);
    match session(other) {
        None => u64::from(NAT_OPENINGS.insert(&*other, &*half, NOEXIST).is_ok()),
        // Its own, of a client's half that was pushed out.
        Some((held, _)) if held.other.is(&half.other) && held.service == half.service => 1,
        Some((_, went_on)) => {
            if !went_on {
                *spare = u64::from(attempt);
            }
            0
        }
    }
}

/// Takes the port of the opening that a try has met, if one has; gives 1 where that was done.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_replace(hash: u64) -> u64 {
    let Some(work) = nat_work() else { return 0 };
    let Work { other, half, spare, .. } = work;
    let Some(pool) = pool(other).filter(|_| *spare < u64::from(TRIES)) else { return 0 };
    (other.destination, other.destination_port) = pool.candidate(hash, *spare as u32);
    u64::from(NAT_OPENINGS.insert(&*other, &*half, ANY).is_ok())
}

/// What flows to a backend are translated to.
#[inline(always)]
fn pool(other: &Flow) -> Option<&'static Pool> {
    NAT_POOLS.get(u32::from(!other.source.is_v4())).filter(|pool| pool.count != 0)
}
