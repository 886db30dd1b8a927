//! Which of the fleet's addresses is this host's: the one that it can listen on.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// This host among its peers.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) address: IpAddr,
    pub(super) listener: TcpListener,
}

/// Listens on the address among `peers` that is this host's. Otherwise, why there is none, and what to do.
pub(super) fn find(peers: &[IpAddr], port: u16) -> Result<Own, String> {
    let mut found: Vec<Own> = Vec::new();
    for &address in peers {
        match listen((address, port).into()) {
            Ok(listener) => found.push(Own { address, listener }),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {}
            Err(error) => {
                return Err(format!(
                    "cannot listen on {address}, port {port}: {error}; stop what does, or set another fleet.port"
                ));
            }
        }
    }
    match (found.pop(), found.pop()) {
        (Some(own), None) => Ok(own),
        (None, _) => {
            Err("none of fleet.peers is an address of this host; add its own, on every balancer".to_owned())
        }
        (Some(one), Some(other)) => Err(format!(
            "{} and {} of fleet.peers are both this host's; list one address of each balancer (where the sysctl \
             net.ipv4.ip_nonlocal_bind is set, every address seems to be this host's: set it to 0)",
            other.address, one.address
        )),
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of an earlier daemon may still be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn here(n: u8) -> IpAddr {
        [127, 0, 0, n].into()
    }

    #[tokio::test]
    async fn own_address_is_the_one_that_can_be_listened_on() {
        assert_eq!(find(&[ELSEWHERE, here(9)], 0).unwrap().address, here(9));
    }

    #[tokio::test]
    async fn why_there_is_none_is_said() {
        assert!(find(&[ELSEWHERE], 0).unwrap_err().starts_with("none of fleet.peers"));
        let two = find(&[here(8), here(9)], 0).unwrap_err();
        assert!(two.starts_with("127.0.0.8 and 127.0.0.9"), "{two}");
        let taken = find(&[here(9)], 0).unwrap();
        let port = taken.listener.local_addr().unwrap().port();
        let error = find(&[here(9)], port).unwrap_err();
        assert!(error.starts_with("cannot listen on 127.0.0.9"), "{error}");
    }
}
