//! Entries of Sluice's programs; each is a call and a verdict.
//!
//! `sluice` balances (`sluice_strict`, `sluice_guarded`, `sluice_cookies` and `sluice_chained` with more to do), `sluice_decap` is the far
//! end of its tunnels on a backend, `sluice_mark` and `sluice_probe` take probes to it, `sluice_pass` does nothing: a veth device
//! takes in what another program transmits only while its own end carries a program. Those in `_frames` are the same for
//! frames of several pieces.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod answer;
mod atomic;
mod capture;
mod cookie;
#[cfg(feature = "debug-log")]
mod debug_log;
mod decap;
mod emit;
mod encap;
mod fragment;
mod guard;
mod gue;
mod icmp;
mod limits;
mod lookup;
mod maps;
mod mss;
mod nat;
mod next;
mod object;
mod packet;
mod parse;
mod passive;
mod pipeline;
mod quic;
mod remember;
mod road;
mod select;
mod verdict;

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

use crate::packet::{Packet, Sent};

/// Balances what is for a service, passes everything else untouched.
#[xdp]
#[inline(always)]
pub fn sluice(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    verdict::finish(packet.len(), pipeline::balance::<false, false, false, false>(&mut packet))
}

/// The same without what nobody sends in good faith, which costs little, so that it has all that makes `sluice` fast.
#[xdp]
#[inline(always)]
pub fn sluice_strict(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    verdict::finish(packet.len(), pipeline::balance::<true, false, false, false>(&mut packet))
}

/// The same with all guards. A program of its own, since reading a constant costs instructions even where the verifier knows
/// the answer: a balancer without guards does not have as much as the question.
#[xdp]
#[inline(always)]
pub fn sluice_guarded(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    verdict::finish(packet.len(), pipeline::balance::<true, true, false, false>(&mut packet))
}

/// The same with SYN cookies, whose way goes through all the others.
#[xdp]
#[inline(always)]
pub fn sluice_cookies(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    verdict::finish(packet.len(), pipeline::balance::<true, true, true, false>(&mut packet))
}

/// The same, and what passes goes on to another program. A program of its own, since one that can jump to another has a
/// longer prologue, whether it does or not.
#[xdp]
#[inline(always)]
pub fn sluice_chained(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    let action = verdict::finish(packet.len(), pipeline::balance::<true, true, true, false>(&mut packet));
    next::call(&packet, action)
}

/// The same for interfaces whose frames may not lie in one piece. A program of its own, since only such interfaces take it
/// (Linux 5.18), and since it has to ask the kernel for lengths.
#[xdp(frags)]
#[inline(always)]
pub fn sluice_frames(ctx: XdpContext) -> u32 {
    let mut packet = Packet::in_pieces(ctx);
    verdict::finish(packet.len(), pipeline::balance::<true, true, true, false>(&mut packet))
}

/// The same as `sluice_chained`, and shows packets to an operator. It takes the place of the one that runs for as long as
/// somebody looks.
#[xdp]
#[inline(always)]
pub fn sluice_captured(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    capture::before(&packet);
    let (bytes, verdict) = (packet.len(), pipeline::balance::<true, true, true, true>(&mut packet));
    let action = capture::after(&packet, verdict, bytes);
    next::call(&packet, action)
}

/// The same for frames of several pieces.
#[xdp(frags)]
#[inline(always)]
pub fn sluice_captured_frames(ctx: XdpContext) -> u32 {
    let mut packet = Packet::in_pieces(ctx);
    capture::before(&packet);
    let (bytes, verdict) = (packet.len(), pipeline::balance::<true, true, true, true>(&mut packet));
    capture::after(&packet, verdict, bytes)
}

/// Takes the outer header off tunnelled packets for this host's VIPs.
#[xdp]
#[inline(always)]
pub fn sluice_decap(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    verdict::finish(packet.len(), decap::decapsulate(&mut packet))
}

/// Tells the road of a probe's packet in its frame.
#[classifier]
#[inline(always)]
pub fn sluice_mark(ctx: TcContext) -> i32 {
    road::mark(&mut Sent::new(ctx))
}

/// Sends a probe's packet by that road.
#[xdp]
#[inline(always)]
pub fn sluice_probe(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(ctx);
    verdict::finish(packet.len(), road::send(&mut packet))
}

/// The same on interfaces whose frames may not lie in one piece.
#[xdp(frags)]
#[inline(always)]
pub fn sluice_decap_frames(ctx: XdpContext) -> u32 {
    let mut packet = Packet::in_pieces(ctx);
    verdict::finish(packet.len(), decap::decapsulate(&mut packet))
}

/// Passes everything, in one piece or several.
#[xdp(frags)]
#[inline(always)]
pub fn sluice_pass_frames(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Passes everything.
#[xdp]
#[inline(always)]
pub fn sluice_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}
