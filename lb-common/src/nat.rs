//! Translated flows: what the packets of each direction become, and the addresses that flows are given.
//!
//! A session has two halves. Each is found by the 5-tuple of its packets as they arrive, and names that of the other
//! direction's: turned round, it is what its own packets become.
//!
//! ```text
//! client  -> VIP       becomes   pool -> backend
//! backend -> pool      becomes   VIP  -> client
//! ```
//!
//! Two tables hold halves, and a flood that fills one leaves the other alone: `nat_openings` has those of flows that were
//! not seen to go on in both directions, `nat_sessions` the others.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, flow::Flow, hash::mix};

/// The most addresses of one family.
pub const MAX_ADDRESSES: usize = 16;

/// What flows of one family are given an address and a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Pool {
    /// The addresses; those from `count` on are not used.
    pub addresses: [Address; MAX_ADDRESSES],
    /// How many there are; 0: no flow of the family can be translated.
    pub count: u32,
    /// The first port, host byte order.
    pub first_port: u16,
    /// The last one.
    pub last_port: u16,
}

impl Pool {
    /// The same pool with those of its addresses alone that `stays` says.
    #[must_use]
    pub fn retain(&self, stays: impl Fn(&Address) -> bool) -> Self {
        let mut pool = Self { addresses: [Address::zeroed(); MAX_ADDRESSES], count: 0, ..*self };
        for address in self.addresses[..self.count as usize].iter().filter(|address| stays(address)) {
            pool.addresses[pool.count as usize] = *address;
            pool.count += 1;
        }
        pool
    }

    /// Address and port, network byte order, that a flow with this hash tries at its `attempt`.
    #[must_use]
    #[inline]
    pub const fn candidate(&self, hash: u64, attempt: u32) -> (Address, [u8; 2]) {
        // The golden ratio: attempts spread whatever the hash is.
        let word = mix(hash.wrapping_add((attempt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let index = ((word as u32 as u64 * self.count as u64) >> 32) as usize & (MAX_ADDRESSES - 1);
        let ports = self.last_port.wrapping_sub(self.first_port) as u64 + 1;
        let port = self.first_port.wrapping_add((((word >> 32) * ports) >> 32) as u16);
        (self.addresses[index], port.to_be_bytes())
    }
}

/// Whose packets a half is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The client's.
    Client = 0,
    /// The backend's.
    Backend = 1,
}

/// A side has said that it sends no more (FIN).
pub const ENDED_FIN: u8 = 1 << 0;
/// A side has said that the connection is over (RST).
pub const ENDED_RESET: u8 = 1 << 1;
/// What else [`Half::ended`] tells: a cookie has opened the connection, so its numbers are shifted ([`crate::cookie`]).
pub const SPLICED: u8 = 1 << 7;

/// How a packet leaves for a client: as the client's last packet came, turned round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Way {
    /// The first eight bytes of the frame: the client's next hop's MAC address, and the first two of this host's.
    pub macs_first: u64,
    /// The last four bytes of this host's.
    pub macs_last: u32,
    /// The interface.
    pub ifindex: u32,
    /// EtherType of the outer tag, network byte order; 0: there are no tags.
    pub outer_type_be: u16,
    /// Control information of the outer tag, network byte order.
    pub outer_tci_be: u16,
    /// EtherType of the inner tag, network byte order; 0: there is none.
    pub inner_type_be: u16,
    /// Control information of the inner tag, network byte order.
    pub inner_tci_be: u16,
}

impl Way {
    /// Whether both are the same way: `==` in three comparisons.
    #[must_use]
    #[inline]
    pub fn is(&self, other: &Self) -> bool {
        let ours: [u64; 3] = bytemuck::cast(*self);
        let theirs: [u64; 3] = bytemuck::cast(*other);
        ours[0] == theirs[0] && ours[1] == theirs[1] && ours[2] == theirs[2]
    }
}

/// One direction of a translated flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Half {
    /// The 5-tuple of the other direction's packets as they arrive.
    pub other: Flow,
    /// The way to the client.
    pub way: Way,
    /// Time of its last packet, `CLOCK_MONOTONIC` nanoseconds; 0: none has come.
    pub last_seen_ns: u64,
    /// Id of the service.
    pub service: u32,
    /// Index of the backend within the service.
    pub backend: u16,
    /// One of [`Side`].
    pub side: u8,
    /// `ENDED_*`, and [`SPLICED`].
    pub ended: u8,
}

impl Half {
    /// Whether the connection of both halves is over: both have said that they send no more, or one that it is.
    #[must_use]
    #[inline]
    pub const fn is_over(&self, other: &Self) -> bool {
        (self.ended | other.ended) & ENDED_RESET != 0 || self.ended & other.ended & ENDED_FIN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(count: u32, first_port: u16, last_port: u16) -> Pool {
        let mut addresses = [Address::from_v4([0; 4]); MAX_ADDRESSES];
        for (n, address) in (0u8..).zip(&mut addresses) {
            *address = Address::from_v4([198, 51, 100, n]);
        }
        Pool { addresses, count, first_port, last_port }
    }

    #[test]
    fn candidates_are_all_of_the_pool_and_nothing_else() {
        let pool = pool(3, 65_530, 65_535);
        let mut seen = [[0u32; 6]; 3];
        for attempt in 0..2_000 {
            let (address, port) = pool.candidate(7, attempt);
            let port = u16::from_be_bytes(port);
            seen[usize::from(address.v4_octets()[3])][usize::from(port - 65_530)] += 1;
        }
        assert!(seen.as_flattened().iter().all(|&times| times > 70), "{seen:?}");
    }

    #[test]
    fn what_is_left_of_a_pool_is_its_beginning() {
        let left = pool(3, 1, 2).retain(|address| address.v4_octets()[3] != 1);
        assert_eq!((left.count, left.first_port, left.last_port), (2, 1, 2));
        let address = |n| Address::from_v4([198, 51, 100, n]);
        assert_eq!(left.addresses[..3], [address(0), address(2), Address::zeroed()]);
    }

    #[test]
    fn whole_range_of_ports_has_every_port() {
        let pool = pool(1, 0, u16::MAX);
        let ports = (0..4_000).map(|attempt| u16::from_be_bytes(pool.candidate(attempt, 0).1));
        let (low, high) = ports.fold((u16::MAX, 0), |(low, high), port| (low.min(port), high.max(port)));
        assert!(low < 100 && high > 65_435, "{low} {high}");
    }

    #[test]
    fn connection_is_over_once_both_sides_or_a_reset_say_so() {
        let half = |ended| Half { ended, ..Half::zeroed() };
        // (one side, the other, over)
        let cases = [
            (0, 0, false),
            (ENDED_FIN, 0, false),
            (ENDED_FIN, ENDED_FIN, true),
            (ENDED_RESET, 0, true),
            (0, ENDED_RESET | ENDED_FIN, true),
        ];
        for (one, other, over) in cases {
            assert_eq!(half(one).is_over(&half(other)), over, "{one} {other}");
            assert_eq!(half(other).is_over(&half(one)), over, "{other} {one}");
        }
    }
}
