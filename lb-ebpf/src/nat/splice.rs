//! Sessions that cookies have opened: two handshakes, and one stream of numbers that is shifted in between.
//!
//! ```text
//! client                    balancer                    backend
//!    | SYN  n                   |                          |
//!    |------------------------->|                          |
//!    |    SYN, ACK  cookie, n+1 |                          |    nothing is remembered
//!    |<-------------------------|                          |
//!    | ACK  n+1, cookie+1       | SYN  n                   |
//!    |------------------------->|------------------------->|    the session begins
//!    |                          |          SYN, ACK  b, n+1|
//!    |                          |<-------------------------|    shift = cookie - b
//!    |                          | ACK  n+1, b+1            |
//!    |                          |------------------------->|
//!    | sequence + shift         |                 sequence |
//!    |<-------------------------|<-------------------------|
//!    | acknowledgement          | acknowledgement - shift  |
//!    |------------------------->|------------------------->|
//! ```
//!
//! A packet can become one other packet, and no packet can wait. So what the client sends before the backend has answered is
//! dropped, or becomes another SYN, and the client's own clock sends it again.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "what is taken by value lies on the stack, which the functions share with their caller"
)]

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    backend::Backend,
    cookie::{AGAIN_NS, Splice},
    counter::Reason,
    flow::Flow,
    nat::SPLICED,
    policy::OPTION_MSS,
};

use super::{
    Found, INTERNAL, Told, nat_begin, nat_count, nat_return, nat_send,
    rewrite::{self, Number},
    session, translated,
};
use crate::{
    answer::segment::{self, Heading, mss_option},
    cookie::numbers,
    maps::{self, BACKENDS, NAT_SPLICES, POLICIES, SERVICES, cookie_work, nat_work},
    packet::{Packet, Tcp},
    parse::{self, FLAG_ACK, FLAG_RST, FLAG_SYN, Fault, Link},
    select::Selected,
    verdict::Verdict,
};

/// `BPF_ANY`: create the entry or replace it.
const ANY: u64 = 0;

/// What has to be done with a packet before it is translated, where it is no verdict: no reason's number is as large.
const NOTHING: u64 = 1 << 63;
/// It becomes a SYN.
const OPEN: u64 = 1 << 62;
/// It is answered instead.
const ANSWER: u64 = 1 << 61;

/// What [`super::forward`] does, where cookies may have opened sessions.
#[inline(always)]
pub(super) fn forward(packet: &Packet, told: Told, service: u32, selected: &Selected) -> Verdict {
    let context = packet.context();
    let mut found = Found(splice_session(told.0, service, selected.id));
    if found.is_new() {
        found = Found(nat_begin(service, selected.id, selected.hash));
        if found.is_session() && told.has_cookie() {
            found = Found(splice_begin(service, selected.id));
        }
    }
    if !found.is_session() {
        return Verdict::from_word(found.0);
    }
    if found.is_spliced() {
        let step = splice_onward(told.0);
        if step & OPEN != 0 {
            if splice_open(context) == 0 {
                return INTERNAL;
            }
        } else if step & NOTHING == 0 {
            return Verdict::from_word(step);
        }
    }
    let verdict = translated(packet, nat_send(context, found.backend()));
    if verdict.leaves() {
        nat_count(service, found.backend(), told.opens());
    }
    if found.is_spliced() && verdict.leaves() && splice_shift(context, found.0) == 0 {
        return INTERNAL;
    }
    verdict
}

/// What [`super::back`] does, likewise.
#[inline(always)]
pub(super) fn back(packet: &Packet, told: Told) -> Verdict {
    let context = packet.context();
    let found = Found(splice_reply(told.0));
    if !found.is_session() {
        return Verdict::from_word(found.0);
    }
    if found.is_spliced() {
        let step = splice_back(context);
        if step & ANSWER != 0 {
            return Verdict::from_word(splice_answer(context));
        }
        if step & NOTHING == 0 {
            return Verdict::from_word(step);
        }
    }
    let verdict = translated(packet, nat_return(context));
    if found.is_spliced() && verdict.leaves() && splice_shift(context, found.0) == 0 {
        return INTERNAL;
    }
    verdict
}

/// Finds the session of a client's packet; one that brings a cookie has none. Gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_session(told: u64, service: u32, selected: u32) -> u64 {
    let told = Told(told);
    let Some(work) = nat_work() else { return INTERNAL.to_word() };
    if told.has_cookie() {
        return Found::NEW;
    }
    Found::of(session::of_client::<true>(work, told.flags(), service, selected))
}

/// Finds the session of a backend's packet; gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_reply(told: u64) -> u64 {
    let Some(work) = nat_work() else { return INTERNAL.to_word() };
    Found::of(session::of_backend::<true>(work, Told(told).flags()))
}

/// Has a session that has begun be one that a cookie has opened; gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_begin(service: u32, selected: u32) -> u64 {
    match begin(service, selected) {
        Some(()) => Found::session(service, selected).spliced_as(SPLICED).0,
        None => Verdict::drop(Reason::NotRemembered).to_word(),
    }
}

#[inline(always)]
fn begin(service: u32, selected: u32) -> Option<()> {
    let (work, cookie) = (nat_work()?, cookie_work()?);
    cookie.splice.mss = cookie.splice.mss.min(largest_mss(service, selected)?);
    NAT_SPLICES.insert(&work.flow, &cookie.splice, ANY).ok()?;
    let (half, _) = maps::session(&work.flow)?;
    half.ended = SPLICED;
    let (other, _) = maps::session(&work.other)?;
    // Its entry may be that of a session before.
    (other.ended, other.last_seen_ns) = (SPLICED, 0);
    Some(())
}

/// What a service lets a SYN to a backend announce.
#[inline(always)]
fn largest_mss(service: u32, selected: u32) -> Option<u16> {
    let (service, policy) = (SERVICES.get(service)?, POLICIES.get(service)?);
    if service.options & OPTION_MSS == 0 {
        return Some(u16::MAX);
    }
    let Backend { mtu, address, .. } = BACKENDS.get(selected)?;
    Some(match policy.mss {
        0 => crate::mss::that_fits(*mtu, address.is_v4()),
        largest => largest,
    })
}

/// What has to be done with a client's packet: nothing but to translate it, to make it a SYN, or a verdict.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_onward(told: u64) -> u64 {
    let (Some(work), Some(cookie)) = (nat_work(), cookie_work()) else { return INTERNAL.to_word() };
    let Some(splice) = maps::splice(&work.flow) else { return Verdict::drop(Reason::NoSession).to_word() };
    cookie.splice = *splice;
    cookie.splice.told = maps::told(splice);
    if cookie.splice.told & Splice::ANSWERED != 0 {
        return NOTHING;
    }
    let now_ns = maps::now_ns();
    if Told(told).flags() & FLAG_RST != 0 || now_ns.wrapping_sub(splice.sent_ns) < AGAIN_NS {
        return Verdict::drop(Reason::NotOpenYet).to_word();
    }
    splice.sent_ns = now_ns;
    OPEN
}

/// Makes a client's packet the SYN that it has sent first; 0 where that could not be.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_open(context: *mut xdp_md) -> u64 {
    u64::from(open(&mut Packet::in_context(context)).is_some())
}

#[inline(always)]
fn open(packet: &mut Packet) -> Option<()> {
    let (link, client) = tcp(packet)?;
    let splice = &cookie_work()?.splice;
    let syn = Tcp {
        source_port: client.source_port,
        destination_port: client.destination_port,
        sequence: splice.client.to_be_bytes(),
        flags: FLAG_SYN,
        window: splice.window.to_be_bytes(),
        ..Tcp::default()
    };
    segment::make(packet, link, Heading::Onward, syn, mss_option(splice.mss)).ok()
}

/// What has to be done with a backend's packet, from which the shift may be learned now.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_back(context: *mut xdp_md) -> u64 {
    learn(&Packet::in_context(context)).unwrap_or(INTERNAL.to_word())
}

#[inline(always)]
fn learn(packet: &Packet) -> Option<u64> {
    let (work, cookie, (_, tcp)) = (nat_work()?, cookie_work()?, tcp(packet)?);
    let Some(splice) = maps::splice(&work.other) else {
        return Some(Verdict::drop(Reason::NoSession).to_word());
    };
    let (sequence, acknowledgement) = numbers(&tcp);
    let is_answer = tcp.flags & (FLAG_SYN | FLAG_ACK | FLAG_RST) == FLAG_SYN | FLAG_ACK
        && acknowledgement == splice.client.wrapping_add(1);
    cookie.splice = *splice;
    cookie.splice.told = maps::told(splice);
    if cookie.splice.told & Splice::ANSWERED != 0 {
        // The same again: what was said to the first one is lost.
        let is_again = is_answer && cookie.splice.told == splice.told_by(sequence);
        return Some(if is_again { ANSWER } else { NOTHING });
    }
    if is_answer {
        maps::tell(splice, splice.told_by(sequence));
        return Some(ANSWER);
    }
    if tcp.flags & FLAG_RST != 0 {
        // No other number would be believed by a client that expects the one behind the cookie.
        cookie.splice.told = splice.told_by(sequence.wrapping_sub(1));
        return Some(NOTHING);
    }
    Some(ANSWER)
}

/// Answers a backend in its client's place: a SYN-ACK with an ACK, and what is of no use to a connection that is being
/// opened, such as the word of one before, with a reset (RFC 9293 section 3.10.7.3). Gives the verdict.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_answer(context: *mut xdp_md) -> u64 {
    let (Ok(verdict) | Err(verdict)) = answer(&mut Packet::in_context(context));
    verdict.to_word()
}

#[inline(always)]
fn answer(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let (link, backend) = tcp(packet).ok_or(INTERNAL)?;
    let window = cookie_work().ok_or(INTERNAL)?.splice.window;
    let answer = Tcp {
        source_port: backend.destination_port,
        destination_port: backend.source_port,
        sequence: backend.acknowledgement,
        ..Tcp::default()
    };
    let after_syn = u32::from_be_bytes(backend.sequence).wrapping_add(1).to_be_bytes();
    let answer = if backend.flags & FLAG_SYN == 0 {
        Tcp { flags: FLAG_RST, ..answer }
    } else {
        Tcp { acknowledgement: after_syn, flags: FLAG_ACK, window: window.to_be_bytes(), ..answer }
    };
    segment::make(packet, link, Heading::Back, answer, [])?;
    Ok(Verdict::back(Reason::Acknowledged))
}

/// Gives a packet the number that its receiver knows; 0 where that could not be.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_shift(context: *mut xdp_md, found: u64) -> u64 {
    let Some(cookie) = cookie_work() else { return 0 };
    let shift = cookie.splice.told as u32;
    let packet = &mut Packet::in_context(context);
    let shifted = if Found(found).is_reply() {
        rewrite::number(packet, Number::Sequence, shift)
    } else {
        rewrite::number(packet, Number::Acknowledgement, shift.wrapping_neg())
    };
    u64::from(shifted.is_some())
}

/// Gives what an ICMP error quotes the number that its sender knows, where the quoted flow was opened by a cookie; 0 where
/// that could not be.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn splice_quote(context: *mut xdp_md, found: u64) -> u64 {
    let (Some(work), found) = (nat_work(), Found(found)) else { return 0 };
    let client = if found.is_reply() { &work.other } else { &work.flow };
    let Some(splice) = maps::splice(client).filter(|_| is_spliced(client)) else { return 1 };
    let shift = maps::told(splice) as u32;
    let packet = &mut Packet::in_context(context);
    let shifted = if found.is_reply() {
        rewrite::quoted_number(packet, Number::Acknowledgement, shift)
    } else {
        rewrite::quoted_number(packet, Number::Sequence, shift.wrapping_neg())
    };
    u64::from(shifted.is_some())
}

/// Whether a client's session is one that a cookie has opened.
#[inline(always)]
fn is_spliced(client: &Flow) -> bool {
    maps::session(client).is_some_and(|(half, _)| half.ended & SPLICED != 0)
}

/// The packet's link layer and its TCP header, which were read before.
#[inline(always)]
fn tcp(packet: &Packet) -> Option<(Link, Tcp)> {
    let link = parse::link(packet)?;
    let at = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?.payload_at;
    Some((link, *packet.header::<Tcp>(at)?))
}
