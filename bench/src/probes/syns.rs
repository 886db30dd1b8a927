//! SYNs as they come to a network namespace, each with the time at which the kernel took it from the wire.
//!
//! Those of what is accepted would not be all: a reset may overtake the acknowledgement before it on another CPU, and
//! then `accept` never hears of the connection. The time is the kernel's, so it does not matter when a SYN is read.

use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, Protocol, SockFilter, Socket, Type};

/// `ETH_P_IP` of `linux/if_ether.h`. A socket of one protocol does not see what the host itself sends.
const IPV4: u16 = 0x0800;

/// Bytes of the longest IPv4 header, and of a TCP header as far as the flags.
const READ: usize = 60 + 14;

/// Room for two messages beside a packet: a time and a number.
const CONTROL: usize = 64;

/// Bytes that wait to be read, far beyond what comes while the reader has no CPU.
const BACKLOG: usize = 1 << 26;

/// How long [`Socket::recvmsg`] waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// A socket that sees SYNs for one port.
pub(super) struct Syns(Socket);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syn {
    /// Where it is from: a retransmission has the same port and sequence number as what it repeats.
    pub(super) origin: (Ipv4Addr, u16, u32),
    pub(super) destination: Ipv4Addr,
}

/// What was read.
pub(super) struct Read {
    /// None where it is no SYN after all.
    pub(super) syn: Option<Syn>,
    /// Since 1970.
    pub(super) at: Duration,
    /// SYNs that there was no room for, from the beginning until this one came.
    pub(super) dropped: u32,
}

impl Syns {
    /// Opens it in the network namespace of this thread.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        socket.attach_filter(&filter(port))?;
        set_socket_recv_buffer_size_force(&socket, BACKLOG)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        turn_on(socket.as_raw_fd(), libc::SO_TIMESTAMPNS)?;
        turn_on(socket.as_raw_fd(), libc::SO_RXQ_OVFL)?;
        Ok(Self(socket))
    }

    /// The next one, if one comes soon.
    pub(super) fn next(&self) -> io::Result<Option<Read>> {
        let (mut packet, mut control) = ([MaybeUninit::new(0); READ], [MaybeUninit::new(0); CONTROL]);
        let mut buffers = [MaybeUninitSlice::new(&mut packet)];
        let mut message = MsgHdrMut::new().with_buffers(&mut buffers).with_control(&mut control);
        let length = match self.0.recvmsg(&mut message, 0) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let length_of_control = message.control_len();
        let (packet, control) = (initialised(packet), initialised(control));
        let control = &control[..length_of_control];
        let at = told(control, libc::SCM_TIMESTAMPNS).and_then(time);
        let at = at.ok_or_else(|| io::Error::other("the kernel tells no time of a packet"))?;
        // It says nothing of drops before the first.
        let dropped = told(control, libc::SO_RXQ_OVFL).and_then(|data| data.first_chunk());
        let dropped = dropped.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        Ok(Some(Read { syn: Syn::read(&packet[..length]), at, dropped }))
    }
}

impl Syn {
    /// Out of an IPv4 packet that the filter has let through.
    fn read(packet: &[u8]) -> Option<Self> {
        let address = |at: usize| packet.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
        let tcp = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
        let port = u16::from_be_bytes(*tcp.first_chunk()?);
        let sequence = u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?);
        Some(Self { origin: (address(12)?, port, sequence), destination: address(16)? })
    }
}

/// TCP, no later fragment, for that port, and of SYN and ACK only SYN. Classic BPF (`linux/filter.h`).
fn filter(port: u16) -> [SockFilter; 12] {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x28;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const LOAD_BYTE_BEHIND: u16 = 0x50;
    const LOAD_WORD_BEHIND: u16 = 0x48;
    const AND: u16 = 0x54;
    const IF_EQUAL: u16 = 0x15;
    const IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let statement = |code, value| SockFilter::new(code, 0, 0, value);
    [
        statement(LOAD_BYTE, 9),
        SockFilter::new(IF_EQUAL, 0, 9, 6),
        statement(LOAD_WORD, 6),
        SockFilter::new(IF_ANY_BIT, 7, 0, 0x1fff),
        statement(LOAD_HEADER_LENGTH, 0),
        statement(LOAD_WORD_BEHIND, 2),
        SockFilter::new(IF_EQUAL, 0, 4, u32::from(port)),
        statement(LOAD_BYTE_BEHIND, 13),
        statement(AND, 0x12),
        SockFilter::new(IF_EQUAL, 0, 1, 0x02),
        statement(RETURN, READ as u32),
        statement(RETURN, 0),
    ]
}

fn turn_on(socket: RawFd, option: libc::c_int) -> io::Result<()> {
    let one: libc::c_int = 1;
    let length = size_of_val(&one) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, which is what `one` has.
    let result =
        unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, option, (&raw const one).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel has written to, of bytes that were zero before.
fn initialised<const N: usize>(bytes: [MaybeUninit<u8>; N]) -> [u8; N] {
    // SAFETY: callers make every byte with `MaybeUninit::new`, and what is written over it is initialised too.
    bytes.map(|byte| unsafe { byte.assume_init() })
}

/// The data of the message of that kind (`struct cmsghdr`: its length, its level, its kind, data, padding).
fn told(mut control: &[u8], wanted: libc::c_int) -> Option<&[u8]> {
    const HEADER: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();
    loop {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let message = control.get(..length)?;
        let level = message.get(size_of::<usize>()..)?;
        let kind = level.get(size_of::<libc::c_int>()..)?;
        let [level, kind] = [*level.first_chunk()?, *kind.first_chunk()?].map(libc::c_int::from_ne_bytes);
        if (level, kind) == (libc::SOL_SOCKET, wanted) {
            return message.get(HEADER..);
        }
        control = control.get(length.next_multiple_of(size_of::<usize>())..)?;
    }
}

/// Out of a `struct timespec`.
fn time(data: &[u8]) -> Option<Duration> {
    let seconds = i64::from_ne_bytes(*data.first_chunk()?);
    let nanoseconds = i64::from_ne_bytes(*data.get(size_of::<i64>()..)?.first_chunk()?);
    Some(Duration::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message beside a packet, with its padding.
    fn message(level: libc::c_int, kind: libc::c_int, data: &[u8]) -> Vec<u8> {
        let length: usize = 16 + data.len();
        let mut bytes = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat();
        bytes.resize(length.next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn a_syn_is_read_behind_the_options_of_its_ip_header() {
        let mut packet = vec![0; READ];
        packet[0] = 0x46;
        packet[12..20].copy_from_slice(&[192, 0, 2, 1, 10, 0, 0, 7]);
        packet[24..32].copy_from_slice(&[0x9c, 0x40, 0, 80, 1, 2, 3, 4]);
        let origin = (Ipv4Addr::new(192, 0, 2, 1), 40_000, 0x0102_0304);
        assert_eq!(Syn::read(&packet), Some(Syn { origin, destination: Ipv4Addr::new(10, 0, 0, 7) }));
        assert_eq!(Syn::read(&packet[..31]), None);
    }

    #[test]
    fn a_message_is_found_behind_others_by_its_level_and_its_kind() {
        let [seconds, nanoseconds] = [3_i64, 4].map(i64::to_ne_bytes);
        let control = [
            message(libc::SOL_PACKET, libc::SCM_TIMESTAMPNS, &[9; 16]),
            message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7_u32.to_ne_bytes()),
            message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &[seconds, nanoseconds].concat()),
        ]
        .concat();
        assert_eq!(told(&control, libc::SO_RXQ_OVFL), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(told(&control, libc::SCM_TIMESTAMPNS).and_then(time), Some(Duration::new(3, 4)));
        assert_eq!(told(&control[..30], libc::SCM_TIMESTAMPNS), None);
    }
}
