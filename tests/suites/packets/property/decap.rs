//! Another decapsulator than the backend's program: etherparse.

use etherparse::{Ipv4Header, Ipv6Header, PacketHeaders};

/// What lies behind the outer IP header of a frame, and `between` bytes that are the tunnel's own.
pub fn by_etherparse(frame: &[u8], between: usize) -> Option<Vec<u8>> {
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let link = 14 + 4 * headers.link_exts.len();
    let payload = match frame.get(link)? >> 4 {
        4 => Ipv4Header::from_slice(&frame[link..]).ok()?.1,
        _ => Ipv6Header::from_slice(&frame[link..]).ok()?.1,
    };
    Some(payload.get(between..)?.to_vec())
}

/// An IP packet without what a tunnel may change: TTL, ECN and what depends on them.
pub fn without_ttl(mut packet: Vec<u8>) -> Vec<u8> {
    let fields: &[(usize, u8)] = match packet[0] >> 4 {
        4 => &[(1, 0xfc), (8, 0), (10, 0), (11, 0)],
        _ => &[(1, 0xcf), (7, 0)],
    };
    for (at, kept) in fields {
        packet[*at] &= kept;
    }
    packet
}
