//! The way of a packet through the balancer, in reading order.

use crate::{
    emit, lookup,
    maps::{BACKEND_COUNTERS, SERVICE_COUNTERS, count},
    packet::Packet,
    parse::{self, Parsed},
    select,
    verdict::Verdict,
};

/// Gives a packet to its service's backend. A packet that passes is left as it came.
#[inline(always)]
pub fn balance(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let bytes = packet.len();
    let facts = match parse::parse(packet)? {
        Parsed::Flow(facts) => facts,
        Parsed::Address(destination, reason) => return Err(lookup::without_ports(&destination, reason)),
    };
    let found = lookup::service(&facts)?;
    let selected = select::backend(found, &facts)?;
    let verdict = emit::emit(packet, &facts, &selected)?;
    count(&SERVICE_COUNTERS, found.id, bytes);
    count(&BACKEND_COUNTERS, selected.id, bytes);
    Ok(verdict)
}
