//! A packet for a flow, and the flow of a packet.

use std::net::{IpAddr, SocketAddr};

use lb_common::{address::Address, checksum::Sum, flow::Flow};

/// IANA's protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A packet's flow, and what else the tables ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOf {
    /// The 5-tuple: of an ICMP error that of the flow which it is about, from client to service.
    pub flow: Flow,
    /// Whether it opens a connection: a SYN without ACK.
    pub opens: bool,
    /// Whether it says that it goes on: TCP other than that.
    pub goes_on: bool,
    /// Whether it is a packet of that flow, and no fragment.
    pub is_whole: bool,
}

/// A frame with the shortest packet of a flow: a SYN, or a TCP segment without data that goes on, or an empty datagram.
#[must_use]
pub fn build(source: SocketAddr, destination: SocketAddr, protocol: u8, opens: bool) -> Vec<u8> {
    let mut transport = Vec::new();
    transport.extend(source.port().to_be_bytes());
    transport.extend(destination.port().to_be_bytes());
    let check_at = if protocol == TCP {
        let flags = if opens { SYN } else { ACK };
        transport.extend([0, 0, 0, 1, 0, 0, 0, u8::from(!opens), 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        16
    } else {
        transport.extend([0, 8, 0, 0]);
        6
    };
    let mut pseudo = addresses(source.ip(), destination.ip());
    pseudo.extend([0, protocol]);
    pseudo.extend((transport.len() as u16).to_be_bytes());
    let check = checksum(&[pseudo, transport.clone()].concat());
    transport[check_at..check_at + 2].copy_from_slice(&check);
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ip(source.ip(), destination.ip(), protocol, transport.len() as u16));
    frame.extend(transport);
    frame
}

/// EtherType and IP header.
fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    if source.is_ipv4() {
        bytes.extend([0x08, 0x00]);
        let mut header = vec![0x45, 0];
        header.extend((20 + payload).to_be_bytes());
        header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
        header.extend(addresses(source, destination));
        let check = checksum(&header);
        header[10..12].copy_from_slice(&check);
        bytes.extend(header);
    } else {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend(payload.to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend(addresses(source, destination));
    }
    bytes
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|word| [word[0], word.get(1).copied().unwrap_or(0)]);
    words.fold(Sum::default(), Sum::add_word).finish()
}

fn addresses(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    [octets(source), octets(destination)].concat()
}

/// The flow of a frame, as far as one can be read.
#[must_use]
pub fn flow(frame: &[u8]) -> Option<FlowOf> {
    let mut at = 12;
    let mut ether_type = half_word(frame, at)?;
    while matches!(ether_type, 0x8100 | 0x88a8) && at < 20 {
        at += 4;
        ether_type = half_word(frame, at)?;
    }
    let packet = frame.get(at + 2..)?;
    match ether_type {
        0x0800 | 0x86dd => of_packet(packet),
        _ => None,
    }
}

fn of_packet(packet: &[u8]) -> Option<FlowOf> {
    let (source, destination, protocol, payload, is_whole) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet[0] & 0x0f) * 4;
            let address = |at: usize| Some(Address::from_v4(packet.get(at..at + 4)?.try_into().ok()?));
            let fragment = half_word(packet, 6)?;
            let is_whole = matches!(fragment & 0x3fff, 0);
            (address(12)?, address(16)?, *packet.get(9)?, packet.get(length..)?, is_whole)
        }
        6 => {
            let address = |at: usize| Some(Address::from_v6(packet.get(at..at + 16)?.try_into().ok()?));
            let (protocol, payload) = behind_extensions(*packet.get(6)?, packet.get(40..)?)?;
            (address(8)?, address(24)?, protocol, payload, true)
        }
        _ => return None,
    };
    if matches!(protocol, ICMP | ICMPV6) {
        let is_error =
            if protocol == ICMP { matches!(payload.first()?, 3 | 11 | 12) } else { *payload.first()? < 128 };
        // What it quotes is what the service's side has sent.
        let quoted = of_packet(payload.get(8..).filter(|_| is_error)?)?;
        return Some(FlowOf { flow: quoted.flow.turned(), opens: false, goes_on: true, is_whole: false });
    }
    if !matches!(protocol, TCP | UDP) {
        return None;
    }
    let ports: [u8; 4] = payload.get(..4)?.try_into().ok()?;
    let [a, b, c, d] = ports;
    let flags = if protocol == TCP { payload.get(13).copied().unwrap_or(ACK) } else { 0 };
    let opens = protocol == TCP && flags & (SYN | ACK) == SYN;
    let flow = Flow {
        source,
        destination,
        source_port: [a, b],
        destination_port: [c, d],
        protocol: u32::from(protocol),
    };
    Some(FlowOf { flow, opens, goes_on: protocol == TCP && !opens, is_whole })
}

/// The transport protocol and its header, behind IPv6's extension headers.
fn behind_extensions(mut next: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    // Hop-by-hop, routing, destination options.
    while matches!(next, 0 | 43 | 60) {
        let length = 8 * (usize::from(*rest.get(1)?) + 1);
        (next, rest) = (*rest.first()?, rest.get(length..)?);
    }
    Some((next, rest))
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERNET: usize = 14;

    #[test]
    fn frame_that_is_built_is_of_its_flow() {
        let pairs = [("192.0.2.7:5555", "203.0.113.10:80"), ("[2001:db8::7]:5555", "[2001:db8:113::10]:80")];
        for (source, destination) in pairs {
            let (source, destination): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            for (protocol, opens) in [(TCP, true), (TCP, false), (UDP, false)] {
                let found = flow(&build(source, destination, protocol, opens)).unwrap();
                assert_eq!((found.opens, found.goes_on), (opens, protocol == TCP && !opens));
                assert_eq!(IpAddr::from(found.flow.source), source.ip());
                assert_eq!(IpAddr::from(found.flow.destination), destination.ip());
                assert_eq!(u16::from_be_bytes(found.flow.source_port), 5555);
                assert_eq!(u16::from_be_bytes(found.flow.destination_port), 80);
            }
        }
    }

    #[test]
    fn error_is_about_the_flow_that_it_quotes() {
        let (client, vip) = ("192.0.2.7:5555".parse().unwrap(), "203.0.113.10:80".parse().unwrap());
        let answer = build(vip, client, TCP, false);
        let mut error = vec![0; ETHERNET];
        error[12..14].copy_from_slice(&[8, 0]);
        error.extend(ip("192.0.2.9".parse().unwrap(), vip.ip(), ICMP, 48));
        error.drain(ETHERNET..ETHERNET + 2);
        error.extend([3, 4, 0, 0, 0, 0, 5, 0]);
        error.extend(&answer[ETHERNET..]);
        let found = flow(&error).unwrap();
        assert_eq!(found.flow, flow(&build(client, vip, TCP, false)).unwrap().flow);
        assert!(!found.is_whole);
    }
}
