//! How large packets may be on the way to a backend, where a router on that way has said so: RFC 1191 and RFC 8201 for the
//! outer headers of tunnels.
//!
//! The balancer has no connection to a backend whose end the kernel could tell, so [`Listener`] reads such errors
//! (`message`) off the wire. What is believed is kept for a while ([`PathMtus`]), and makes the backend's entry say less
//! than its first link carries: then it is the client that is told, by an answer of the program's.

mod listener;
mod message;

use std::{collections::HashMap, net::IpAddr, time::Duration};

use lb_common::{
    backend::{Backend as Entry, Forwarding},
    service::ServiceKey,
};

pub use listener::Listener;
pub use message::TooBig;

/// How long a router is believed. After that larger packets are tried again (RFC 1191 section 6.3, RFC 8201 section 4).
pub const AGE: Duration = Duration::from_mins(10);

/// What every link carries (RFC 791, RFC 8200 section 5). Who says less is not believed.
const LEAST_V4: u16 = 576;
const LEAST_V6: u16 = 1280;

/// What was said of one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// Bytes of IP packet that it carries.
    pub mtu: u16,
    /// Until when that holds, on the monotonic clock.
    pub until: Duration,
}

/// What was said, by the backend's address.
#[derive(Clone, Debug, Default)]
pub struct PathMtus(HashMap<IpAddr, PathMtu>);

impl PathMtus {
    /// Takes in that packets of more than `mtu` bytes do not get to a backend. Whether that is less than was known.
    pub fn learn(&mut self, backend: IpAddr, mtu: u16, now: Duration) -> bool {
        self.0.retain(|_, known| known.until > now);
        let mtu = mtu.max(if backend.is_ipv4() { LEAST_V4 } else { LEAST_V6 });
        let until = now + AGE;
        match self.0.get_mut(&backend) {
            Some(known) if known.mtu < mtu => false,
            Some(known) => {
                let is_less = mtu < known.mtu;
                *known = PathMtu { mtu, until };
                is_less
            }
            None => self.0.insert(backend, PathMtu { mtu, until }).is_none(),
        }
    }

    /// What is known of the way to a backend.
    #[must_use]
    pub fn of(&self, backend: IpAddr, now: Duration) -> Option<PathMtu> {
        self.0.get(&backend).copied().filter(|known| known.until > now)
    }
}

/// Whether a packet that was too big may be one that is sent to a backend of the service with this key.
#[must_use]
pub fn is_sent(key: &ServiceKey, backend: &Entry, told: &TooBig) -> bool {
    IpAddr::from(backend.address) == told.destination
        && is_source(backend, told.source)
        && carried(key, backend) == Some((told.protocol, told.port))
}

/// Protocol of the outer header's payload, and the port that it is for.
fn carried(key: &ServiceKey, backend: &Entry) -> Option<(u8, Option<u16>)> {
    const UDP: u8 = 17;
    let inner = if key.address.is_v4() { 4 } else { 41 };
    let is = |mode: Forwarding| backend.forwarding == mode as u8;
    if is(Forwarding::Ipip4) || is(Forwarding::Ipip6) {
        Some((inner, None))
    } else if backend.overhead() > 0 {
        Some((UDP, Some(u16::from_be_bytes(backend.port))))
    } else {
        None
    }
}

/// Whether an address is one that outer headers have as their source: it may vary in the last bits.
fn is_source(backend: &Entry, address: IpAddr) -> bool {
    let open = u128::from(u16::from_be_bytes(backend.source_mask));
    let number = |address: lb_common::address::Address| u128::from_be_bytes(address.octets);
    (number(backend.source) ^ number(address.into())) & !open == 0
}

#[cfg(test)]
mod tests {
    use lb_common::address::Address;

    use super::*;

    const START: Duration = Duration::from_secs(1000);
    const BACKEND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11));

    fn v6() -> IpAddr {
        "2001:db8::11".parse().unwrap()
    }

    #[test]
    fn less_is_believed_and_more_is_not() {
        let mut mtus = PathMtus::default();
        assert!(mtus.learn(BACKEND, 1400, START));
        assert!(!mtus.learn(BACKEND, 1450, START));
        assert!(!mtus.learn(BACKEND, 1400, START));
        assert!(mtus.learn(BACKEND, 1300, START));
        assert_eq!(mtus.of(BACKEND, START).map(|known| known.mtu), Some(1300));
        assert_eq!(mtus.of(v6(), START), None);
    }

    #[test]
    fn nobody_is_believed_who_says_less_than_a_link_has_to_carry() {
        let mut mtus = PathMtus::default();
        assert!(mtus.learn(BACKEND, 68, START) && mtus.learn(v6(), 1279, START));
        assert_eq!(mtus.of(BACKEND, START).map(|known| known.mtu), Some(576));
        assert_eq!(mtus.of(v6(), START).map(|known| known.mtu), Some(1280));
    }

    #[test]
    fn what_was_said_is_forgotten_after_ten_minutes_in_which_nobody_repeats_it() {
        let mut mtus = PathMtus::default();
        mtus.learn(BACKEND, 1400, START);
        let later = START + Duration::from_mins(9);
        mtus.learn(BACKEND, 1400, later);
        assert!(mtus.of(BACKEND, START + Duration::from_mins(11)).is_some());
        assert_eq!(mtus.of(BACKEND, later + AGE), None);
        assert!(mtus.learn(BACKEND, 1450, later + AGE), "then more is believed, too");
    }

    /// An entry in a mode, with the source 198.51.100.0/24.
    fn entry(forwarding: Forwarding) -> Entry {
        Entry {
            address: BACKEND.into(),
            source: Address::from_v4([198, 51, 100, 0]),
            source_mask: [0, 0xff],
            port: 6080u16.to_be_bytes(),
            forwarding: forwarding as u8,
            ..bytemuck::Zeroable::zeroed()
        }
    }

    #[test]
    fn only_packets_that_are_sent_are_believed_to_have_been_too_big() {
        let key = |vip: &str| ServiceKey::new(vip.parse::<IpAddr>().unwrap().into(), 80, 6);
        let (v4, v6) = (key("203.0.113.10"), key("2001:db8:113::10"));
        let told = |source: &str, destination: &str, protocol, port| TooBig {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            port,
            mtu: 1400,
        };
        let (ours, backend) = ("198.51.100.77", "192.0.2.11");
        let (ipip, gue, l2) = (entry(Forwarding::Ipip4), entry(Forwarding::Gue4), entry(Forwarding::L2));
        // (key, entry, what was told, believed)
        let cases = [
            (v4, ipip, told(ours, backend, 4, None), true),
            (v6, ipip, told(ours, backend, 41, None), true),
            (v4, ipip, told(ours, backend, 41, None), false),
            (v4, ipip, told(ours, backend, 17, Some(6080)), false),
            (v4, ipip, told("198.51.101.77", backend, 4, None), false),
            (v4, ipip, told(ours, "192.0.2.12", 4, None), false),
            (v4, gue, told(ours, backend, 17, Some(6080)), true),
            (v4, gue, told(ours, backend, 17, Some(6081)), false),
            (v4, gue, told(ours, backend, 4, None), false),
            (v4, l2, told(ours, backend, 4, None), false),
        ];
        for (key, entry, told, believed) in cases {
            assert_eq!(is_sent(&key, &entry, &told), believed, "{told:?}");
        }
    }
}
