//! Frames on a wire: `generator` makes them, `returned` counts those that come back, `witness` notes when the last one
//! passed on its way to a backend.
//!
//! The kernel repeats `generator` as a test run with live frames, whose pages it uses again without restoring what
//! they held: so each run writes the whole frame, from a template.

use aya_ebpf::{
    Global,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    btf_maps::{Array, PerCpuArray},
    helpers::{bpf_ktime_get_ns, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::checksum::Sum;

use crate::{
    LAST_FLOW, Written, is_ipv6, next_number,
    packet::{Ethernet, Packet},
    write_flow,
};

/// Bytes of every frame.
const FRAME: usize = 80;

/// The frame but for what tells flows apart, which is zero. Its checksums are right as it is.
#[btf_map(name = "template")]
static TEMPLATE: Array<[u8; FRAME], 1> = Array::new();

/// Number of the interface that frames leave by.
#[unsafe(no_mangle)]
static INTERFACE: Global<u32> = Global::new(0);

/// Frames that came back.
#[btf_map(name = "came_back")]
static CAME_BACK: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Makes the next frame and sends it out.
#[xdp]
pub fn generator(ctx: XdpContext) -> u32 {
    if generate(&mut Packet::new(ctx)).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: the helper reads its arguments alone.
    unsafe { bpf_redirect(INTERFACE.load(), 0) as u32 }
}

#[inline(always)]
fn generate(packet: &mut Packet) -> Option<()> {
    *packet.header_mut(0)? = *TEMPLATE.get(0)?;
    let written = write_flow(packet, next_number()? & LAST_FLOW.load())?;
    if is_ipv6() {
        return add_to_checksum(packet, 70, &written, Covers::Transport);
    }
    add_to_checksum(packet, 24, &written, Covers::Header)?;
    add_to_checksum(packet, 50, &written, Covers::Transport)
}

/// What a checksum is computed from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    /// The addresses, among others.
    Header,
    /// The ports too.
    Transport,
}

#[inline(always)]
fn add_to_checksum(packet: &mut Packet, at: usize, written: &Written, covers: Covers) -> Option<()> {
    let check = packet.header_mut::<[u8; 2]>(at)?;
    let mut sum = Sum::of_header(*check).add_bytes(&written.client).add_bytes(&written.vip);
    if covers == Covers::Transport {
        sum = sum.add_bytes(&written.ports);
    }
    *check = sum.finish();
    Some(())
}

/// Counts a frame that has come back, and is done with it.
#[xdp]
pub fn returned(_ctx: XdpContext) -> u32 {
    if let Some(count) = CAME_BACK.get_ptr_mut(0) {
        // SAFETY: a pointer that a lookup gives is valid, and this CPU's value is nobody else's.
        unsafe { *count += 1 };
    }
    XDP_DROP
}

/// The frames that `witness` looks for: destination MAC address, as the first six bytes of a word, and destination IPv4
/// address, as the first four of another.
#[btf_map(name = "watched")]
static WATCHED: Array<u64, 2> = Array::new();

/// When the last of them passed, by the clock `CLOCK_MONOTONIC`.
#[btf_map(name = "last_seen")]
static LAST_SEEN: Array<u64, 1> = Array::new();

/// Notes the time of a frame that is looked for. All frames pass.
#[xdp]
pub fn witness(ctx: XdpContext) -> u32 {
    if is_watched(&Packet::new(ctx)) == Some(true)
        && let Some(time) = LAST_SEEN.get_ptr_mut(0)
    {
        // SAFETY: a pointer that a lookup gives is valid, and a word is stored whole, whoever else stores one.
        unsafe { time.write_volatile(bpf_ktime_get_ns()) };
    }
    XDP_PASS
}

#[inline(always)]
fn is_watched(packet: &Packet) -> Option<bool> {
    const MAC: u64 = 0xffff_ffff_ffff;
    let link = packet.header::<Ethernet>(0)?;
    let destination = packet.header::<[u8; 4]>(30)?;
    let address = u64::from(u32::from_le_bytes(*destination));
    Some(link.macs.first & MAC == *WATCHED.get(0)? && address == *WATCHED.get(1)?)
}
