//! The way of a packet through the balancer, in reading order.

use lb_common::{counter::Reason, knobs::FEATURE_RESET};

use crate::{
    emit, guard, lookup,
    maps::{BACKEND_COUNTERS, SERVICE_COUNTERS, count, uses},
    packet::Packet,
    parse::{self, Fault, IPV4_BE, IPV6_BE, Link},
    reset, select,
    verdict::Verdict,
};

/// Gives a packet to its service's backend, where it is guarded and may come. A packet that passes is left as it came.
///
/// The stages are compiled three times, since the facts of a packet whose family and frame are known fit into the
/// registers: where the ways of all kinds of packets meet again, they lie on the stack.
#[inline(always)]
pub fn balance<const GUARDED: bool>(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::pass(Reason::NotIp))?;
    let result = match (link.tags, link.ether_type_be) {
        (0, IPV4_BE) => stages::<GUARDED>(packet, Link::untagged(IPV4_BE)),
        (0, IPV6_BE) => stages::<GUARDED>(packet, Link::untagged(IPV6_BE)),
        _ => stages::<GUARDED>(packet, link),
    };
    match result {
        // Here, and from the packet anew, so that the rare way is compiled once.
        Err(verdict) if uses(FEATURE_RESET) && verdict.is_reset() => reset::answer(packet),
        Err(verdict) if GUARDED && verdict.is_refused() => reset::answer(packet).and(Ok(verdict)),
        result => result,
    }
}

#[inline(always)]
fn stages<const GUARDED: bool>(packet: &mut Packet, link: Link) -> Result<Verdict, Verdict> {
    let bytes = packet.len();
    let facts = match parse::parse_as::<GUARDED>(packet, link) {
        Ok(facts) => facts,
        Err(Fault::NotIp) => return Err(Verdict::pass(Reason::NotIp)),
        Err(Fault::Unreadable(destination, reason)) => {
            return Err(lookup::without_ports(&destination, reason));
        }
    };
    let found = lookup::service(&facts)?;
    if GUARDED {
        guard::check(found, &facts)?;
    }
    let selected = select::backend::<GUARDED>(found, &facts)?;
    let verdict = emit::emit(packet, &facts, &selected)?;
    count(&SERVICE_COUNTERS, found.id, bytes);
    count(&BACKEND_COUNTERS, selected.id, bytes);
    Ok(verdict)
}
