//! What comes out, written by etherparse: an implementation of the headers that has nothing to do with Sluice's.

use std::net::IpAddr;

use etherparse::{IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use lb_tests::packet::{BALANCER_MAC, CLIENT_MAC, Packet, TCP, link};

use crate::{
    harness::{EGRESS_MAC, backend_mac},
    scenes::{NAT_BACKEND_PORT, NAT_POOLS, NAT_PORT, V4, V6, ip},
};

/// Source addresses of the harness's outer headers.
const TUNNEL_SOURCE_V4: [u8; 4] = [198, 51, 100, 1];
const TUNNEL_SOURCE_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0x51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Where a backend takes in what comes by GUE, if the file says nothing else (IANA's number).
pub const GUE_PORT: u16 = 6080;
/// What the source ports of tunnels begin at (RFC 6335 section 6).
const FIRST_PORT: u16 = 0xc000;

/// A frame, in which some bits may be any.
#[derive(Clone, Debug)]
pub struct Expected {
    bytes: Vec<u8>,
    /// Where they lie.
    free: Vec<(usize, u8)>,
}

impl Expected {
    /// Exactly these bytes.
    pub fn exactly(bytes: Vec<u8>) -> Self {
        Self { bytes, free: Vec::new() }
    }

    /// The same, but for the bits of `mask` in the bytes from `at`.
    pub fn but_for(mut self, at: usize, mask: &[u8]) -> Self {
        self.free.extend(mask.iter().enumerate().map(|(offset, bits)| (at + offset, *bits)));
        self
    }

    /// The same with any flow label in the IPv6 header at `at`.
    fn but_for_flow_label(self, at: usize) -> Self {
        self.but_for(at + 1, &[0x0f, 0xff, 0xff])
    }

    /// Whether `frame` is what is expected.
    pub fn is(&self, frame: &[u8]) -> bool {
        self.filled_from(frame) == frame
    }

    /// The frame, with what may be any taken from `frame`.
    pub fn filled_from(&self, frame: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &(at, mask) in &self.free {
            if let (Some(to), Some(from)) = (bytes.get_mut(at), frame.get(at)) {
                *to = *to & !mask | from & mask;
            }
        }
        bytes
    }
}

/// The link layer on the way to a backend.
fn egress(backend: IpAddr, tags: &[(u16, u16)], ether_type: u16) -> Vec<u8> {
    link(backend_mac(backend), EGRESS_MAC, tags, ether_type)
}

/// What lies behind the link layer, padding included.
fn payload(packet: &Packet) -> Vec<u8> {
    [packet.ip(), vec![0; packet.padding]].concat()
}

/// `packet` with new MAC addresses.
pub fn l2(packet: &Packet, backend: IpAddr) -> Expected {
    l2_tagged(packet, backend, &packet.tags)
}

/// The same, with these tags.
pub fn l2_tagged(packet: &Packet, backend: IpAddr, tags: &[(u16, u16)]) -> Expected {
    Expected::exactly([egress(backend, tags, packet.ether_type()), payload(packet)].concat())
}

/// `packet` from the pool to the backend of its family, one hop further.
pub fn nat(packet: &Packet) -> Expected {
    let translated = translated(packet).passed_on();
    l2(&translated, translated.destination)
}

/// The same before it leaves.
pub fn translated(packet: &Packet) -> Packet {
    let family = usize::from(packet.source.is_ipv6());
    Packet {
        source: ip(NAT_POOLS[family]),
        source_port: NAT_PORT,
        destination: ip([V4, V6][family]),
        destination_port: NAT_BACKEND_PORT,
        ..packet.clone()
    }
}

/// What a backend sends to the pool that is of the same shape as `packet`.
pub fn nat_reply(packet: &Packet) -> Packet {
    let Packet { source, source_port, destination, destination_port, .. } = translated(packet);
    Packet {
        source: destination,
        source_port: destination_port,
        destination: source,
        destination_port: source_port,
        ..packet.clone()
    }
}

/// Such a reply from the VIP to the client that sent `packet`, one hop further.
pub fn returned(packet: &Packet, reply: &Packet) -> Expected {
    let Packet { source, source_port, destination, destination_port, .. } = packet.clone();
    let back = Packet {
        source: destination,
        source_port: destination_port,
        destination: source,
        destination_port: source_port,
        tags: packet.tags.clone(),
        ..reply.passed_on()
    };
    to_client(&back)
}

/// The frame in which a packet leaves for the client.
pub fn to_client(packet: &Packet) -> Expected {
    let link = link(CLIENT_MAC, BALANCER_MAC, &packet.tags, packet.ether_type());
    Expected::exactly([link, payload(packet)].concat())
}

/// `packet` in IP, one hop further.
pub fn ipip(packet: &Packet, backend: IpAddr) -> Expected {
    ipip_tagged(packet, backend, &packet.tags)
}

/// The same, with these tags.
pub fn ipip_tagged(packet: &Packet, backend: IpAddr, tags: &[(u16, u16)]) -> Expected {
    let protocol = if packet.destination.is_ipv4() { IpNumber::IPV4 } else { IpNumber::IPV6 };
    let ether_type = if backend.is_ipv4() { 0x0800 } else { 0x86dd };
    let link = egress(backend, tags, ether_type);
    let outer = outer(packet, backend, protocol, packet.ip().len());
    let at = link.len();
    let expected = Expected::exactly([link, outer, payload(&packet.passed_on())].concat());
    if backend.is_ipv4() { expected } else { expected.but_for_flow_label(at) }
}

/// `packet` in UDP, behind a header that says what it is, one hop further.
pub fn gue(packet: &Packet, backend: IpAddr) -> Expected {
    gue_tagged(packet, backend, &packet.tags)
}

/// The same, with these tags.
pub fn gue_tagged(packet: &Packet, backend: IpAddr, tags: &[(u16, u16)]) -> Expected {
    let protocol = if packet.destination.is_ipv4() { IpNumber::IPV4 } else { IpNumber::IPV6 };
    in_udp(packet, backend, tags, &[0, protocol.0, 0, 0])
}

/// `packet` in UDP and nothing else, one hop further.
pub fn gue_direct(packet: &Packet, backend: IpAddr) -> Expected {
    in_udp(packet, backend, &packet.tags, &[])
}

/// The flow chooses among the source ports.
fn in_udp(packet: &Packet, backend: IpAddr, tags: &[(u16, u16)], header: &[u8]) -> Expected {
    let length = 8 + header.len() + packet.ip().len();
    let udp =
        UdpHeader { source_port: FIRST_PORT, destination_port: GUE_PORT, length: length as u16, checksum: 0 };
    let link = egress(backend, tags, if backend.is_ipv4() { 0x0800 } else { 0x86dd });
    let outer = outer(packet, backend, IpNumber::UDP, length);
    let (at, udp_at) = (link.len(), link.len() + outer.len());
    let parts = [link, outer, udp.to_bytes().to_vec(), header.to_vec(), payload(&packet.passed_on())];
    let expected = Expected::exactly(parts.concat()).but_for(udp_at, &(!FIRST_PORT).to_be_bytes());
    if backend.is_ipv4() { expected } else { expected.but_for_flow_label(at) }
}

/// An outer header for `length` bytes: the inner packet's DSCP and ECN, TTL 64, nothing that may be fragmented.
fn outer(packet: &Packet, backend: IpAddr, protocol: IpNumber, length: usize) -> Vec<u8> {
    match backend {
        IpAddr::V4(backend) => {
            let mut header = Ipv4Header::new(length as u16, 64, protocol, TUNNEL_SOURCE_V4, backend.octets())
                .expect("fits");
            header.dscp = IpDscp::try_new(packet.traffic_class >> 2).expect("six bits");
            header.ecn = IpEcn::try_new(packet.traffic_class & 3).expect("two bits");
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        IpAddr::V6(backend) => {
            let header = Ipv6Header {
                traffic_class: packet.traffic_class,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: length as u16,
                next_header: protocol,
                hop_limit: 64,
                source: TUNNEL_SOURCE_V6,
                destination: backend.octets(),
            };
            header.to_bytes().to_vec()
        }
    }
}

/// A reset in answer to `packet`: its sequence number is what the client acknowledges.
pub fn reset(packet: &Packet) -> Expected {
    let tcp = TcpHeader::new(packet.destination_port, packet.source_port, packet.acknowledges, 0);
    resetting(packet, tcp)
}

/// A reset in answer to a SYN, which it acknowledges: the packet's number is 1 (RFC 9293 section 3.10.7.1).
pub fn refusal(packet: &Packet) -> Expected {
    let mut tcp = TcpHeader::new(packet.destination_port, packet.source_port, 0, 0);
    (tcp.ack, tcp.acknowledgment_number) = (true, 2);
    resetting(packet, tcp)
}

fn resetting(packet: &Packet, mut tcp: TcpHeader) -> Expected {
    tcp.rst = true;
    let ip = match (packet.source, packet.destination) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let mut ip = Ipv4Header::new(20, 64, IpNumber(TCP), vip.octets(), client.octets()).expect("fits");
            ip.header_checksum = ip.calc_header_checksum();
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).expect("fits");
            ip.to_bytes().to_vec()
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            let ip = Ipv6Header {
                payload_length: 20,
                next_header: IpNumber(TCP),
                hop_limit: 64,
                source: vip.octets(),
                destination: client.octets(),
                ..Ipv6Header::default()
            };
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, &[]).expect("fits");
            ip.to_bytes().to_vec()
        }
        _ => unreachable!("one family"),
    };
    Expected::exactly([back(packet), ip, tcp.to_bytes().to_vec()].concat())
}

/// The link layer of an answer to `packet`.
fn back(packet: &Packet) -> Vec<u8> {
    link(CLIENT_MAC, BALANCER_MAC, &packet.tags, packet.ether_type())
}
