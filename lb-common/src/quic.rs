//! QUIC connection ids that name their server, in the unencrypted form of draft-ietf-quic-load-balancers.
//!
//! ```text
//!  first octet                      server id            nonce
//! +--------------+----------------+--------------------+-----------------------+
//! | config (3)   | length (5)     | 1 to 15 bytes      | whatever is left      |
//! +--------------+----------------+--------------------+-----------------------+
//! ```
//!
//! A server gives its clients such ids, so whoever knows the servers' ids finds the server of a packet from any address.
//! A short header does not say how long its connection id is; nobody here needs to know.

use bytemuck::{Pod, Zeroable};

/// The config that says of a connection id that it names nobody.
pub const UNROUTABLE: u8 = 0b111;

/// Bytes that a server id may have.
pub const MAX_SERVER_ID: usize = 15;

/// Bytes of a connection id that tell its server: the first octet and the longest server id.
pub const ROUTED: usize = 1 + MAX_SERVER_ID;

/// Bytes that a nonce has at least.
pub const MIN_NONCE: usize = 4;

/// What a service's connection ids look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Quic {
    /// The config in their first octets.
    pub config_id: u8,
    /// Bytes of a server id; 0: they name nobody.
    pub server_id_length: u8,
    /// Zero.
    pub _pad: [u8; 6],
}

/// A server id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct ServerId {
    /// The id; zero beyond `length`.
    pub octets: [u8; MAX_SERVER_ID],
    /// How many of the octets it has.
    pub length: u8,
}

impl ServerId {
    /// The first `length` bytes behind the first octet of a connection id.
    #[must_use]
    #[inline]
    pub const fn in_connection_id(connection_id: [u8; ROUTED], length: u8) -> Self {
        let behind = u128::from_le_bytes(connection_id) >> 8;
        // Not one shift of 128 bits by a variable, for which BPF has no instruction.
        let mask = low_bytes(length) as u128 | (low_bytes(length.saturating_sub(8)) as u128) << 64;
        let [octets @ .., _] = (behind & mask).to_le_bytes();
        Self { octets, length }
    }

    /// An id of these bytes; none where they are none or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut octets = [0; MAX_SERVER_ID];
        if bytes.is_empty() {
            return None;
        }
        octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { octets, length: bytes.len() as u8 })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length).min(MAX_SERVER_ID)]
    }
}

/// A word whose lowest `bytes` bytes are ones.
const fn low_bytes(bytes: u8) -> u64 {
    match bytes {
        0 => 0,
        1..8 => u64::MAX >> (64 - 8 * bytes as u32),
        _ => u64::MAX,
    }
}

/// What a server is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct ServerKey {
    /// Its id, of the length that its service has.
    pub id: ServerId,
    /// Number of the service.
    pub service: u32,
    /// Zero.
    pub _pad: u32,
}

/// Who a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Server {
    /// When a packet last named it, `CLOCK_MONOTONIC` nanoseconds, at most [`USED_GRAIN_NS`] behind. No flow is
    /// remembered of such packets, so this alone tells that it has any.
    pub used_ns: u64,
    /// Index of the backend within the service.
    pub backend: u16,
    /// Zero.
    pub _pad: [u8; 6],
}

/// How old `used_ns` may be before it is written anew: were it written with every packet, all CPUs would pass its cache
/// line around.
pub const USED_GRAIN_NS: u64 = 1_000_000_000;

/// What a packet says of its connection, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It opens one: an Initial. So does what is of a version that is not known, and cannot be told apart.
    Opens,
    /// It comes with one that opens: 0-RTT, whose connection id is still the client's choice.
    Early,
    /// It goes on, and its connection id is the server's choice: a short header, or a Handshake.
    GoesOn,
}

impl Kind {
    /// The kind of a packet by its first byte and, where that makes it a long header, its version (RFC 9000 section 17.2,
    /// RFC 9369 section 3.2). The fixed bit is not looked at: it may be anything (RFC 9287).
    #[must_use]
    #[inline]
    pub const fn of(first: u8, version: u32) -> Self {
        const LONG: u8 = 0x80;
        const VERSION_1: u32 = 1;
        const VERSION_2: u32 = 0x6b33_43cf;
        if first & LONG == 0 {
            return Self::GoesOn;
        }
        let kind = first >> 4 & 3;
        match version {
            VERSION_1 => Self::of_version_1(kind),
            VERSION_2 => Self::of_version_1(kind.wrapping_sub(1) & 3),
            _ => Self::Opens,
        }
    }

    const fn of_version_1(kind: u8) -> Self {
        match kind {
            0 => Self::Opens,
            1 => Self::Early,
            // A Retry comes from servers alone; as good as anything.
            _ => Self::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_id_is_what_follows_the_first_octet() {
        let connection_id: [u8; ROUTED] = core::array::from_fn(|at| at as u8);
        for length in 1..=MAX_SERVER_ID as u8 {
            let id = ServerId::in_connection_id(connection_id, length);
            let want: [u8; MAX_SERVER_ID] =
                core::array::from_fn(|at| if at < usize::from(length) { at as u8 + 1 } else { 0 });
            assert_eq!((id.octets, id.length), (want, length));
            assert_eq!(ServerId::new(id.bytes()), Some(id));
        }
        assert_eq!((ServerId::new(&[]), ServerId::new(&[7; 16])), (None, None));
    }

    #[test]
    fn kind_follows_the_version() {
        use Kind::{Early, GoesOn, Opens};
        // (first byte, version, kind)
        let cases = [
            (0xc0, 1, Opens),
            (0xd3, 1, Early),
            (0xe0, 1, GoesOn),
            (0xf0, 1, GoesOn),
            (0xd0, 0x6b33_43cf, Opens),
            (0xe0, 0x6b33_43cf, Early),
            (0xf3, 0x6b33_43cf, GoesOn),
            (0xc0, 0x6b33_43cf, GoesOn),
            (0xe0, 0x1a2a_3a4a, Opens),
            (0x80, 1, Opens),
            (0x40, 1, GoesOn),
            (0x00, 0, GoesOn),
        ];
        for (first, version, kind) in cases {
            assert_eq!(Kind::of(first, version), kind, "{first:#x} of version {version:#x}");
        }
    }
}
