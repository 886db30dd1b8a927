//! A TCP segment of Sluice's own in the place of a packet: the packet is cut to its headers, and options of either are gone.

use core::mem::size_of;

use lb_common::{checksum::Sum, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{INTERNAL, ipv4_header, ipv6_header, turn_frame};
use crate::{
    emit,
    packet::{Packet, Tcp},
    parse::{IPV4_BE, Link, TCP},
    verdict::Verdict,
};

/// Bytes of a TCP header without options.
pub const TCP_LEN: usize = size_of::<Tcp>();

/// Whom a segment is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// Who has sent the packet.
    Back,
    /// Whom it was sent to.
    Onward,
}

/// An MSS as an option (RFC 9293 section 3.2).
#[inline(always)]
pub const fn mss_option(mss: u16) -> [u8; 4] {
    let [high, low] = mss.to_be_bytes();
    [2, 4, high, low]
}

/// Makes the packet, whose link layer is `link`, a segment with this header, `N` bytes of options, a multiple of four, and nothing in it. Its length and
/// its checksum are written here.
#[inline(always)]
pub fn make<const N: usize>(
    packet: &mut Packet,
    link: Link,
    heading: Heading,
    tcp: Tcp,
    options: [u8; N],
) -> Result<(), Verdict> {
    let (ip_at, is_v4) = (link.len(), link.ether_type_be == IPV4_BE);
    let tcp_at = ip_at + if is_v4 { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
    if !packet.resize(tcp_at + TCP_LEN + N) {
        // Without options it is no longer than the packet was.
        return Err(if N == 0 { INTERNAL } else { Verdict::drop(Reason::NoHeadroom) });
    }
    if heading == Heading::Back {
        turn_frame(packet)?;
    }
    let length = (TCP_LEN + N) as u16;
    let addresses = if is_v4 {
        in_ipv4(packet, ip_at, heading, length)?
    } else {
        in_ipv6(packet, ip_at, heading, length)?
    };
    let tcp = Tcp { offset: (length as u8 / 4) << 4, ..tcp };
    emit::write(packet, tcp_at + TCP_LEN, options)?;
    emit::write(packet, tcp_at, checked(tcp, addresses.add_bytes(&options), length))
}

/// Writes the IP header anew; gives the sum of its addresses.
#[inline(always)]
fn in_ipv4(packet: &mut Packet, at: usize, heading: Heading, length: u16) -> Result<Sum, Verdict> {
    let came = packet.header::<Ipv4Hdr>(at).ok_or(INTERNAL)?;
    let header = match heading {
        Heading::Back => ipv4_header(came.dst_addr, came.src_addr, TCP, length),
        Heading::Onward => ipv4_header(came.src_addr, came.dst_addr, TCP, length),
    };
    emit::write(packet, at, header)?;
    packet.sum::<8>(at + Ipv4Hdr::LEN - 8).ok_or(INTERNAL)
}

/// The same in IPv6.
#[inline(always)]
fn in_ipv6(packet: &mut Packet, at: usize, heading: Heading, length: u16) -> Result<Sum, Verdict> {
    let came = packet.header::<Ipv6Hdr>(at).ok_or(INTERNAL)?;
    let header = match heading {
        Heading::Back => ipv6_header(came.dst_addr, came.src_addr, TCP, length),
        Heading::Onward => ipv6_header(came.src_addr, came.dst_addr, TCP, length),
    };
    emit::write(packet, at, header)?;
    packet.sum::<32>(at + Ipv6Hdr::LEN - 32).ok_or(INTERNAL)
}

/// The header with its checksum, which covers addresses, protocol, length and options too.
#[inline(always)]
fn checked(mut header: Tcp, others: Sum, length: u16) -> Tcp {
    header.check = others
        .add_bytes(&[0, TCP])
        .add_bytes(&length.to_be_bytes())
        .add_bytes(&header.source_port)
        .add_bytes(&header.destination_port)
        .add_bytes(&header.sequence)
        .add_bytes(&header.acknowledgement)
        .add_bytes(&[header.offset, header.flags])
        .add_bytes(&header.window)
        .finish();
    header
}
