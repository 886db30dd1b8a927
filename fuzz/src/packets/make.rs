//! Frames: known ones changed, packets of every kind, and noise.

use std::net::IpAddr;

use lb_tests::{
    packet::{End, ICMP, ICMPV6, Packet, TCP, UDP},
    random::Random,
};

use super::{
    mutate::{SHORTEST, mutate},
    scene,
};

/// Makes frames.
pub struct Maker {
    random: Random,
    known: Vec<Vec<u8>>,
}

impl Maker {
    /// A maker that begins with frames that are known to be worth a try.
    pub fn new(random: Random, mut known: Vec<Vec<u8>>) -> Self {
        known.push(Packet::default().build());
        Self { random, known }
    }

    /// Another frame to begin with.
    pub fn know(&mut self, frame: Vec<u8>) {
        self.known.push(frame);
    }

    /// The next frame.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.random.below(16) {
            0 => self.noise(SHORTEST, 200),
            1..=6 => self.known[self.random.below(self.known.len())].clone(),
            _ => self.packet().build(),
        };
        // Half of them as they are, the others changed more and more rarely.
        while self.random.below(2) == 0 {
            let other = self.random.below(self.known.len());
            mutate(&mut frame, &self.known[other], &mut self.random);
        }
        frame
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.random.below(times) == 0
    }

    fn noise(&mut self, least: usize, more: usize) -> Vec<u8> {
        let length = least + self.random.below(more);
        (0..length).map(|_| self.random.next() as u8).collect()
    }

    /// A packet of a kind that a balancer meets, from a few clients so that flows go on.
    fn packet(&mut self) -> Packet {
        let target = self.random.pick(&scene::TARGETS);
        let destination: IpAddr = target.address.parse().expect("an address");
        let v4 = destination.is_ipv4();
        let protocol = match self.random.below(12) {
            0 => self.random.next() as u8,
            1 => {
                if v4 {
                    ICMP
                } else {
                    ICMPV6
                }
            }
            2 => {
                if target.protocol == TCP {
                    UDP
                } else {
                    TCP
                }
            }
            _ => target.protocol,
        };
        let packet = Packet {
            tags: self.tags(),
            source: self.source(destination),
            destination,
            protocol,
            source_port: 1024 + self.random.below(64) as u16,
            destination_port: if self.one_in(8) { self.random.next() as u16 } else { target.port },
            traffic_class: if self.one_in(4) { self.random.next() as u8 } else { 0 },
            hops: if self.one_in(8) { self.random.below(3) as u8 } else { 64 },
            options: if v4 && self.one_in(8) { vec![1; 4 * self.random.below(11)] } else { Vec::new() },
            extensions: if !v4 && self.one_in(4) { self.extensions() } else { Vec::new() },
            fragment: self.fragment(),
            padding: if self.one_in(8) { self.random.below(30) } else { 0 },
            ..self.flags()
        };
        let packet = if scene::POOL.contains(&target.address) { self.reply(packet) } else { packet };
        Packet { payload: self.payload(&packet), ..packet }
    }

    /// The packet as one that a backend may have sent to whom it was translated to.
    fn reply(&mut self, packet: Packet) -> Packet {
        let last = 11 + self.random.below(4) as u8;
        let source = match packet.destination {
            IpAddr::V4(_) => [198, 51, 100, last].into(),
            IpAddr::V6(_) => [0x2001, 0xdb8, 0x51, 0, 0, 0, 0, u16::from(last) + 6].into(),
        };
        let destination_port = 1024 + self.random.below(usize::from(scene::POOL_PORTS)) as u16;
        Packet { source, source_port: self.random.pick(&[80, 53]), destination_port, ..packet }
    }

    fn tags(&mut self) -> Vec<(u16, u16)> {
        let count = self.random.below(12).saturating_sub(8);
        (0..count).map(|_| (self.random.pick(&[0x8100, 0x88a8]), self.random.next() as u16)).collect()
    }

    fn source(&mut self, destination: IpAddr) -> IpAddr {
        let client = self.random.below(32) as u8;
        match destination {
            _ if self.one_in(64) => destination,
            IpAddr::V4(_) if self.one_in(32) => (self.random.next() as u32).to_be_bytes().into(),
            IpAddr::V4(_) if self.one_in(8) => [198, 51, 100, 11 + client % 4].into(),
            IpAddr::V4(_) => [192, 0, 2, client].into(),
            IpAddr::V6(_) if self.one_in(8) => {
                [0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x11 + u16::from(client % 4)].into()
            }
            IpAddr::V6(_) => [0x2001, 0xdb8, 0xc, 0, 0, 0, 0, u16::from(client)].into(),
        }
    }

    fn extensions(&mut self) -> Vec<(u8, Vec<u8>)> {
        (0..self.random.below(6))
            .map(|_| {
                let units = self.random.below(4) as u8;
                let mut rest = self.noise(7 + usize::from(units) * 8, 1);
                rest[0] = units;
                (self.random.pick(&[0, 43, 60]), rest)
            })
            .collect()
    }

    fn fragment(&mut self) -> Option<(u16, bool)> {
        self.one_in(10).then(|| (self.random.pick(&[0, 0, 1, 185, 0x1fff]), self.one_in(2)))
    }

    /// A packet with TCP's control bits.
    fn flags(&mut self) -> Packet {
        let end = match self.random.below(8) {
            0 => Some(End::Fin),
            1 => Some(End::Rst),
            _ => None,
        };
        let (syn, ack) = (self.one_in(3), self.one_in(2));
        Packet { syn, ack, end, acknowledges: self.random.next() as u32, ..Packet::default() }
    }

    fn payload(&mut self, packet: &Packet) -> Vec<u8> {
        match (packet.protocol, self.random.below(4)) {
            (ICMP | ICMPV6, _) => self.message(packet),
            (UDP, 0) => self.quic(),
            (4, _) => Packet::default().ip(),
            (41, _) => Packet::v6().ip(),
            (_, 0) => Vec::new(),
            (_, 1) => vec![0x5a; self.random.pick(&[1, 1_400, 1_432, 1_460, 1_472])],
            _ => self.noise(0, 60),
        }
    }

    /// An ICMP message: an error that quotes what the destination might have sent, or something else.
    fn message(&mut self, packet: &Packet) -> Vec<u8> {
        let kinds = if packet.protocol == ICMP { [3, 11, 12, 8] } else { [1, 2, 3, 128] };
        let (kind, code) = (self.random.pick(&kinds), self.random.below(6) as u8);
        let mut message = vec![kind, code, 0, 0];
        message.extend((self.random.below(2_000) as u32).to_be_bytes());
        let quoted = Packet {
            source: packet.destination,
            destination: packet.source,
            protocol: self.random.pick(&[TCP, UDP]),
            source_port: packet.destination_port,
            destination_port: packet.source_port,
            ..Packet::default()
        };
        let mut quote = quoted.ip();
        if self.one_in(2) {
            quote.truncate(28 + self.random.below(quote.len() - 27));
        }
        message.extend(quote);
        let sum = checksum(packet, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    /// A datagram that looks like QUIC's, of either form of header.
    fn quic(&mut self) -> Vec<u8> {
        let mut datagram = self.noise(20, 60);
        if self.one_in(2) {
            datagram[0] = 0xc0 | datagram[0] & 0x3f;
            let version: [u8; 4] = self.random.pick(&[[0, 0, 0, 1], [0x6b, 0x33, 0x43, 0xcf], [0; 4]]);
            datagram[1..5].copy_from_slice(&version);
            datagram[5] = self.random.pick(&[0, 8, 8, 20, 21]);
        } else {
            datagram[0] = 0x40 | datagram[0] & 0x3f;
        }
        if self.one_in(2) {
            // A connection id of the scene's, in either form of header.
            let at = self.random.pick(&[1, 6]);
            datagram[at..at + 3].copy_from_slice(&[3 << 5 | 9, 0x0b, 0x11]);
        }
        datagram
    }
}

/// ICMP's checksum by etherparse, over the pseudo-header where there is one.
fn checksum(packet: &Packet, message: &[u8]) -> u16 {
    use etherparse::{Icmpv4Type, Icmpv6Type};
    let bytes5to8 = [message[4], message[5], message[6], message[7]];
    let (type_u8, code_u8) = (message[0], message[1]);
    match (packet.source, packet.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 }
            .calc_checksum(source.octets(), destination.octets(), &message[8..])
            .expect("fits"),
        _ => Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 }.calc_checksum(&message[8..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_of_many_kinds() {
        let mut maker = Maker::new(Random::new(1), vec![vec![0; 14]]);
        let shapes: std::collections::HashSet<_> =
            (0..10_000).map(|_| super::super::judge::shape(&maker.frame())).collect();
        assert!(shapes.len() > 30, "{shapes:?}");
    }
}
