//! The way of a packet through the balancer, in reading order.

use lb_common::{
    counter::Reason,
    knobs::{FEATURE_FRAGMENTS, FEATURE_RESET},
    policy::OPTION_FRAGMENTS,
};

use crate::{
    emit,
    fragment::Part,
    lookup,
    maps::{BACKEND_COUNTERS, SERVICE_COUNTERS, count, uses},
    packet::Packet,
    parse::{self, Facts, Fault, IPV4_BE, IPV6_BE, Link},
    reset, select,
    verdict::Verdict,
};

/// Gives a packet to its service's backend. A packet that passes is left as it came.
///
/// The stages are compiled three times, since the facts of a packet whose family and frame are known fit into the
/// registers: where the ways of all kinds of packets meet again, they lie on the stack.
#[inline(always)]
pub fn balance(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::pass(Reason::NotIp))?;
    let result = match (link.tags, link.ether_type_be) {
        (0, IPV4_BE) => stages(packet, Link::untagged(IPV4_BE)),
        (0, IPV6_BE) => stages(packet, Link::untagged(IPV6_BE)),
        _ => stages(packet, link),
    };
    match result {
        // Here, and from the packet anew, so that the rare way is compiled once.
        Err(verdict) if uses(FEATURE_FRAGMENTS) && verdict.is_fragment() => fragment(packet),
        Err(verdict) if uses(FEATURE_RESET) && verdict.is_reset() => reset::answer(packet),
        result => result,
    }
}

#[inline(always)]
fn stages(packet: &mut Packet, link: Link) -> Result<Verdict, Verdict> {
    let facts = match parse::parse(packet, link) {
        Ok(facts) => facts,
        Err(Fault::NotIp) => return Err(Verdict::pass(Reason::NotIp)),
        Err(Fault::Unreadable(destination, reason)) => {
            return Err(lookup::without_ports(&destination, reason));
        }
    };
    forward(packet, facts)
}

/// The way of a fragment for a VIP.
#[inline(always)]
fn fragment(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::drop(Reason::Internal))?;
    let facts = parse::parse_fragment(packet, link).map_err(Verdict::drop)?;
    forward(packet, facts)
}

#[inline(always)]
fn forward(packet: &mut Packet, mut facts: Facts) -> Result<Verdict, Verdict> {
    let bytes = packet.len();
    let found = lookup::service(&facts)?;
    if facts.part != Part::Whole && found.service.options & OPTION_FRAGMENTS == 0 {
        return Err(Verdict::drop(Reason::Fragment));
    }
    let selected = select::backend(packet, found, &mut facts)?;
    let verdict = emit::emit(packet, &facts, &selected)?;
    count(&SERVICE_COUNTERS, found.id, bytes);
    count(&BACKEND_COUNTERS, selected.id, bytes);
    Ok(verdict)
}
