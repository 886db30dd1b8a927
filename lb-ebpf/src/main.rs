//! Entries of Sluice's XDP programs; each is a call and a verdict.
//!
//! `sluice` balances, `sluice_decap` is the far end of its tunnels on a backend, `sluice_pass` does nothing: a veth
//! device takes in what another program transmits only while its own end carries a program.

#![no_std]
#![no_main]

mod decap;
mod emit;
mod encap;
mod lookup;
mod maps;
mod packet;
mod parse;
mod pipeline;
mod select;
mod verdict;

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};

use crate::packet::Packet;

/// Balances what is for a service, passes everything else untouched.
#[xdp]
pub fn sluice(ctx: XdpContext) -> u32 {
    verdict::finish(Packet::new(ctx), pipeline::balance)
}

/// Takes the outer header off tunnelled packets for this host's VIPs.
#[xdp]
pub fn sluice_decap(ctx: XdpContext) -> u32 {
    verdict::finish(Packet::new(ctx), decap::decapsulate)
}

/// Passes everything.
#[xdp]
pub fn sluice_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// What the kernel reads before it lets a program call GPL-only functions.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: an endless loop, so that the verifier refuses a program in which it could be.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
