//! Sockets of this network namespace that take in what comes to them, by the kernel's tables of them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// What is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A socket that waits for whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What it takes in.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// The tables, and the state of sockets that wait: `TCP_LISTEN` and, of datagrams, `TCP_CLOSE` of `net/tcp_states.h`.
const TABLES: [(&str, Transport, &str); 4] = [
    ("tcp", Transport::Tcp, "0A"),
    ("tcp6", Transport::Tcp, "0A"),
    ("udp", Transport::Udp, "07"),
    ("udp6", Transport::Udp, "07"),
];

pub(super) fn listeners() -> Vec<Listener> {
    let table = |(name, transport, state)| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        let found: Vec<_> = text.lines().filter_map(|line| address(line, state)).collect();
        found.into_iter().map(move |address| Listener { transport, address })
    };
    TABLES.into_iter().flat_map(table).collect()
}

/// The local address of a line whose socket has this state.
fn address(line: &str, state: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let (_, local, _, is) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of the machine's own byte order, one after the other.
    let word =
        |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?))
        }
        _ => return None,
    };
    (is == state).then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_sockets_that_wait_are_read() {
        let of = |local: &str, state: &str| {
            address(&format!("   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000"), "0A")
        };
        assert_eq!(of("0A7100CB:0050", "0A"), Some("203.0.113.10:80".parse().unwrap()));
        assert_eq!(of("00000000:01BB", "0A"), Some("0.0.0.0:443".parse().unwrap()));
        assert_eq!(
            of("B80D0120000000000000000001000000:0016", "0A"),
            Some("[2001:db8::1]:22".parse().unwrap())
        );
        assert_eq!(of("0A7100CB:0050", "01"), None, "a connection");
        assert_eq!(address("  sl  local_address rem_address   st", "0A"), None);
    }

    #[test]
    fn own_listener_is_found() {
        let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = own.local_addr().unwrap();
        assert!(listeners().contains(&Listener { transport: Transport::Tcp, address }));
    }
}
