//! "Fragmentation needed" (RFC 792, RFC 1191 section 4) and "packet too big" (RFC 4443 section 3.2), with the packet that
//! they quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const UDP: u8 = 17;

/// Sizes that links have, for routers that do not say how much theirs carries (RFC 1191 section 7).
const PLATEAUS: [u16; 9] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 576, 508];

/// What a router says of a packet that it could not forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// The packet's source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// What it carries: IANA's number.
    pub protocol: u8,
    /// The port that it is for, of UDP.
    pub port: Option<u16>,
    /// Bytes of IP packet that would have fitted.
    pub mtu: u16,
}

impl TooBig {
    /// Reads an IP packet, if it is such a message.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => ipv4(packet),
            6 => ipv6(packet),
            _ => None,
        }
    }
}

fn ipv4(packet: &[u8]) -> Option<TooBig> {
    const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
    let (header, message) = split_ipv4(packet)?;
    if header[9] != ICMP || !message.starts_with(&FRAGMENTATION_NEEDED) {
        return None;
    }
    let (quoted, payload) = split_ipv4(message.get(8..)?)?;
    let length = word(quoted, 2)?;
    let mtu = match word(message, 6)? {
        0 => PLATEAUS.into_iter().find(|plateau| *plateau < length)?,
        mtu => mtu,
    };
    let address = |at: usize| Some(Ipv4Addr::from(*quoted.get(at..)?.first_chunk()?).into());
    told(address(12)?, address(16)?, quoted[9], payload, mtu).filter(|told| told.mtu < length)
}

/// A header, options included, and what comes behind it.
fn split_ipv4(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = *packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && length >= 20).then(|| packet.split_at_checked(length))?
}

/// Extension headers are none that a router would put before its message, nor that outer headers have.
fn ipv6(packet: &[u8]) -> Option<TooBig> {
    const PACKET_TOO_BIG: [u8; 2] = [2, 0];
    let (header, message) = packet.split_at_checked(40)?;
    if header[6] != ICMPV6 || !message.starts_with(&PACKET_TOO_BIG) {
        return None;
    }
    let mtu = u32::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let (quoted, payload) = message.get(8..)?.split_at_checked(40)?;
    let length = word(quoted, 4)?.saturating_add(40);
    let address = |at: usize| Some(Ipv6Addr::from(*quoted.get(at..)?.first_chunk()?).into());
    let mtu = u16::try_from(mtu).ok()?;
    let is_v6 = quoted[0] >> 4 == 6;
    told(address(8)?, address(24)?, quoted[6], payload, mtu).filter(|told| is_v6 && told.mtu < length)
}

fn told(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8], mtu: u16) -> Option<TooBig> {
    let port = if protocol == UDP { Some(word(payload, 2)?) } else { None };
    Some(TooBig { source, destination, protocol, port, mtu })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header for a packet of `length` bytes.
    fn ipv4_header(length: u16, protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let [a, b] = length.to_be_bytes();
        let start = [0x45, 0, a, b, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        [&start[..], &source, &destination].concat()
    }

    fn ipv6_header(length: u16, next: u8, source: u8, destination: u8) -> Vec<u8> {
        let [a, b] = (length - 40).to_be_bytes();
        let address = |last| [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[last]].concat();
        [vec![0x60, 0, 0, 0, a, b, next, 64], address(source), address(destination)].concat()
    }

    const ROUTER: [u8; 4] = [203, 0, 113, 133];
    const SOURCE: [u8; 4] = [203, 0, 113, 134];
    const BACKEND: [u8; 4] = [192, 0, 2, 11];

    /// What a router says of a packet of 1500 bytes.
    fn v4(mtu: u16, protocol: u8) -> Vec<u8> {
        let [a, b] = mtu.to_be_bytes();
        let message = [3, 4, 0, 0, 0, 0, a, b];
        let quoted = ipv4_header(1500, protocol, SOURCE, BACKEND);
        [
            ipv4_header(56, 1, ROUTER, SOURCE),
            message.to_vec(),
            quoted,
            vec![0xc0, 1, 0x17, 0xc0, 5, 0xc8, 0, 0],
        ]
        .concat()
    }

    fn v6(mtu: u32, next: u8) -> Vec<u8> {
        let message = [&[2, 0, 0, 0][..], &mtu.to_be_bytes()].concat();
        let quoted = ipv6_header(1500, next, 1, 11);
        [ipv6_header(96, 58, 9, 1), message, quoted, vec![0xc0, 1, 0x17, 0xc0, 5, 0xb4, 0, 0]].concat()
    }

    #[test]
    fn errors_about_tunnels_are_read() {
        let (source, destination) = (SOURCE.into(), BACKEND.into());
        let told = TooBig { source, destination, protocol: 4, port: None, mtu: 1400 };
        assert_eq!(TooBig::read(&v4(1400, 4)), Some(told));
        let told = TooBig { protocol: 17, port: Some(6080), ..told };
        assert_eq!(TooBig::read(&v4(1400, 17)), Some(told));
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::b".parse().unwrap());
        let told = TooBig { source, destination, protocol: 41, port: None, mtu: 1400 };
        assert_eq!(TooBig::read(&v6(1400, 41)), Some(told));
        let told = TooBig { protocol: 17, port: Some(6080), ..told };
        assert_eq!(TooBig::read(&v6(1400, 17)), Some(told));
    }

    #[test]
    fn router_that_tells_no_mtu_means_the_next_smaller_one() {
        assert_eq!(TooBig::read(&v4(0, 4)).map(|told| told.mtu), Some(1492));
    }

    #[test]
    fn mtu_that_the_packet_has_not_exceeded_is_not_believed() {
        assert_eq!(TooBig::read(&v4(1500, 4)), None);
        assert_eq!(TooBig::read(&v6(1500, 41)), None);
        assert_eq!(TooBig::read(&v6(0x0001_0000, 41)), None);
    }

    #[test]
    fn whatever_ends_too_early_is_nothing() {
        for whole in [v4(1400, 17), v6(1400, 17)] {
            // The port ends four bytes before the end.
            for length in 0..whole.len() - 4 {
                assert_eq!(TooBig::read(&whole[..length]), None, "{length} bytes");
            }
            assert!(TooBig::read(&whole[..whole.len() - 4]).is_some());
        }
    }

    #[test]
    fn other_messages_are_none() {
        let changed = |mut packet: Vec<u8>, at: usize, byte: u8| {
            packet[at] = byte;
            TooBig::read(&packet)
        };
        // The version, a header of 16 bytes, another protocol, another type and code, another version quoted.
        for (at, byte) in [(0, 0x55), (0, 0x44), (9, 6), (20, 11), (21, 3), (28, 0x65)] {
            assert_eq!(changed(v4(1400, 4), at, byte), None, "byte {at}");
        }
        for (at, byte) in [(0, 0x40), (6, 17), (40, 3), (41, 1), (48, 0x45)] {
            assert_eq!(changed(v6(1400, 41), at, byte), None, "byte {at}");
        }
    }
}
