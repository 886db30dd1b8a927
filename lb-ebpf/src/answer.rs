//! Answers that the balancer gives in place of a backend: a rare way, which reads the packet anew from its start and is
//! compiled once, apart from the ways of other packets.
//!
//! Every answer comes from the address that was asked, the VIP. All but resets and cookies share a budget
//! (`limits.answers`), so that nobody can have the balancer send as much as is sent to it; a reset is shorter than what it
//! answers, a cookie hardly longer, and without either a client would wait.

mod cookie;
mod echo;
mod error;
mod reset;
pub mod segment;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::{budget::Kind, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    encap::{self, DONT_FRAGMENT, HOP_LIMIT},
    maps::{ANSWER_INTERVAL_NS, admits},
    packet::{Ethernet, Packet},
    verdict::Verdict,
};

/// What cannot be once a packet has been parsed.
const INTERNAL: Verdict = Verdict::drop(Reason::Internal);

/// Makes the packet the answer that a verdict asks for.
#[inline(always)]
pub fn answer<const COOKIES: bool>(packet: &Packet, asked: Verdict) -> Verdict {
    let packet = packet.handle();
    let failure = match asked.reason() {
        Reason::Cookie if COOKIES => cookie::make(packet, asked.detail()),
        Reason::Reset | Reason::Refused => reset::make(packet),
        _ if !within_budget() => Some(Reason::AnswerLimited),
        Reason::Echo => echo::make(packet),
        error => error::make(packet, error, asked.detail()),
    };
    failure.map_or(Verdict::back(asked.reason()), Verdict::drop)
}

#[inline(always)]
fn within_budget() -> bool {
    // SAFETY: reads the clock.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    admits(Kind::Answers, now_ns, ANSWER_INTERVAL_NS.load())
}

/// Whether an address can be one host's (RFC 1122 section 3.2.2): nobody else is answered.
#[inline(always)]
const fn is_somebody_v4(source: [u8; 4]) -> bool {
    !matches!(source[0], 0 | 127 | 224..)
}

/// The same in IPv6 (RFC 4443 section 2.4 (e)).
#[inline(always)]
const fn is_somebody_v6(source: [u8; 16]) -> bool {
    let (high, low) = (u128::from_le_bytes(source) as u64, (u128::from_le_bytes(source) >> 64) as u64);
    source[0] != 0xff && (high != 0 || low as u32 != 0)
}

#[inline(always)]
const fn refuse_nobody(is_somebody: bool) -> Result<(), Verdict> {
    if is_somebody { Ok(()) } else { Err(Verdict::drop(Reason::BogusSource)) }
}

/// Sends the frame back.
#[inline(always)]
fn turn_frame(packet: &mut Packet) -> Result<(), Verdict> {
    let frame = packet.header_mut::<Ethernet>(0).ok_or(INTERNAL)?;
    frame.macs = { frame.macs }.turned();
    Ok(())
}

/// An IPv4 header around `payload_len` bytes, from an address that was asked to the one that has asked.
#[inline(always)]
fn ipv4_header(vip: [u8; 4], client: [u8; 4], proto: u8, payload_len: u16) -> Ipv4Hdr {
    encap::checked(Ipv4Hdr {
        vihl: 0x45,
        tos: 0,
        tot_len: (Ipv4Hdr::LEN as u16 + payload_len).to_be_bytes(),
        id: [0, 0],
        frags: DONT_FRAGMENT,
        ttl: HOP_LIMIT,
        proto,
        check: [0, 0],
        src_addr: vip,
        dst_addr: client,
    })
}

/// The same in IPv6.
#[inline(always)]
const fn ipv6_header(vip: [u8; 16], client: [u8; 16], next_hdr: u8, payload_len: u16) -> Ipv6Hdr {
    Ipv6Hdr {
        vcf: [0x60, 0, 0, 0],
        payload_len: payload_len.to_be_bytes(),
        next_hdr,
        hop_limit: HOP_LIMIT,
        src_addr: vip,
        dst_addr: client,
    }
}
