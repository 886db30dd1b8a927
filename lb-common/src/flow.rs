//! Flows: the 5-tuple of a packet as it travels from client to service.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::service::ServiceKey;

/// A 5-tuple, client to service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Flow {
    /// The client.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// Client port, network byte order.
    pub source_port: [u8; 2],
    /// Service port, network byte order.
    pub destination_port: [u8; 2],
    /// IP protocol number, native byte order. A whole word, since padding would have to be zeroed for each packet.
    pub protocol: u32,
}

impl Flow {
    /// What chooses the slot: the flow itself, or the leading `source_bits` of its source, of the family that it has.
    /// Then neither port counts, so that all that a client asks of a service meets at one backend.
    #[must_use]
    #[inline]
    pub fn chooser(&self, source_bits: u8) -> Self {
        if source_bits == 0 {
            return *self;
        }
        let mapped_bits = if self.destination.is_v4() { 96 } else { 0 };
        let source = self.source.prefix(mapped_bits + u32::from(source_bits));
        Self { source, source_port: [0; 2], destination_port: [0; 2], ..*self }
    }

    /// The flow of what comes back: both ends change places.
    #[must_use]
    #[inline]
    pub const fn turned(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// Both addresses, the source's first.
    ///
    /// # Panics
    ///
    /// Never: a flow begins with them.
    #[must_use]
    #[inline]
    pub fn addresses(&self) -> &[u8; 32] {
        bytemuck::bytes_of(self).first_chunk().expect("a flow begins with two addresses of 16 bytes")
    }

    /// Whether both are the same flow: `==` in five comparisons, where that one compares the ports byte by byte.
    #[must_use]
    #[inline]
    pub fn is(&self, other: &Self) -> bool {
        let ours: [u64; 5] = bytemuck::cast(*self);
        let theirs: [u64; 5] = bytemuck::cast(*other);
        ours[0] == theirs[0]
            && ours[1] == theirs[1]
            && ours[2] == theirs[2]
            && ours[3] == theirs[3]
            && ours[4] == theirs[4]
    }

    /// The service that this flow asks for.
    #[must_use]
    #[inline]
    pub const fn service_key(&self) -> ServiceKey {
        ServiceKey {
            address: self.destination,
            port: self.destination_port,
            protocol: self.protocol as u8,
            _pad: [0; 5],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: Address, destination: Address) -> Flow {
        Flow { source, destination, source_port: [1, 2], destination_port: [3, 4], protocol: 6 }
    }

    #[test]
    fn chooser_is_the_flow_or_its_sources_prefix() {
        let vip = Address::from_v4([192, 0, 2, 1]);
        let client = flow(Address::from_v4([198, 51, 100, 77]), vip);
        assert_eq!(client.chooser(0), client);
        // (bits, what is left of the source)
        let cases =
            [(32, [198, 51, 100, 77]), (24, [198, 51, 100, 0]), (9, [198, 0, 0, 0]), (1, [128, 0, 0, 0])];
        for (bits, left) in cases {
            let source = Address::from_v4(left);
            let want = Flow { source, source_port: [0; 2], destination_port: [0; 2], ..client };
            assert_eq!(client.chooser(bits), want, "{bits}");
        }
    }

    #[test]
    fn chooser_keeps_the_prefix_of_an_ipv6_source() {
        let mut octets = [0xff; 16];
        let vip = Address::from_v6([0x20; 16]);
        let chooser = flow(Address::from_v6(octets), vip).chooser(52);
        octets[6] = 0xf0;
        octets[7..].fill(0);
        assert_eq!(chooser.source, Address::from_v6(octets));
    }
}
