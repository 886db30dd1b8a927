//! The `icmp` probe: a backend passes when it answers an echo request. That says that its kernel lives, and nothing of
//! the service.
//!
//! The socket is a raw one: the kernel's own echo sockets are closed to everybody unless a setting
//! (`net.ipv4.ping_group_range`) opens them. It hears what comes from the backend alone, since it is connected.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdSocket},
};

use lb_common::checksum::Sum;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with},
};
use tokio::net::UdpSocket;

use super::{
    super::{Job, Outcome},
    connect::fault,
    token,
};

/// Types of messages (RFC 792, RFC 4443).
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Type, code, checksum, and eight bytes that the reply repeats.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |     Type      |     Code      |          Checksum             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           Identifier          |        Sequence Number        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |     Data ...
/// ```
type Echo = [u8; 12];

/// Sends an echo request and waits for its reply.
pub(super) async fn check(job: &Job) -> Result<(), Outcome> {
    let ip = job.address.ip();
    let socket = open(ip).map_err(|error| refused(&error))?;
    let token = token().to_be_bytes();
    socket.send(&request(ip, token)).await.map_err(|error| fault(&error))?;
    job.stage.waits_for("the echo reply");
    let mut packet = [0; 256];
    loop {
        let length = socket.recv(&mut packet).await.map_err(|error| fault(&error))?;
        if is_reply(ip, &packet[..length], token) {
            return Ok(());
        }
    }
}

/// A raw socket, in the clothes of one that tokio knows: to send and to receive is the same for both.
fn open(ip: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match ip {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    connect(&socket, &SocketAddr::new(ip, 0))?;
    UdpSocket::from_std(StdSocket::from(socket))
}

fn refused(error: &io::Error) -> Outcome {
    if matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::ACCESS)) {
        return Outcome::Inconclusive("a probe of type icmp needs CAP_NET_RAW".to_owned());
    }
    fault(error)
}

/// The kernel writes the checksum of ICMPv6, whose pseudo-header it knows (RFC 3542 section 3.1), and not of ICMP.
fn request(ip: IpAddr, token: [u8; 8]) -> Echo {
    let mut echo: Echo = [0; 12];
    echo[4..].copy_from_slice(&token);
    match ip {
        IpAddr::V4(_) => {
            echo[0] = ECHO_REQUEST_V4;
            let check = Sum::default().add_bytes(&echo).finish();
            echo[2..4].copy_from_slice(&check);
        }
        IpAddr::V6(_) => echo[0] = ECHO_REQUEST_V6,
    }
    echo
}

/// A raw socket hears the IP header of IPv4 too, and not of IPv6.
fn is_reply(ip: IpAddr, packet: &[u8], token: [u8; 8]) -> bool {
    let (message, reply) = match ip {
        IpAddr::V4(_) => {
            let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
            (packet.get(header..).unwrap_or_default(), ECHO_REPLY_V4)
        }
        IpAddr::V6(_) => (packet, ECHO_REPLY_V6),
    };
    message.len() == size_of::<Echo>() && message[..2] == [reply, 0] && message[4..] == token
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn request_sums_up_to_nothing() {
        let echo = request(V4, TOKEN);
        assert_eq!((echo[..2].to_vec(), echo[4..].to_vec()), (vec![8, 0], TOKEN.to_vec()));
        assert_eq!(Sum::default().add_bytes(&echo).finish(), [0, 0]);
        assert_eq!(request(V6, TOKEN)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn reply_is_known_by_its_token() {
        let header = |ihl: u8| [&[0x40 | ihl][..], &vec![0; usize::from(ihl) * 4 - 1]].concat();
        let reply = [&[0, 0, 9, 9][..], &TOKEN].concat();
        for ihl in [5, 6] {
            assert!(is_reply(V4, &[header(ihl), reply.clone()].concat(), TOKEN));
        }
        assert!(is_reply(V6, &[&[129, 0, 9, 9][..], &TOKEN].concat(), TOKEN));
        let strange = [&[0, 0, 9, 9][..], &[8; 8]].concat();
        for other in [&[][..], &header(5), &[header(5), strange].concat(), &request(V4, TOKEN)] {
            assert!(!is_reply(V4, other, TOKEN), "{other:?}");
            assert!(!is_reply(V6, other, TOKEN), "{other:?}");
        }
    }
}
