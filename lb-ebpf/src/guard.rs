//! Between lookup and selection: what nobody sends in good faith, sources that lists turn away, and flows that open too
//! often.
//!
//! A rate is one word that all CPUs share, taken from by compare-exchange: what is promised for a source is promised for
//! all its packets, wherever they arrive.

use lb_common::{
    address::Address,
    counter::Reason,
    guard::{Prefix, Refusal, Rule, Source},
    knobs::{FEATURE_COOKIES, FEATURE_LISTS, FEATURE_RATES},
    policy::{OPTION_GUARD, OPTION_QUIC, OPTION_STRICT},
    service::Track,
    strict,
};

use crate::{
    fragment::Part,
    lookup::Found,
    maps::{self, POLICIES, count_refusal, now_ns, uses},
    parse::{Facts, IPV4_BE, TCP},
    verdict::Verdict,
};

/// Whether a packet for a service may go on.
#[inline(always)]
pub fn check<const GUARDED: bool>(found: Found, facts: &Facts) -> Result<(), Verdict> {
    let options = found.service.options;
    // Where most packets come along; elsewhere the verifier has enough to follow without.
    let is_fast = !GUARDED && facts.link.tags == 0;
    if options & OPTION_STRICT != 0 && (!is_fast || is_suspect(facts)) {
        sound(found, facts)?;
    }
    if GUARDED && options & OPTION_GUARD != 0 {
        welcome(found, facts)?;
        if opens_visibly(found, facts) {
            admit(found, facts)?;
        }
    }
    Ok(())
}

/// Whether a flow may go on whose packets say what they are behind their UDP header alone, which has been read now.
#[inline(always)]
pub fn check_told(found: Found, facts: &Facts) -> Result<(), Verdict> {
    if found.service.options & OPTION_GUARD == 0 || !facts.opens() {
        return Ok(());
    }
    admit(found, facts)
}

/// Whether a flow that nothing is remembered of, and of which no packet says that it opens, may begin.
#[inline(always)]
pub fn check_unseen(found: Found, facts: &Facts) -> Result<(), Verdict> {
    if found.service.options & OPTION_GUARD == 0 || facts.opens() {
        return Ok(());
    }
    admit(found, facts)
}

/// Counts a packet that is turned away, and drops it.
#[inline(always)]
pub fn refuse(found: Found, refusal: Refusal, reason: Reason) -> Verdict {
    count_refusal(found.id, refusal);
    Verdict::drop(reason)
}

#[inline(always)]
const fn is_v4(facts: &Facts) -> bool {
    facts.link.ether_type_be == IPV4_BE
}

/// Whether a packet is worth a closer look. Nearly none is that passes it, and what is asked here is told by bits, so that
/// the verifier learns nothing of it that it would have to carry on.
#[inline(always)]
fn is_suspect(facts: &Facts) -> bool {
    let flow = &facts.flow;
    let ([high, low], [vip_high, vip_low]) = (flow.source.halves(), flow.destination.halves());
    let has_flags = u64::from(flow.protocol == u32::from(TCP) && facts.part != Part::Later);
    let flags = strict::impossible_bit(facts.flags) & has_flags;
    if is_v4(facts) {
        flags | strict::suspect_bit_v4(low) != 0 || low == vip_low
    } else {
        flags != 0 || strict::is_suspect_v6(high) || low == vip_low && high == vip_high
    }
}

/// Whether a packet is one that somebody may have sent in good faith.
#[inline(always)]
fn sound(found: Found, facts: &Facts) -> Result<(), Verdict> {
    let flow = &facts.flow;
    let ([high, low], [vip_high, vip_low]) = (flow.source.halves(), flow.destination.halves());
    // A later fragment has no flags of its own.
    let has_flags = u32::from(flow.protocol == u32::from(TCP) && facts.part != Part::Later);
    let kind = u32::from(facts.flags) | has_flags << FLAGS_BIT | u32::from(is_v4(facts)) << V4_BIT;
    let reason = match malformation(kind, high, low, vip_high, vip_low) {
        BAD_FLAGS => Reason::BadFlags,
        BOGUS_SOURCE => Reason::BogusSource,
        LAND => Reason::Land,
        _ => return Ok(()),
    };
    Err(refuse(found, Refusal::Malformed, reason))
}

/// Bits of what [`malformation`] is told beside TCP's control bits: the packet has some, and is IPv4's.
const FLAGS_BIT: u32 = 8;
const V4_BIT: u32 = 9;

/// What [`malformation`] gives.
const BAD_FLAGS: u32 = 1;
const BOGUS_SOURCE: u32 = 2;
const LAND: u32 = 3;
const NOTHING_WRONG: u32 = 0;

/// What is wrong with a packet of these addresses. A global function, for the verifier's sake as [`exhausted`] is: what each
/// of its comparisons tells of an address would otherwise be carried to the end of the program.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn malformation(kind: u32, high: u64, low: u64, vip_high: u64, vip_low: u64) -> u32 {
    if kind >> FLAGS_BIT & 1 != 0 && strict::is_impossible(kind as u8) {
        BAD_FLAGS
    } else if strict::is_bogus(&Address::from_halves([high, low]), kind >> V4_BIT & 1 != 0) {
        BOGUS_SOURCE
    } else if high == vip_high && low == vip_low {
        LAND
    } else {
        NOTHING_WRONG
    }
}

/// Whether the service's lists let a source in.
#[inline(always)]
fn welcome(found: Found, facts: &Facts) -> Result<(), Verdict> {
    if !uses(FEATURE_LISTS) {
        return Ok(());
    }
    let rule = maps::rule(found.id, Prefix::host(&facts.flow.source, is_v4(facts)));
    if rule == Rule::Denied as u32 {
        return Err(refuse(found, Refusal::Denied, Reason::Denied));
    }
    if rule == Rule::NotAllowed as u32 {
        return Err(refuse(found, Refusal::NotAllowed, Reason::NotAllowed));
    }
    Ok(())
}

/// Whether a flow opens, and that is seen by the packet alone: it says so, or nothing is remembered of any.
#[inline(always)]
fn opens_visibly(found: Found, facts: &Facts) -> bool {
    let forgets = found.service.track == Track::Never as u8 && found.service.options & OPTION_QUIC == 0;
    facts.opens() || forgets && facts.flow.protocol != u32::from(TCP)
}

/// Whether another flow may open.
#[inline(always)]
fn admit(found: Found, facts: &Facts) -> Result<(), Verdict> {
    if !uses(FEATURE_RATES | FEATURE_COOKIES) {
        return Ok(());
    }
    let [high, low] = facts.flow.source.halves();
    let told = exhausted(found.id, high, low);
    match told & KIND {
        SOURCE => Err(refuse(found, Refusal::SourceRate, Reason::SourceRate)),
        SERVICE => Err(refuse(found, Refusal::ServiceRate, Reason::ServiceRate)),
        COOKIE if uses(FEATURE_COOKIES) => Err(Verdict::answer(Reason::Cookie, (told >> MSS_SHIFT) as u16)),
        _ => Ok(()),
    }
}

/// What [`exhausted`] gives: which rate it is. Beyond the one of cookies nobody is turned away, but has to come back; in the
/// upper half is the MSS that is announced, or 0.
const SOURCE: u32 = 1;
const SERVICE: u32 = 2;
const COOKIE: u32 = 3;
const NEITHER: u32 = 0;
const KIND: u32 = 0xff;
const MSS_SHIFT: u32 = 16;

/// Which rate of a service leaves no room for a flow from a source: its own is asked first, so that a source that floods
/// takes nothing from others.
///
/// A global function, with scalars alone: only packets that open flows come here, and the verifier follows its ways once
/// (Linux 5.6), where inlined or static it would from every caller to the end of the program.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn exhausted(service: u32, high: u64, low: u64) -> u32 {
    let Some(policy) = POLICIES.get(service) else { return NEITHER };
    let (guard, now_ns) = (&policy.guard, now_ns());
    if guard.source.is_bounded() {
        let address = Address::from_halves([high, low]).prefix(u32::from(guard.source_bits));
        if !maps::source_admits(Source { address, service, _pad: 0 }, guard.source, now_ns) {
            return SOURCE;
        }
    }
    if guard.service.is_bounded() && !maps::service_admits(service, guard.service, now_ns) {
        return SERVICE;
    }
    if uses(FEATURE_COOKIES) && maps::wants_cookie(service, now_ns) {
        return COOKIE | u32::from(policy.mss) << MSS_SHIFT;
    }
    NEITHER
}
