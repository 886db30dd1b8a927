//! The way of a packet through the balancer, in reading order.

use lb_common::{
    counter::Reason,
    knobs::{FEATURE_FRAGMENTS, FEATURE_NAT},
    policy::OPTION_FRAGMENTS,
};

use crate::{
    answer, capture, cookie, emit,
    fragment::Part,
    guard, icmp, lookup,
    maps::{BACKEND_COUNTERS, SERVICE_COUNTERS, count, count_opened, uses},
    mss, nat,
    packet::Packet,
    parse::{self, Facts, Fault, IPV4_BE, IPV6_BE, Link},
    select,
    verdict::Verdict,
};

/// Gives a packet to its service's backend, where it is guarded and may come. A packet that passes is left as it came.
///
/// The stages are compiled three times, since the facts of a packet whose family and frame are known fit into the
/// registers: where the ways of all kinds of packets meet again, they lie on the stack. With all guards they are compiled
/// once, since the verifier follows every way through them and gives up after a million instructions.
///
/// `STRICT` has what nobody sends in good faith looked for, `GUARDED` has the other guards, which come with it, and `COOKIES`
/// what belongs to SYN cookies, which comes with those. `WATCHED` has what is found noted for whoever looks at packets
/// ([`crate::capture`]).
#[inline(always)]
pub fn balance<const STRICT: bool, const GUARDED: bool, const COOKIES: bool, const WATCHED: bool>(
    packet: &mut Packet,
) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::pass(Reason::NotIp))?;
    let result = match (link.tags, link.ether_type_be) {
        (0, IPV4_BE) if !GUARDED => {
            stages::<STRICT, GUARDED, COOKIES, WATCHED>(packet, Link::untagged(IPV4_BE))
        }
        (0, IPV6_BE) if !GUARDED => {
            stages::<STRICT, GUARDED, COOKIES, WATCHED>(packet, Link::untagged(IPV6_BE))
        }
        _ => stages::<STRICT, GUARDED, COOKIES, WATCHED>(packet, link),
    };
    let result = match result {
        Err(verdict) if uses(FEATURE_FRAGMENTS) && verdict.is_fragment() => {
            fragment::<STRICT, GUARDED, COOKIES, WATCHED>(packet)
        }
        result => result,
    };
    match result {
        Err(verdict) if verdict.is_unfinished() => Err(rare::<COOKIES>(packet, verdict)),
        result => result,
    }
}

/// What is left to be done with few packets, or by functions of their own: here, and from the packet anew, so that it is
/// compiled once.
#[inline(always)]
fn rare<const COOKIES: bool>(packet: &Packet, verdict: Verdict) -> Verdict {
    let is_reply = uses(FEATURE_NAT) && verdict.is_translate();
    let verdict = if is_reply { nat::back::<COOKIES>(packet) } else { verdict };
    let verdict = if verdict.is_icmp() { icmp::verdict::<COOKIES>(packet, verdict) } else { verdict };
    if verdict.is_answer() { answer::answer::<COOKIES>(packet, verdict) } else { verdict }
}

#[inline(always)]
fn stages<const STRICT: bool, const GUARDED: bool, const COOKIES: bool, const WATCHED: bool>(
    packet: &mut Packet,
    link: Link,
) -> Result<Verdict, Verdict> {
    let facts = match parse::parse::<STRICT>(packet, link) {
        Ok(facts) => facts,
        Err(Fault::NotIp) => return Err(Verdict::pass(Reason::NotIp)),
        Err(Fault::Unreadable(destination, reason)) => {
            return Err(lookup::without_ports(&destination, reason));
        }
    };
    forward::<STRICT, GUARDED, COOKIES, WATCHED>(packet, facts)
}

/// The way of a fragment for a VIP.
#[inline(always)]
fn fragment<const STRICT: bool, const GUARDED: bool, const COOKIES: bool, const WATCHED: bool>(
    packet: &mut Packet,
) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::drop(Reason::Internal))?;
    let facts = parse::parse_fragment(packet, link).map_err(Verdict::drop)?;
    forward::<STRICT, GUARDED, COOKIES, WATCHED>(packet, facts)
}

#[inline(always)]
fn forward<const STRICT: bool, const GUARDED: bool, const COOKIES: bool, const WATCHED: bool>(
    packet: &mut Packet,
    mut facts: Facts,
) -> Result<Verdict, Verdict> {
    let bytes = packet.len();
    let found = lookup::service(&facts)?;
    if WATCHED {
        capture::note_service(found.id);
    }
    if facts.part != Part::Whole && found.service.options & OPTION_FRAGMENTS == 0 {
        return Err(Verdict::drop(Reason::Fragment));
    }
    if STRICT {
        guard::check::<GUARDED>(found, &facts)?;
    }
    if COOKIES {
        cookie::recognise(packet, found, &mut facts)?;
    }
    let selected = select::backend::<GUARDED, WATCHED>(packet, found, &mut facts)?;
    if WATCHED {
        capture::note_backend(selected.id);
    }
    if GUARDED {
        mss::bound(packet, found, &facts, &selected);
    }
    let verdict = match emit::emit(packet, &facts, &selected) {
        Err(verdict) if uses(FEATURE_NAT) && verdict.is_translate() => {
            // Counted there, since only a session tells whose it is.
            return Err(nat::forward::<COOKIES, WATCHED>(packet, found.id, &selected, facts.opens()));
        }
        result => result?,
    };
    count(&SERVICE_COUNTERS, found.id, bytes);
    count(&BACKEND_COUNTERS, selected.id, bytes);
    if facts.opens() {
        count_opened(found.id, selected.id);
    }
    Ok(verdict)
}
