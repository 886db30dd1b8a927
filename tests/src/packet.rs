//! Packets as a test writes them: only what is special is said, the rest has a default.
//!
//! Headers and checksums are etherparse's, so that what Sluice computes is compared with another implementation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    TcpHeader, UdpHeader,
};

/// MAC address that clients' packets are sent to.
pub const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xba];
/// MAC address that clients' packets come from.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];

/// IANA protocol numbers.
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;
/// See [`TCP`].
pub const ICMP: u8 = 1;
/// See [`TCP`].
pub const ICMPV6: u8 = 58;

/// How a TCP connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Fin,
    /// At once.
    Rst,
}

/// A frame with an IP packet in it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// VLAN tags from the outside in: EtherType and control information.
    pub tags: Vec<(u16, u16)>,
    /// IP source.
    pub source: IpAddr,
    /// IP destination; its family is the packet's.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: u8,
    /// Transport source port.
    pub source_port: u16,
    /// Transport destination port.
    pub destination_port: u16,
    /// TCP: SYN.
    pub syn: bool,
    /// TCP: ACK.
    pub ack: bool,
    /// TCP: sequence number.
    pub sequence: u32,
    /// TCP: acknowledgement number.
    pub acknowledges: u32,
    /// TCP: window.
    pub window: u16,
    /// TCP: FIN or RST.
    pub end: Option<End>,
    /// TCP: options, filled up with zeros to a multiple of four bytes.
    pub tcp_options: Vec<u8>,
    /// DSCP and ECN as one byte.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: number, and the whole header but for its first byte.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Fragment offset in eight bytes, and whether more fragments follow.
    pub fragment: Option<(u16, bool)>,
    /// Transport payload.
    pub payload: Vec<u8>,
    /// Bytes after the IP packet.
    pub padding: usize,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            destination: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
            protocol: TCP,
            source_port: 40_000,
            destination_port: 80,
            syn: true,
            ack: false,
            sequence: 1,
            acknowledges: 0,
            window: 65_000,
            end: None,
            tcp_options: Vec::new(),
            traffic_class: 0,
            hops: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            payload: b"hello".to_vec(),
            padding: 0,
        }
    }
}

impl Packet {
    /// The default packet between IPv6 addresses.
    #[must_use]
    pub fn v6() -> Self {
        Self {
            source: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7)),
            destination: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10)),
            ..Self::default()
        }
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut frame = self.link();
        frame.extend(self.ip());
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    /// The IP packet alone.
    ///
    /// # Panics
    ///
    /// Where source and destination are of different families, or a part is too long for its header.
    #[must_use]
    pub fn ip(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source.octets(), destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source.octets(), destination.octets()),
            _ => panic!("source and destination are of one family"),
        }
    }

    /// The packet one hop further.
    #[must_use]
    pub fn passed_on(&self) -> Self {
        Self { hops: self.hops - 1, ..self.clone() }
    }

    /// EtherType of the IP packet.
    #[must_use]
    pub fn ether_type(&self) -> u16 {
        if self.destination.is_ipv4() { 0x0800 } else { 0x86dd }
    }

    fn link(&self) -> Vec<u8> {
        link(BALANCER_MAC, CLIENT_MAC, &self.tags, self.ether_type())
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let transport = self.transport();
        let mut header =
            Ipv4Header::new(transport.len() as u16, self.hops, IpNumber(self.protocol), source, destination)
                .expect("fits");
        header.options = self.options.as_slice().try_into().expect("options are a multiple of four bytes");
        (header.dscp, header.ecn) = split(self.traffic_class);
        if let Some((offset, more)) = self.fragment {
            header.fragment_offset = IpFragOffset::try_new(offset).expect("offset fits");
            (header.more_fragments, header.dont_fragment) = (more, false);
        }
        header.set_payload_len(transport.len()).expect("fits");
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().to_vec(), transport].concat()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let (first, mut payload) = self.extended();
        payload.extend(self.transport());
        let header = Ipv6Header {
            traffic_class: self.traffic_class,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: payload.len() as u16,
            next_header: IpNumber(first),
            hop_limit: self.hops,
            source,
            destination,
        };
        [header.to_bytes().to_vec(), payload].concat()
    }

    /// The first next-header number, and the extension headers.
    fn extended(&self) -> (u8, Vec<u8>) {
        let mut extensions = self.extensions.clone();
        if let Some((offset, more)) = self.fragment {
            let [a, b] = (offset << 3 | u16::from(more)).to_be_bytes();
            extensions.push((44, vec![0, a, b, 0, 0, 0, 1]));
        }
        let mut next = self.protocol;
        let mut bytes = Vec::new();
        for (number, rest) in extensions.into_iter().rev() {
            bytes.splice(0..0, [vec![next], rest].concat());
            next = number;
        }
        (next, bytes)
    }

    /// The transport header, its checksum included, and the payload. A fragment's is that of a packet that ends with it.
    fn transport(&self) -> Vec<u8> {
        match self.protocol {
            TCP => self.tcp(),
            UDP => self.udp(),
            _ => self.payload.clone(),
        }
    }

    fn tcp(&self) -> Vec<u8> {
        let mut header = TcpHeader::new(self.source_port, self.destination_port, self.sequence, self.window);
        (header.syn, header.ack) = (self.syn, self.ack);
        header.acknowledgment_number = self.acknowledges;
        header.fin = self.end == Some(End::Fin);
        header.rst = self.end == Some(End::Rst);
        header.set_options_raw(&self.tcp_options).expect("at most 40 bytes of options");
        header.checksum = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload)
            }
            _ => panic!("source and destination are of one family"),
        }
        .expect("fits");
        [header.to_bytes().to_vec(), self.payload.clone()].concat()
    }

    fn udp(&self) -> Vec<u8> {
        let (from, to, payload) = (self.source_port, self.destination_port, &self.payload);
        let header = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip = Ipv4Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv4Header::default()
                };
                UdpHeader::with_ipv4_checksum(from, to, &ip, payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ip = Ipv6Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                UdpHeader::with_ipv6_checksum(from, to, &ip, payload)
            }
            _ => panic!("source and destination are of one family"),
        }
        .expect("fits");
        [header.to_bytes().to_vec(), payload.clone()].concat()
    }
}

/// An Ethernet header with VLAN tags.
#[must_use]
pub fn link(destination: [u8; 6], source: [u8; 6], tags: &[(u16, u16)], ether_type: u16) -> Vec<u8> {
    let first = tags.first().map_or(ether_type, |tag| tag.0);
    let mut bytes = Ethernet2Header { source, destination, ether_type: EtherType(first) }.to_bytes().to_vec();
    for (at, tag) in tags.iter().enumerate() {
        let next = tags.get(at + 1).map_or(ether_type, |tag| tag.0);
        bytes.extend(tag.1.to_be_bytes());
        bytes.extend(next.to_be_bytes());
    }
    bytes
}

/// DSCP and ECN of a traffic class.
fn split(traffic_class: u8) -> (IpDscp, IpEcn) {
    let dscp = IpDscp::try_new(traffic_class >> 2).expect("six bits");
    (dscp, IpEcn::try_new(traffic_class & 3).expect("two bits"))
}
