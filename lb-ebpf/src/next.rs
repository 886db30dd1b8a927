//! Another XDP program on the same interface: it gets what passes, by a tail call, which does not come back.

use aya_ebpf::{bindings::xdp_action::XDP_PASS, programs::XdpContext};

use crate::{maps::NEXT_PROGRAM, packet::Packet};

/// Lets the other program decide about a packet that would pass. It is as it came, and has been counted; where there is no
/// such program, it passes.
#[inline(always)]
pub fn call(packet: &Packet, action: u32) -> u32 {
    if action == XDP_PASS {
        // SAFETY: nothing is left to be dropped.
        unsafe { NEXT_PROGRAM.tail_call(&XdpContext::new(packet.context()), 0) };
    }
    action
}
