//! Programs of an object of its own for measuring another program, one packet after another, within one
//! `BPF_PROG_TEST_RUN`.
//!
//! The kernel repeats a test run on one buffer, and an encapsulated packet would meet the program a second time with
//! its outer header. So `feeder` is what the kernel repeats: it takes back what was pushed, writes the headers of the
//! next flow, and leaves by a tail call to the program under test, whose object knows nothing of this. The floors are
//! such programs too, so whatever feeding costs is in all figures alike.

#![no_std]
#![no_main]

mod generator;
mod listed;
mod object;
#[expect(dead_code, reason = "the balancer reads more of a packet than is written here")]
mod packet;

use core::hint::black_box;

use aya_ebpf::{
    Global,
    bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX},
    btf_maps::{Array, ProgramArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use network_types::ip::Ipv4Hdr;

use crate::{
    listed::{Ends, is_listed, is_recorded, listed, record},
    packet::{Ethernet, Macs, Packet},
};

/// The program under test.
#[btf_map(name = "target")]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// Bytes of the frame before anything is pushed.
#[unsafe(no_mangle)]
static FRAME_LEN: Global<u32> = Global::new(0);

/// `EtherType` of the frame, network byte order.
#[unsafe(no_mangle)]
static ETHER_TYPE: Global<u32> = Global::new(0);

/// Flows are numbered up to this, a power of two less one, and then again from 0.
#[unsafe(no_mangle)]
pub(crate) static LAST_FLOW: Global<u64> = Global::new(0);

/// Services that the flows are spread over; their VIPs are consecutive.
#[unsafe(no_mangle)]
static SERVICES: Global<u32> = Global::new(1);

/// Last four bytes of the first VIP, host byte order.
#[unsafe(no_mangle)]
static FIRST_VIP: Global<u32> = Global::new(0);

/// Whether what a program changes beside the link layer, the TTL and the ends of a flow is written anew for each packet.
#[unsafe(no_mangle)]
static RESTORES: Global<u32> = Global::new(0);

/// Then, of a TCP header: sequence number and acknowledgement, what follows, and four bytes behind it, as they are loaded.
#[unsafe(no_mangle)]
static TCP_NUMBERS: Global<u64> = Global::new(0);
/// See [`TCP_NUMBERS`].
#[unsafe(no_mangle)]
static TCP_REST: Global<u64> = Global::new(0);
/// See [`TCP_NUMBERS`].
#[unsafe(no_mangle)]
static TCP_OPTION: Global<u32> = Global::new(0);

/// And the first eight bytes of IPv6 addresses, as they are loaded.
#[unsafe(no_mangle)]
static SOURCE_NETWORK: Global<u64> = Global::new(0);
/// See [`SOURCE_NETWORK`].
#[unsafe(no_mangle)]
static DESTINATION_NETWORK: Global<u64> = Global::new(0);

/// Packets fed.
#[btf_map(name = "fed")]
static FED: Array<u64, 1> = Array::new();

/// MAC addresses that a frame comes with.
pub(crate) const MACS: Macs = Macs { first: 0x0002_ba00_0000_0002, last: 0xc100_0000 };

/// Port of every service.
const SERVICE_PORT: u16 = 80;

/// TTL of every packet as it comes; a tunnel takes one away.
const HOPS: u8 = 64;

/// Feeds the next packet to the program under test.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "an entry gets its context so")]
pub fn feeder(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(XdpContext::new(ctx.ctx));
    if feed(&mut packet).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: nothing is left to be dropped.
    unsafe { TARGET.tail_call(&ctx, 0) };
    XDP_ABORTED
}

#[inline(always)]
fn feed(packet: &mut Packet) -> Option<()> {
    let number = next_number()?;
    let (addresses_at, address_len) = if is_ipv6() { (22, 16) } else { (26, 4) };
    if is_recorded() {
        record(packet, number.wrapping_sub(1) & LAST_FLOW.load(), addresses_at, address_len)?;
    }
    // Opaque, since the sum of a length and a pointer in 32 bits is what the verifier refuses.
    let length = black_box(packet.len());
    if !packet.grow_front(FRAME_LEN.load() as i32 - length as i32) {
        return None;
    }
    *packet.header_mut(0)? = Ethernet { macs: MACS, ether_type_be: ETHER_TYPE.load() as u16 };
    let ends = ends(number & LAST_FLOW.load())?;
    write_ends(packet, &ends)?;
    if RESTORES.load() == 0 { Some(()) } else { restore(packet, &ends, addresses_at, address_len) }
}

/// Writes what a translation or an answer has changed, in the words that a program reads it by.
#[inline(always)]
fn restore(packet: &mut Packet, ends: &Ends, addresses_at: usize, address_len: usize) -> Option<()> {
    const LOWER: u64 = 0xffff_ffff;
    let tcp_at = addresses_at + 2 * address_len;
    if is_ipv6() {
        *packet.header_mut(addresses_at)? = SOURCE_NETWORK.load().to_ne_bytes();
        *packet.header_mut(addresses_at + address_len)? = DESTINATION_NETWORK.load().to_ne_bytes();
    }
    let mut numbers = TCP_NUMBERS.load();
    if is_listed() {
        numbers = numbers & LOWER | u64::from(ends.acknowledgement) << 32;
    }
    *packet.header_mut(tcp_at + 4)? = numbers.to_ne_bytes();
    *packet.header_mut(tcp_at + 12)? = TCP_REST.load().to_ne_bytes();
    if FRAME_LEN.load() as usize >= tcp_at + 24 {
        *packet.header_mut(tcp_at + 20)? = TCP_OPTION.load().to_ne_bytes();
    }
    Some(())
}

#[inline(always)]
pub(crate) fn next_number() -> Option<u64> {
    let fed = FED.get_ptr_mut(0)?;
    // SAFETY: a pointer that a lookup gives is valid, and one test run at a time uses this object.
    unsafe {
        *fed = (*fed).wrapping_add(1);
        Some(*fed)
    }
}

/// Writes what differs between flows.
#[inline(always)]
pub(crate) fn write_flow(packet: &mut Packet, flow: u64) -> Option<Written> {
    write_ends(packet, &ends(flow)?)
}

/// What differs between flows: 2²⁴ clients in turn, then from the next port.
#[inline(always)]
fn ends(flow: u64) -> Option<Ends> {
    if is_listed() {
        return listed(flow);
    }
    Some(Ends {
        source: (10 << 24 | flow as u32 & 0xff_ffff).to_be(),
        destination: (FIRST_VIP.load() + service_of(flow)).to_be(),
        ports: u32::from(((flow >> 24) as u16 ^ 0x9c40).to_be()) | u32::from(SERVICE_PORT.to_be()) << 16,
        acknowledgement: 0,
    })
}

/// In the words that a program reads addresses and ports by: a load that finds half of its bytes in a store of just
/// before waits for it, which no packet from a network makes it do.
#[inline(always)]
fn write_ends(packet: &mut Packet, ends: &Ends) -> Option<Written> {
    let Ends { source, destination, ports, .. } = *ends;
    if is_ipv6() {
        *packet.header_mut(21)? = [HOPS];
        *packet.header_mut(30)? = (u64::from(source) << 32).to_le_bytes();
        *packet.header_mut(46)? = (u64::from(destination) << 32).to_le_bytes();
        *packet.header_mut(54)? = ports.to_le_bytes();
    } else {
        *packet.header_mut(22)? = [HOPS];
        *packet.header_mut(26)? = source.to_le_bytes();
        *packet.header_mut(30)? = destination.to_le_bytes();
        *packet.header_mut(34)? = ports.to_le_bytes();
    }
    Some(Written { client: source.to_le_bytes(), vip: destination.to_le_bytes(), ports: ports.to_le_bytes() })
}

/// What a flow's headers have that those of others have not.
pub(crate) struct Written {
    /// Last four bytes of the source address.
    pub(crate) client: [u8; 4],
    /// Last four bytes of the destination address.
    pub(crate) vip: [u8; 4],
    /// Both ports.
    pub(crate) ports: [u8; 4],
}

/// Whether the frame is one of IPv6.
#[inline(always)]
pub(crate) fn is_ipv6() -> bool {
    const IPV6: u32 = 0x86dd_u16.to_be() as u32;
    ETHER_TYPE.load() == IPV6
}

/// Neighbouring flows ask for services far apart (Fibonacci hashing: Knuth, "Sorting and Searching", section 6.4).
#[inline(always)]
fn service_of(flow: u64) -> u32 {
    let spread = (flow as u32).wrapping_mul(0x9e37_79b9);
    ((u64::from(spread) * u64::from(SERVICES.load())) >> 32) as u32
}

/// The floor of whatever is measured: feeding.
#[xdp]
pub fn floor_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The least that a balancer could do.
#[xdp]
pub fn floor_mac_swap(ctx: XdpContext) -> u32 {
    swap_macs(&mut Packet::new(ctx)).map_or(XDP_ABORTED, |()| XDP_TX)
}

#[inline(always)]
fn swap_macs(packet: &mut Packet) -> Option<()> {
    let frame = packet.header_mut::<Ethernet>(0)?;
    let Macs { first, last } = frame.macs;
    let source = first >> 48 | u64::from(last) << 16;
    frame.macs = Macs { first: source | first << 48, last: (first >> 16) as u32 };
    Some(())
}

/// The least, made slower by a known amount: a hundred multiplications, each of what the one before gave.
#[xdp]
pub fn floor_multiply(ctx: XdpContext) -> u32 {
    let mut product = black_box(3_u64);
    for _ in 0..100 {
        product = product.wrapping_mul(product);
    }
    black_box(product);
    swap_macs(&mut Packet::new(ctx)).map_or(XDP_ABORTED, |()| XDP_TX)
}

/// The least that a tunnel could do: a constant outer header.
#[xdp]
pub fn floor_push(ctx: XdpContext) -> u32 {
    push(&mut Packet::new(ctx)).map_or(XDP_ABORTED, |()| XDP_TX)
}

#[inline(always)]
fn push(packet: &mut Packet) -> Option<()> {
    if !packet.grow_front(Ipv4Hdr::LEN as i32) {
        return None;
    }
    let outer: &mut Ipv4Hdr = packet.header_mut(14)?;
    (outer.vihl, outer.tos, outer.tot_len, outer.id) = (0x45, 0, [0, 60], [0, 0]);
    (outer.frags, outer.ttl, outer.proto, outer.check) = ([0x40, 0], 64, 4, [0x54, 0xe7]);
    (outer.src_addr, outer.dst_addr) = ([198, 51, 100, 1], [198, 51, 100, 2]);
    *packet.header_mut(0)? = Ethernet { macs: MACS, ether_type_be: 8 };
    Some(())
}
