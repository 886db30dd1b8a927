//! Packets shown to an operator, as they arrive and as they leave, with what was decided in between.
//!
//! In programs of their own (`sluice_captured`), which take the place of the one that runs while somebody looks: what is
//! not asked for costs nothing. The bytes of before are copied first, since the pipeline writes over them; what it finds
//! is noted on the way; the bytes of after and the verdict come last. Everything is in functions of their own and in a map's
//! value, so that the pipeline keeps its registers and its stack.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::bpf_get_prandom_u32,
};
use lb_common::{
    address::Address,
    budget::{BURST_NS, next_due},
    capture::{Choice, How, MOST, NONE, Record},
};

use crate::{
    maps::{CAPTURE_CHOICE, CAPTURES, captured, now_ns, untold},
    packet::Packet,
    parse::{self, Ip},
    verdict::{self, Verdict},
};

/// Bytes of both frames.
const KEPT: usize = 2 * (MOST as usize + 1);

/// A record with the bytes behind it.
#[repr(C)]
pub struct Captured {
    record: Record,
    kept: [u8; KEPT],
}

/// Keeps what a packet is as it arrives, if it is one that is to be shown, as far as can be told by then. Which is noted
/// with it: the pipeline has no room left on the stack.
#[inline(always)]
pub fn before(packet: &Packet) {
    capture_before(packet.context());
}

/// Counts a packet and gives its action, as [`verdict::finish`] does, and shows it if it was chosen.
#[inline(always)]
pub fn after(packet: &Packet, verdict: Result<Verdict, Verdict>, bytes: u64) -> u32 {
    let (Ok(told) | Err(told)) = verdict;
    let action = verdict::finish(bytes, verdict);
    capture_after(packet.context(), told.reason() as u32, action);
    action
}

/// Notes the service that a packet is for.
#[inline(always)]
pub fn note_service(id: u32) {
    capture_note(SERVICE, id);
}

/// Notes the backend that it is for.
#[inline(always)]
pub fn note_backend(id: u32) {
    capture_note(BACKEND, id);
}

/// Notes how that was found.
#[inline(always)]
pub fn note_how(how: How) {
    capture_note(HOW, how as u32);
}

/// What [`capture_note`] is told.
const SERVICE: u32 = 0;
const BACKEND: u32 = 1;
const HOW: u32 = 2;

/// Notes one thing of the packet. A global function, see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_note(what: u32, value: u32) -> u64 {
    let Some(work) = captured() else { return 0 };
    match what {
        SERVICE => work.record.service = value,
        BACKEND => work.record.backend = value,
        _ => work.record.how = value,
    }
    0
}

/// As [`before`]. What is not chosen has no time.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_before(context: *mut xdp_md) -> u64 {
    let packet = Packet::in_context(context);
    let (Some(choice), Some(work)) = (CAPTURE_CHOICE.get(0), captured()) else { return 0 };
    work.record.time_ns = 0;
    let now_ns = now_ns();
    if now_ns >= choice.until_ns || !is_drawn(choice.one_of) || !is_of_client(&packet, choice) {
        return 0;
    }
    let arrived = packet.len() as u32;
    let keep = least(choice.keep, arrived) & MOST;
    let arrived_kept = if packet.copy(&mut work.kept, keep) { keep } else { 0 };
    work.record = Record {
        time_ns: now_ns,
        arrived,
        arrived_kept,
        left: 0,
        left_kept: 0,
        service: NONE,
        backend: NONE,
        ifindex: packet.ingress_ifindex(),
        reason: 0,
        action: 0,
        how: How::Otherwise as u32,
    };
    0
}

/// Shows a packet, if it is one that was chosen.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_after(context: *mut xdp_md, reason: u32, action: u32) -> u64 {
    let packet = Packet::in_context(context);
    let (Some(choice), Some(work)) = (CAPTURE_CHOICE.get(0), captured()) else { return 0 };
    let Captured { record, kept } = work;
    let is_chosen = record.time_ns != 0
        && choice.reasons >> (reason & 63) & 1 != 0
        && (choice.service == NONE || choice.service == record.service)
        && (choice.backend == NONE || choice.backend == record.backend);
    let Some(untold) = untold().filter(|_| is_chosen) else { return 0 };
    let Some(due_ns) = next_due(untold.due_ns, record.time_ns, choice.interval_ns, BURST_NS) else {
        untold.limited += 1;
        return 0;
    };
    untold.due_ns = due_ns;
    (record.reason, record.action) = (reason, action);
    let at = record.arrived_kept & MOST;
    let mut left_kept = 0;
    if action == xdp_action::XDP_TX || action == xdp_action::XDP_REDIRECT {
        record.left = packet.len() as u32;
        let keep = least(choice.keep, record.left) & MOST;
        if packet.copy(&mut kept[at as usize..][..MOST as usize], keep) {
            left_kept = keep;
        }
    }
    record.left_kept = left_kept;
    let bytes = size_of::<Record>() + at as usize + left_kept as usize;
    let whole = core::ptr::from_ref(&*work).cast::<u8>();
    // SAFETY: the record and the kept bytes lie behind each other, and there are as many.
    let whole = unsafe { core::slice::from_raw_parts(whole, bytes) };
    if CAPTURES.output_untyped::<[u8]>(whole, 0).is_err() {
        untold.lost += 1;
    }
    1
}

/// One of so many.
#[inline(always)]
fn is_drawn(one_of: u32) -> bool {
    // SAFETY: gives a number.
    one_of == 1 || one_of != 0 && unsafe { bpf_get_prandom_u32() } % one_of == 0
}

#[inline(always)]
const fn least(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// Whether one of the packet's ends is the client that is asked for.
#[inline(always)]
fn is_of_client(packet: &Packet, choice: &Choice) -> bool {
    if choice.client_bits == 0 {
        return true;
    }
    let Some(link) = parse::link(packet) else { return false };
    let Ok(Ip { source, destination, .. }) = parse::ip_of_any::<true>(packet, link) else { return false };
    has_prefix(&source, choice) || has_prefix(&destination, choice)
}

#[inline(always)]
fn has_prefix(address: &Address, choice: &Choice) -> bool {
    let ([high, low], [wanted_high, wanted_low]) = (address.halves(), choice.client.halves());
    let bits = choice.client_bits;
    if bits >= 128 {
        high == wanted_high && low == wanted_low
    } else if bits >= 64 {
        high == wanted_high && matches_to(low, wanted_low, bits & 63)
    } else {
        matches_to(high, wanted_high, bits)
    }
}

/// Whether two words in network byte order agree in their first `bits`, less than 64.
#[inline(always)]
const fn matches_to(one: u64, other: u64, bits: u32) -> bool {
    let differ = u64::from_be(one ^ other);
    bits == 0 || differ >> (64 - bits) == 0
}
