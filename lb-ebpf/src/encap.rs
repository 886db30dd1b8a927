//! Outer headers: IPv4 or IPv6 around either.
//!
//! The flow's hash varies what routers and receivers spread packets by: the bits of the source address that the
//! configuration leaves open, and the IPv6 flow label (RFC 6438).

use lb_common::{backend::Backend, checksum, counter::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    packet::{Ipv6Words, Packet},
    parse::{Facts, IPV4_BE},
    select::Selected,
    verdict::Verdict,
};

/// Hop limit of outer headers (IANA's recommended default, RFC 1700).
pub const HOP_LIMIT: u8 = 64;
/// Don't fragment: a tunnel must not fragment what it carries, so the identification may be constant (RFC 6864).
pub const DONT_FRAGMENT: [u8; 2] = [0x40, 0x00];
/// Protocol number of IPv4 in IP (RFC 2003).
pub const IPIP: u8 = 4;
/// Protocol number of IPv6 in IP (RFC 4213).
pub const IPV6_IN_IP: u8 = 41;

/// Lowers the TTL or hop limit of what is to be carried, as of any packet that is forwarded (RFC 2003 section 3.1, RFC 2473
/// section 3.1).
#[inline(always)]
pub fn pass_on(packet: &mut Packet, facts: &Facts) -> Result<(), Verdict> {
    let internal = Verdict::drop(Reason::Internal);
    if facts.link.ether_type_be == IPV4_BE {
        let header = packet.header_mut::<Ipv4Hdr>(facts.link.len()).ok_or(internal)?;
        header.ttl = less(header.ttl)?;
        header.check = checksum::after_hop(header.check);
    } else {
        let header = packet.header_mut::<Ipv6Hdr>(facts.link.len()).ok_or(internal)?;
        header.hop_limit = less(header.hop_limit)?;
    }
    Ok(())
}

/// One hop less, if any is left behind it.
#[inline(always)]
const fn less(hops: u8) -> Result<u8, Verdict> {
    if hops <= 1 { Err(Verdict::answer(Reason::TtlExpired, 0)) } else { Ok(hops - 1) }
}

/// The protocol number of the packet inside.
#[inline(always)]
pub fn inner_protocol(facts: &Facts) -> u8 {
    if facts.link.ether_type_be == IPV4_BE { IPIP } else { IPV6_IN_IP }
}

/// What the hash says in the last four bytes of the outer source that the backend leaves open, native byte order.
#[inline(always)]
fn open_source(backend: &Backend, hash: u64) -> u32 {
    hash as u32 & u32::from(u16::from_le_bytes(backend.source_mask)) << 16
}

/// An outer IPv4 header (RFC 2003 section 3.1), checksum included, with `between` bytes of `proto` before the packet.
/// DSCP and ECN are the inner packet's (RFC 6040 section 4.1).
#[inline(always)]
pub fn ipv4_header(facts: &Facts, selected: &Selected, proto: u8, between: u16) -> Ipv4Hdr {
    let fixed = u32::from_le_bytes(selected.backend.source.v4_octets());
    let source = fixed | open_source(selected.backend, selected.hash);
    checked(Ipv4Hdr {
        vihl: 0x45,
        tos: facts.traffic_class,
        tot_len: facts.ip_len.wrapping_add(Ipv4Hdr::LEN as u16 + between).to_be_bytes(),
        id: [0, 0],
        frags: DONT_FRAGMENT,
        ttl: HOP_LIMIT,
        proto,
        check: [0, 0],
        src_addr: source.to_le_bytes(),
        dst_addr: selected.backend.address.v4_octets(),
    })
}

/// A header without options, with its checksum.
#[inline(always)]
pub fn checked(mut header: Ipv4Hdr) -> Ipv4Hdr {
    header.check = checksum::Sum::default()
        .add_bytes(&[header.vihl, header.tos])
        .add_bytes(&header.tot_len)
        .add_bytes(&header.id)
        .add_bytes(&header.frags)
        .add_bytes(&[header.ttl, header.proto])
        .add_bytes(&header.src_addr)
        .add_bytes(&header.dst_addr)
        .finish();
    header
}

/// The same in IPv6 (RFC 2473 section 5.1).
#[inline(always)]
pub fn ipv6_header(facts: &Facts, selected: &Selected, next_hdr: u8, between: u16) -> Ipv6Words {
    let label = selected.hash as u32 & 0x000f_ffff;
    let version_class_label = 6 << 28 | u32::from(facts.traffic_class) << 20 | label;
    let payload_len = facts.ip_len.wrapping_add(between);
    let [high, low] = selected.backend.source.halves();
    Ipv6Words {
        first: u64::from(version_class_label.to_be())
            | u64::from(payload_len.to_be()) << 32
            | u64::from(u16::from_le_bytes([next_hdr, HOP_LIMIT])) << 48,
        source: [high, low | u64::from(open_source(selected.backend, selected.hash)) << 32],
        destination: selected.backend.address.halves(),
    }
}
