//! The road of probes: what a socket of the daemon sends is given to the backend under test as a client's packet would be.
//!
//! ```text
//! socket, with a mark -> sluice-p: `sluice_mark` -> sluice-w: `sluice_probe` -> the backend's egress interface
//! ```
//!
//! Two programs on a pair of devices of their own, since XDP sees no marks, and the other kind of program shares no stage
//! with XDP: the first copies the mark into the frame, the second reads it and goes on as the balancer does.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use lb_common::{
    backend::Forwarding,
    counter::Reason,
    hash::KeyWords as _,
    way::{NUMBER_MASK, number, station},
};

use crate::{
    emit,
    maps::{ConstantKey, FLOW_KEY, PROBE_MARK, WAYS},
    packet::{Packet, Sent},
    parse::{self, Fault},
    select::Selected,
    verdict::Verdict,
};

/// Writes the way of a frame into its destination, which nobody else looks at. Frames of others than probes end here.
#[inline(always)]
pub fn mark(frame: &mut Sent) -> i32 {
    let mark = frame.mark();
    let is_probe = mark & !NUMBER_MASK == PROBE_MARK.load();
    if is_probe && frame.set_destination(station(mark)) { TC_ACT_OK } else { TC_ACT_SHOT }
}

/// Sends a packet by the way that its frame tells.
#[inline(always)]
pub fn send(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::drop(Reason::NotIp))?;
    let facts = parse::parse::<false>(packet, link).map_err(|it| fault(&it))?;
    let station = *packet.header::<[u8; 6]>(0).ok_or(Verdict::drop(Reason::Internal))?;
    let id = number(station).ok_or(Verdict::drop(Reason::NotOurs))?;
    let backend = WAYS.get(id).ok_or(Verdict::drop(Reason::Internal))?;
    if backend.forwarding == Forwarding::Unresolved as u8 {
        return Err(Verdict::drop(Reason::NoNextHop));
    }
    let selected = Selected { id, backend, hash: ConstantKey(&FLOW_KEY).flow(&facts.flow) };
    // What a client would be told of is lost here: the probe waits in vain.
    emit::emit(packet, &facts, &selected).map_err(|verdict| Verdict::drop(verdict.reason()))
}

#[inline(always)]
fn fault(fault: &Fault) -> Verdict {
    Verdict::drop(match *fault {
        Fault::NotIp => Reason::NotIp,
        Fault::Unreadable(_, reason) => reason,
    })
}
