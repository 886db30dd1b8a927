//! SYN cookies, as the kernel makes them (`bpf_tcp_raw_gen_syncookie_ipv4` and its like, Linux 5.19), and the packets that
//! bring them back.
//!
//! The kernel's functions read addresses, ports and numbers of headers in memory, so those are written into a map's value
//! and no packet is handed over. They keep no secret from each other: any program of the host knows a cookie of another.

use aya_ebpf::{
    bindings::{iphdr, ipv6hdr, tcphdr, xdp_md},
    helpers::generated::{
        bpf_tcp_raw_check_syncookie_ipv4, bpf_tcp_raw_check_syncookie_ipv6, bpf_tcp_raw_gen_syncookie_ipv4,
        bpf_tcp_raw_gen_syncookie_ipv6,
    },
};
use lb_common::{
    address::Address,
    cookie::{Splice, mss},
    counter::Reason,
    flow::Flow,
    knobs::FEATURE_COOKIES,
    nat::{SPLICED, Side},
    policy::{OPTION_GUARD, OPTION_NAT},
};

use crate::{
    answer::segment::TCP_LEN,
    fragment::Part,
    lookup::Found,
    maps::{self, session, uses},
    packet::{Packet, Tcp},
    parse::{self, FLAG_ACK, FLAG_RST, FLAG_SYN, Facts, Fault, Ip, TCP},
    verdict::Verdict,
};

/// What one function leaves for the next, in a map's value of each CPU: see [`crate::nat::Work`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Work {
    /// An IP header of which the addresses are right.
    ip: [u8; 40],
    /// A TCP header with an MSS.
    pub tcp: Tcp,
    pub mss: [u8; 4],
    /// Whether the IP header is IPv4's.
    is_v4: u64,
    /// The packet's flow.
    flow: Flow,
    /// The connection that its cookie opens, or that it is of.
    pub splice: Splice,
}

impl Work {
    /// Who has sent the packet.
    #[inline(always)]
    pub const fn source(&self) -> &Address {
        &self.flow.source
    }
}

/// What [`cookie_brought`] gives of a packet whose cookie is none.
const BAD: u32 = 1 << 8;

/// Takes a packet that brings back a cookie for one that opens its flow; one that brings back another number, and is of no
/// connection, goes no further.
#[inline(always)]
pub fn recognise(packet: &Packet, found: Found, facts: &mut Facts) -> Result<(), Verdict> {
    const OPTIONS: u8 = OPTION_GUARD | OPTION_NAT;
    if !uses(FEATURE_COOKIES)
        || found.service.options & OPTIONS != OPTIONS
        || facts.flow.protocol != u32::from(TCP)
        || facts.flags & (FLAG_SYN | FLAG_RST | FLAG_ACK) != FLAG_ACK
        || facts.part != Part::Whole
    {
        return Ok(());
    }
    let told = cookie_brought(packet.context(), found.id, u32::from(facts.flags));
    if told & BAD != 0 {
        return Err(Verdict::drop(Reason::BadCookie));
    }
    // Not by two ways, one with a value that the verifier knows: it would follow both to the end.
    facts.flags = told as u8;
    Ok(())
}

/// The control bits that a packet with `flags` counts as having, or [`BAD`]. A global function: see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn cookie_brought(context: *mut xdp_md, service: u32, flags: u32) -> u32 {
    if !maps::awaits_cookie(service) || read(&Packet::in_context(context)).is_none() {
        return flags;
    }
    match holder(service) {
        Holder::GoesOn => flags,
        Holder::MayEnd if cookie_opens() == 0 => flags,
        Holder::Nobody if cookie_opens() == 0 => BAD,
        _ => u32::from(FLAG_SYN),
    }
}

/// What there is of a packet's flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Nothing.
    Nobody,
    /// A session that its client may have given up: one that is over, or that is of a SYN which nobody has answered.
    MayEnd,
    /// A session that goes on.
    GoesOn,
}

#[inline(always)]
fn holder(service: u32) -> Holder {
    let Some(work) = maps::cookie_work() else { return Holder::GoesOn };
    let Some((half, went_on)) =
        session(&work.flow).filter(|(half, _)| half.side == Side::Client as u8 && half.service == service)
    else {
        return Holder::Nobody;
    };
    let is_spliced = half.ended & SPLICED != 0;
    let is_over = session(&half.other).is_none_or(|(other, _)| half.is_over(other));
    if !is_over && (went_on || is_spliced) {
        return Holder::GoesOn;
    }
    let (sequence, acknowledgement) = numbers(&work.tcp);
    let is_late = is_spliced
        && maps::splice(&work.flow).is_some_and(|splice| splice.is_opened_by(sequence, acknowledgement));
    if is_late { Holder::GoesOn } else { Holder::MayEnd }
}

/// Whether what was read of a packet brings back a cookie: 1, and the connection that it opens is left.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn cookie_opens() -> u64 {
    const LIST: u32 = 4;
    let Some(work) = maps::cookie_work() else { return 0 };
    let (sequence, acknowledgement) = numbers(&work.tcp);
    let following =
        (0..LIST).take_while(|n| is_cookie(work, acknowledgement.wrapping_add(*n))).count() as u32;
    if following == 0 {
        return 0;
    }
    work.splice = Splice {
        client: sequence.wrapping_sub(1),
        cookie: acknowledgement.wrapping_sub(1),
        mss: mss(work.is_v4 != 0, following - 1),
        window: u16::from_be_bytes(work.tcp.window),
        ..Splice::default()
    };
    1
}

#[inline(always)]
fn is_cookie(work: &mut Work, acknowledgement: u32) -> bool {
    work.tcp.acknowledgement = acknowledgement.to_be_bytes();
    let (ip, tcp) = (work.ip.as_mut_ptr(), (&raw mut work.tcp).cast::<tcphdr>());
    // SAFETY: the kernel reads as many bytes of either header as it has at least.
    unsafe {
        if work.is_v4 != 0 {
            bpf_tcp_raw_check_syncookie_ipv4(ip.cast::<iphdr>(), tcp) == 0
        } else {
            bpf_tcp_raw_check_syncookie_ipv6(ip.cast::<ipv6hdr>(), tcp) == 0
        }
    }
}

/// Makes the cookie for the client's SYN that was read, with the MSS that was found, and leaves it where those are that are
/// brought back.
#[inline(always)]
pub fn made() -> Option<()> {
    const LENGTH: u32 = TCP_LEN as u32 + 4;
    let work = maps::cookie_work()?;
    work.tcp.offset = (LENGTH as u8 / 4) << 4;
    let (ip, tcp) = (work.ip.as_mut_ptr(), (&raw mut work.tcp).cast::<tcphdr>());
    // SAFETY: as above; behind the TCP header is the option that belongs to it.
    let made = unsafe {
        if work.is_v4 != 0 {
            bpf_tcp_raw_gen_syncookie_ipv4(ip.cast::<iphdr>(), tcp, LENGTH)
        } else {
            bpf_tcp_raw_gen_syncookie_ipv6(ip.cast::<ipv6hdr>(), tcp, LENGTH)
        }
    };
    // The upper half is the MSS that the cookie stands for.
    work.splice.cookie = made as u32;
    if made < 0 { None } else { Some(()) }
}

/// Reads a packet into this CPU's [`Work`]; gives where its TCP header lies.
#[inline(always)]
pub fn read(packet: &Packet) -> Option<usize> {
    let work = maps::cookie_work()?;
    let link = parse::link(packet)?;
    let ip = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?;
    work.tcp = *packet.header::<Tcp>(ip.payload_at)?;
    let ([a, b], [c, d]) = (work.tcp.source_port, work.tcp.destination_port);
    work.flow = parse::flow(&ip, u32::from_le_bytes([a, b, c, d]), TCP);
    write_ip(work, &ip);
    Some(ip.payload_at)
}

/// Writes the addresses of an IP header where its own has them.
#[inline(always)]
fn write_ip(work: &mut Work, ip: &Ip) {
    let is_v4 = ip.destination.is_v4();
    work.is_v4 = u64::from(is_v4);
    if is_v4 {
        work.ip[12..16].copy_from_slice(&ip.source.v4_octets());
        work.ip[16..20].copy_from_slice(&ip.destination.v4_octets());
    } else {
        work.ip[8..24].copy_from_slice(&ip.source.octets);
        work.ip[24..40].copy_from_slice(&ip.destination.octets);
    }
}

/// Sequence number and acknowledgement.
#[inline(always)]
pub const fn numbers(tcp: &Tcp) -> (u32, u32) {
    (u32::from_be_bytes(tcp.sequence), u32::from_be_bytes(tcp.acknowledgement))
}
