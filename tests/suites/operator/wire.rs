//! A device as a test holds it by both hands: whole frames in, whole frames out.

use std::{
    io::{self, Read as _},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use lb_tests::netns::Netns;

/// `ETH_P_ALL` of `linux/if_ether.h`: every frame.
const ALL: u16 = 0x0003;

/// `struct sockaddr_ll` of `linux/if_packet.h`, whose family is `AF_PACKET`.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    ifindex: u32,
    rest: [u8; 12],
}

/// `AF_PACKET` of `linux/socket.h`.
const PACKET: u16 = 17;

/// The largest frame.
const FRAME: usize = 2048;

/// A device.
pub(crate) struct Wire(Socket);

impl Wire {
    /// Takes hold of a device.
    pub(crate) fn open(netns: &Netns, device: &str) -> Self {
        netns.run(|| open(device)).unwrap().unwrap()
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(self.0.send(frame).unwrap(), frame.len());
    }

    /// The next frame by the device for which `wanted`, sent or received; none after `patience`.
    pub(crate) fn next(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.0.set_read_timeout(Some(left)).unwrap();
            let mut frame = vec![0; FRAME];
            let length = match (&self.0).read(&mut frame) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) => panic!("{error}"),
            };
            frame.truncate(length);
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

fn open(device: &str) -> io::Result<Wire> {
    let ifindex = name_to_index(socket(AddressFamily::INET, SocketType::DGRAM, None)?, device)?;
    let all = Protocol::from(i32::from(ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all))?;
    let address = LinkAddress { family: PACKET, protocol: ALL.to_be(), ifindex, rest: [0; 12] };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage of every address is larger than that of this one, which is plain numbers.
    unsafe { *storage.view_as::<LinkAddress>() = address };
    // SAFETY: it holds an address of that length, as its family says.
    let address = unsafe { SockAddr::new(storage, size_of::<LinkAddress>() as u32) };
    socket.bind(&address)?;
    socket.set_recv_buffer_size(1 << 22)?;
    Ok(Wire(socket))
}
