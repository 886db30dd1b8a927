//! The answer to a packet whose backend gives up its flows: a TCP reset that the client accepts.
//!
//! The client's own packet says which sequence number it expects, in its acknowledgement (RFC 9293 section 3.10.7.1), so
//! nothing needs to be known of the connection. The packet is turned around and cut to its headers; options of either
//! header are gone.

use core::mem::size_of;

use lb_common::{checksum::Sum, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{INTERNAL, ipv4_header, ipv6_header, turn_frame};
use crate::{
    emit,
    packet::{Packet, Tcp},
    parse::{self, FLAG_RST, Fault, IPV4_BE, TCP},
    verdict::Verdict,
};

/// Bytes of a TCP header without options.
const TCP_LEN: usize = size_of::<Tcp>();

/// Makes the packet a reset to its sender; gives why not.
#[inline(never)]
pub(super) fn make(packet: u64) -> Option<Reason> {
    turn(&mut Packet::of(packet)).err().map(Verdict::reason)
}

#[inline(always)]
fn turn(packet: &mut Packet) -> Result<(), Verdict> {
    let link = parse::link(packet).ok_or(INTERNAL)?;
    let tcp_at = parse::ip(packet, link).map_err(|_: Fault| INTERNAL)?.payload_at;
    let tcp = answering(packet.header::<Tcp>(tcp_at).ok_or(INTERNAL)?);
    let (ip_at, is_v4) = (link.len(), link.ether_type_be == IPV4_BE);
    let ip_len = if is_v4 { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
    if !packet.resize(ip_at + ip_len + TCP_LEN) {
        return Err(INTERNAL);
    }
    turn_frame(packet)?;
    let addresses = if is_v4 { turn_ipv4(packet, ip_at)? } else { turn_ipv6(packet, ip_at)? };
    emit::write(packet, ip_at + ip_len, checked(tcp, addresses))
}

/// RST alone, with the sequence number that the client has acknowledged up to. It carries nothing and announces no
/// window.
#[inline(always)]
fn answering(client: &Tcp) -> Tcp {
    Tcp {
        source_port: client.destination_port,
        destination_port: client.source_port,
        sequence: client.acknowledgement,
        offset: (TCP_LEN as u8 / 4) << 4,
        flags: FLAG_RST,
        ..Tcp::default()
    }
}

/// Writes the header back; gives the sum of its addresses.
#[inline(always)]
fn turn_ipv4(packet: &mut Packet, at: usize) -> Result<Sum, Verdict> {
    let asked = packet.header::<Ipv4Hdr>(at).ok_or(INTERNAL)?;
    let header = ipv4_header(asked.dst_addr, asked.src_addr, TCP, TCP_LEN as u16);
    emit::write(packet, at, header)?;
    packet.sum::<8>(at + Ipv4Hdr::LEN - 8).ok_or(INTERNAL)
}

/// The same in IPv6.
#[inline(always)]
fn turn_ipv6(packet: &mut Packet, at: usize) -> Result<Sum, Verdict> {
    let asked = packet.header::<Ipv6Hdr>(at).ok_or(INTERNAL)?;
    let header = ipv6_header(asked.dst_addr, asked.src_addr, TCP, TCP_LEN as u16);
    emit::write(packet, at, header)?;
    packet.sum::<32>(at + Ipv6Hdr::LEN - 32).ok_or(INTERNAL)
}

/// The header with its checksum, which covers addresses, protocol and length too.
#[inline(always)]
fn checked(mut header: Tcp, addresses: Sum) -> Tcp {
    header.check = addresses
        .add_bytes(&[0, TCP])
        .add_bytes(&(TCP_LEN as u16).to_be_bytes())
        .add_bytes(&header.source_port)
        .add_bytes(&header.destination_port)
        .add_bytes(&header.sequence)
        .add_bytes(&[header.offset, header.flags])
        .finish();
    header
}
