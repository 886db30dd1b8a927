//! The answer to a packet that goes no further: an ICMP error that quotes it, as a router's.
//!
//! ```text
//! +-----------------+------------------+----------------+---------------------------+
//! | link, turned    | IP, VIP to client | ICMP, 8 bytes | the packet, from its IP   |
//! +-----------------+------------------+----------------+---------------------------+
//! ```
//!
//! As much of the packet is quoted as fits into 576 bytes of IPv4 (RFC 1812 section 4.3.2.3) or 1280 of IPv6 (RFC 4443
//! section 2.4).

use lb_common::{checksum::Sum, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{INTERNAL, ipv4_header, ipv6_header, is_somebody_v4, is_somebody_v6, refuse_nobody};
use crate::{
    emit,
    icmp::{ICMP, ICMPV6},
    packet::{Ethernet, Packet, Tag},
    parse::{self, IPV4_BE},
    verdict::Verdict,
};

/// Bytes of an ICMP error before what it quotes.
const ICMP_LEN: usize = 8;
/// The most that is quoted in IPv4.
const QUOTED_IPV4: usize = 576 - Ipv4Hdr::LEN - ICMP_LEN;
/// The most that is quoted in IPv6.
const QUOTED_IPV6: usize = 1280 - Ipv6Hdr::LEN - ICMP_LEN;

const NO_ROOM: Verdict = Verdict::drop(Reason::NoHeadroom);

/// The first eight bytes of an error as one word, network byte order: an argument of a function that is called.
type Message = u64;

/// Makes the packet the error `asked`; `mtu` is what it says of the way, where that is too narrow. Gives why not.
#[inline(always)]
pub(super) fn make(packet: u64, asked: Reason, mtu: u16) -> Option<Reason> {
    let link = parse::link(&Packet::of(packet))?;
    if link.ether_type_be == IPV4_BE {
        make_ipv4(packet, message_v4(asked, mtu))
    } else {
        make_ipv6(packet, message_v6(asked, mtu))
    }
}

#[inline(never)]
fn make_ipv4(packet: u64, message: Message) -> Option<Reason> {
    turn_ipv4(&mut Packet::of(packet), message).err().map(Verdict::reason)
}

#[inline(never)]
fn make_ipv6(packet: u64, message: Message) -> Option<Reason> {
    turn_ipv6(&mut Packet::of(packet), message).err().map(Verdict::reason)
}

/// Destination unreachable, fragmentation needed (RFC 1191 section 4), or time exceeded (RFC 792).
#[inline(always)]
const fn message_v4(asked: Reason, mtu: u16) -> Message {
    let [a, b] = mtu.to_be_bytes();
    match asked {
        Reason::TooBig => u64::from_ne_bytes([3, 4, 0, 0, 0, 0, a, b]),
        _ => u64::from_ne_bytes([11, 0, 0, 0, 0, 0, 0, 0]),
    }
}

/// Packet too big or time exceeded (RFC 4443 sections 3.2 and 3.3).
#[inline(always)]
const fn message_v6(asked: Reason, mtu: u16) -> Message {
    let [a, b] = mtu.to_be_bytes();
    match asked {
        // No link of IPv6 may say less (RFC 8200 section 5), and no host would heed it.
        Reason::TooBig if mtu < 1280 => u64::from_ne_bytes([2, 0, 0, 0, 0, 0, 5, 0]),
        Reason::TooBig => u64::from_ne_bytes([2, 0, 0, 0, 0, 0, a, b]),
        _ => u64::from_ne_bytes([3, 0, 0, 0, 0, 0, 0, 0]),
    }
}

#[inline(always)]
fn turn_ipv4(packet: &mut Packet, message: Message) -> Result<(), Verdict> {
    let link_len = parse::link(packet).ok_or(INTERNAL)?.len();
    let header = packet.header::<Ipv4Hdr>(link_len).ok_or(INTERNAL)?;
    let (vip, client) = (header.dst_addr, header.src_addr);
    refuse_nobody(is_somebody_v4(client))?;
    let quoted = u16::from_be_bytes(header.tot_len).min(QUOTED_IPV4 as u16).min(readable(packet, link_len));
    let icmp_at = link_len + Ipv4Hdr::LEN;
    let quote_at = icmp_at + ICMP_LEN;
    quote(packet, link_len, quote_at, quoted)?;
    move_frame(packet, quote_at - link_len, link_len)?;
    let quote = sum_of_quote(packet, quote_at, quoted)?;
    cut(packet, quote_at, quoted)?;
    emit::write(packet, link_len, ipv4_header(vip, client, ICMP, ICMP_LEN as u16 + quoted))?;
    write_message(packet, icmp_at, message, quote)
}

#[inline(always)]
fn turn_ipv6(packet: &mut Packet, message: Message) -> Result<(), Verdict> {
    let link_len = parse::link(packet).ok_or(INTERNAL)?.len();
    let header = packet.header::<Ipv6Hdr>(link_len).ok_or(INTERNAL)?;
    refuse_nobody(is_somebody_v6(header.src_addr))?;
    let length = u16::from_be_bytes(header.payload_len).saturating_add(Ipv6Hdr::LEN as u16);
    let quoted = length.min(QUOTED_IPV6 as u16).min(readable(packet, link_len));
    let icmp_at = link_len + Ipv6Hdr::LEN;
    let quote_at = icmp_at + ICMP_LEN;
    quote(packet, link_len, quote_at, quoted)?;
    move_frame(packet, quote_at - link_len, link_len)?;
    let quote = sum_of_quote(packet, quote_at, quoted)?;
    cut(packet, quote_at, quoted)?;
    let payload_len = ICMP_LEN as u16 + quoted;
    let asked = packet.header::<Ipv6Hdr>(quote_at).ok_or(INTERNAL)?;
    let header = ipv6_header(asked.dst_addr, asked.src_addr, ICMPV6, payload_len);
    emit::write(packet, link_len, header)?;
    // The pseudo header (RFC 8200 section 8.1): both addresses lie side by side.
    let addresses = sum::<32>(packet, icmp_at - 32)?;
    let pseudo_header = addresses.add_word(payload_len.to_be_bytes()).add_word([0, ICMPV6]);
    write_message(packet, icmp_at, message, quote.plus(pseudo_header))
}

/// Bytes of the IP packet at `at` that can be read, and so quoted.
#[inline(always)]
fn readable(packet: &Packet, at: usize) -> u16 {
    packet.readable().saturating_sub(at as u64).min(u64::from(u16::MAX)) as u16
}

/// Makes room in front of the packet, and has its first `quoted` bytes followed by zeros up to a multiple of four. No
/// further: behind a small packet there may be little room.
#[inline(always)]
fn quote(packet: &mut Packet, ip_at: usize, at: usize, quoted: u16) -> Result<(), Verdict> {
    if packet.grow_front((at - ip_at) as i32)
        && packet.resize(at + usize::from(quoted))
        && packet.resize(at + whole_words(quoted))
    {
        Ok(())
    } else {
        Err(NO_ROOM)
    }
}

#[inline(always)]
const fn whole_words(bytes: u16) -> usize {
    (bytes as usize + 3) & !3
}

/// The sum of what is quoted, in pieces of which the verifier knows the length.
#[inline(always)]
fn sum_of_quote(packet: &Packet, at: usize, quoted: u16) -> Result<Sum, Verdict> {
    let mut rest = Rest { at, bytes: whole_words(quoted), sum: Sum::default() };
    rest.take::<512>(packet)?;
    rest.take::<512>(packet)?;
    rest.take::<256>(packet)?;
    rest.take::<128>(packet)?;
    rest.take::<64>(packet)?;
    rest.take::<32>(packet)?;
    rest.take::<16>(packet)?;
    rest.take::<8>(packet)?;
    rest.take::<4>(packet)?;
    Ok(rest.sum)
}

/// What is left to be summed, and the sum of what was.
struct Rest {
    at: usize,
    bytes: usize,
    sum: Sum,
}

impl Rest {
    /// Adds the next `N` bytes, if there are as many.
    #[inline(always)]
    fn take<const N: usize>(&mut self, packet: &Packet) -> Result<(), Verdict> {
        if self.bytes < N {
            return Ok(());
        }
        self.sum = self.sum.plus(sum::<N>(packet, self.at)?);
        self.at += N;
        self.bytes -= N;
        Ok(())
    }
}

#[inline(always)]
fn cut(packet: &mut Packet, at: usize, quoted: u16) -> Result<(), Verdict> {
    if packet.resize(at + usize::from(quoted)) { Ok(()) } else { Err(NO_ROOM) }
}

#[inline(always)]
fn sum<const N: usize>(packet: &Packet, at: usize) -> Result<Sum, Verdict> {
    packet.sum::<N>(at).ok_or(INTERNAL)
}

/// Moves the link layer from where it was before the packet grew, and turns it around.
#[inline(always)]
fn move_frame(packet: &mut Packet, from: usize, link_len: usize) -> Result<(), Verdict> {
    let frame = *packet.header::<Ethernet>(from).ok_or(INTERNAL)?;
    emit::write(packet, 0, Ethernet { macs: { frame.macs }.turned(), ..frame })?;
    for tag in [14, 18] {
        if link_len > tag {
            let moved = *packet.header::<Tag>(from + tag).ok_or(INTERNAL)?;
            emit::write(packet, tag, moved)?;
        }
    }
    Ok(())
}

/// Writes the ICMP header; its checksum covers what `sum` is of, too.
#[inline(always)]
fn write_message(packet: &mut Packet, at: usize, message: Message, sum: Sum) -> Result<(), Verdict> {
    let mut message = message.to_ne_bytes();
    [message[2], message[3]] = sum.add_bytes(&message).finish();
    emit::write(packet, at, message)
}
