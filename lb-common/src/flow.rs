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
