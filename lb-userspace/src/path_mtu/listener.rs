//! Reads what routers say off the wire.
//!
//! By packet sockets, since the sources of outer headers (`tunnel_source`) need not be addresses of this host, and what is
//! for somebody else reaches no other socket. A filter in the kernel lets nothing through but messages of this kind, so
//! other packets that pass cost next to nothing, and forwarded ones nothing at all.

use std::{io, os::fd::OwnedFd};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::{net::UdpSocket, sync::mpsc};

use super::TooBig;

/// Numbers of protocols over Ethernet (`linux/if_ether.h`).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Bytes of a message that are looked at: outer header, message, quoted header and ports, options included.
const READ: usize = 256;

/// Sockets that hear of packets that were too big.
#[derive(Debug)]
pub struct Listener {
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Listener {
    /// Opens them in the network namespace of this thread. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// `CAP_NET_RAW` is missing.
    pub fn open() -> io::Result<Self> {
        Ok(Self { v4: open(IPV4, &filter_v4())?, v6: open(IPV6, &filter_v6())? })
    }

    /// Tells what is said, until nobody listens. What comes faster than it is listened to is lost.
    ///
    /// # Errors
    ///
    /// A socket fails.
    pub async fn run(self, events: mpsc::Sender<TooBig>) -> io::Result<()> {
        loop {
            let told = tokio::select! {
                told = next(&self.v4) => told?,
                told = next(&self.v6) => told?,
                () = events.closed() => return Ok(()),
            };
            if let Some(told) = told {
                let _ = events.try_send(told);
            }
        }
    }
}

/// The next message, or none where it is another.
async fn next(socket: &UdpSocket) -> io::Result<Option<TooBig>> {
    let mut packet = [0; READ];
    let length = socket.recv(&mut packet).await?;
    Ok(TooBig::read(&packet[..length]))
}

/// A socket for IP packets behind the link layer, by every interface. Tokio has no type of its own for such.
fn open(ether_type: u16, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let protocol = Protocol::from(i32::from(ether_type.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(protocol))?;
    socket.attach_filter(filter)?;
    UdpSocket::from_std(OwnedFd::from(socket).into())
}

/// Instructions of classic BPF (`linux/filter.h`, `linux/bpf_common.h`).
mod bpf {
    use socket2::SockFilter;

    /// Loads the byte at `at` of the packet.
    pub(super) const fn byte(at: u32) -> SockFilter {
        SockFilter::new(0x30, 0, 0, at)
    }

    /// Loads the 16-bit word at `at`.
    pub(super) const fn word(at: u32) -> SockFilter {
        SockFilter::new(0x28, 0, 0, at)
    }

    /// Loads the byte at `at` behind an IPv4 header.
    pub(super) const fn byte_behind(at: u32) -> SockFilter {
        SockFilter::new(0x50, 0, 0, at)
    }

    /// Takes the length of the IPv4 header at `at` for what [`byte_behind`] means.
    pub(super) const fn header_length(at: u32) -> SockFilter {
        SockFilter::new(0xb1, 0, 0, at)
    }

    /// Goes on if what was loaded is `value`, otherwise `otherwise` instructions later.
    pub(super) const fn is(value: u32, otherwise: u8) -> SockFilter {
        SockFilter::new(0x15, 0, otherwise, value)
    }

    /// Goes on if none of `bits` is set, otherwise `otherwise` instructions later.
    pub(super) const fn has_none_of(bits: u32, otherwise: u8) -> SockFilter {
        SockFilter::new(0x45, otherwise, 0, bits)
    }

    /// Lets `bytes` of the packet through.
    pub(super) const fn take(bytes: u32) -> SockFilter {
        SockFilter::new(0x06, 0, 0, bytes)
    }
}

/// ICMP, no later fragment, destination unreachable, fragmentation needed.
fn filter_v4() -> [SockFilter; 11] {
    [
        bpf::byte(9),
        bpf::is(1, 8),
        bpf::word(6),
        bpf::has_none_of(0x1fff, 6),
        bpf::header_length(0),
        bpf::byte_behind(0),
        bpf::is(3, 3),
        bpf::byte_behind(1),
        bpf::is(4, 1),
        bpf::take(READ as u32),
        bpf::take(0),
    ]
}

/// ICMPv6, packet too big.
fn filter_v6() -> [SockFilter; 6] {
    [bpf::byte(6), bpf::is(58, 3), bpf::byte(40), bpf::is(2, 1), bpf::take(READ as u32), bpf::take(0)]
}
