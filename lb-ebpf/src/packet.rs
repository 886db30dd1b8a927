//! The packet's bytes: the only place with pointers into a packet.
//!
//! A header is a `repr(C)` struct of alignment 1, byte arrays or packed words, and any bytes are a valid value. One bounds
//! check per header, in [`Packet::header`] and [`Packet::header_mut`]; the references borrow the packet, so none of
//! them survives a change of its size.

use core::mem::size_of;

use aya_ebpf::{
    Global,
    bindings::xdp_md,
    helpers::generated::{
        bpf_check_mtu, bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use lb_common::checksum::Sum;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Offsets are at most this. The verifier adds an unknown value to a packet pointer only if it knows a bound, and
/// refuses the access once the sum could exceed 0xffff (`MAX_PACKET_OFF` in kernel/bpf/verifier.c).
pub const MAX_OFFSET: usize = 0x3ff;

/// The same bound for [`Packet::sum`].
const MAX_SUMMED: usize = 0x7ff;

/// A header that can lie at any byte of a packet.
///
/// # Safety
///
/// The type is `repr(C)`, has alignment 1, no padding, and every bit pattern is a value of it.
pub unsafe trait Header: Copy {}

// SAFETY: packed words, or arrays of bytes.
unsafe impl Header for Ethernet {}
// SAFETY: as above.
unsafe impl<T: Header> Header for Framed<T> {}
// SAFETY: as above.
unsafe impl Header for Ipv6Words {}
// SAFETY: as above.
unsafe impl Header for Tag {}
// SAFETY: as above.
unsafe impl Header for Tcp {}
// SAFETY: as above.
unsafe impl Header for Udp {}
// SAFETY: as above.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: as above.
unsafe impl Header for Ipv6Hdr {}
// SAFETY: as above.
unsafe impl<const N: usize> Header for [u8; N] {}

/// An Ethernet header (IEEE 802.3) without its tags.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub struct Ethernet {
    /// Both MAC addresses, the destination's first.
    pub macs: Macs,
    /// EtherType of what follows, network byte order.
    pub ether_type_be: u16,
}

/// An Ethernet header without tags, and the header behind it.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub struct Framed<T> {
    /// The frame's own.
    pub ethernet: Ethernet,
    /// What it is around.
    pub inner: T,
}

/// Two MAC addresses in the words that they are moved by: six bytes would be moved one by one.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub struct Macs {
    /// The destination and the first two bytes of the source.
    pub first: u64,
    /// The other four bytes of the source.
    pub last: u32,
}

impl Macs {
    /// Those of the way back.
    #[inline(always)]
    pub const fn turned(self) -> Self {
        let (first, last) = (self.first, self.last);
        let destination = first & 0xffff_ffff_ffff;
        let source = first >> 48 | (last as u64) << 16;
        Self { first: source | destination << 48, last: (destination >> 16) as u32 }
    }
}

/// An IPv6 header (RFC 8200 section 3) in the words that it is written by, native byte order: addresses of bytes would be
/// moved one by one, and by way of the stack.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub struct Ipv6Words {
    /// Everything before the addresses.
    pub first: u64,
    /// Source address.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
}

/// What an 802.1Q tag adds behind its own EtherType.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub struct Tag {
    /// Tag control information: priority and VLAN id, network byte order.
    pub tci_be: u16,
    /// EtherType of what follows, network byte order.
    pub ether_type_be: u16,
}

/// A UDP header (RFC 768), every field in network byte order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// Bytes from this header on.
    pub length: [u8; 2],
    /// Checksum; zero: none.
    pub check: [u8; 2],
}

/// A TCP header without options (RFC 9293 section 3.1), every field in network byte order.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// Length of the header in words, in the upper half.
    pub offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum.
    pub check: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// A frame that the host's own stack sends.
pub struct Sent {
    ctx: TcContext,
}

impl Sent {
    /// The frame that a program was called for.
    #[inline(always)]
    pub const fn new(ctx: TcContext) -> Self {
        Self { ctx }
    }

    /// The mark of the socket that it comes from; 0 where there is none.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        // SAFETY: the kernel hands the program a valid context.
        unsafe { (*self.ctx.skb.skb).mark }
    }

    /// Writes the MAC address of its destination.
    #[inline(always)]
    #[must_use]
    pub fn set_destination(&mut self, station: [u8; 6]) -> bool {
        self.ctx.store(0, &station, 0).is_ok()
    }
}

/// By how much a sum changes where `from` becomes `to`; both are a multiple of four bytes, and at most 512
/// (`bpf_csum_diff` in net/core/filter.c).
#[inline(always)]
pub fn change<const N: usize, const M: usize>(from: &[u8; N], to: &[u8; M]) -> Sum {
    let [from, to] = [from.as_ptr(), to.as_ptr()].map(|bytes| bytes.cast_mut().cast());
    // SAFETY: references are valid, and the kernel only reads what they are to.
    let change = unsafe { bpf_csum_diff(from, N as u32, to, M as u32, 0) };
    Sum::default().add_bytes(&(change as u32).to_ne_bytes())
}

/// A packet in the driver's buffer.
///
/// What lies beyond the first piece of a large one (`xdp.frags`) cannot be read, but counts: headers lie in the first.
pub struct Packet {
    ctx: XdpContext,
    /// Whether it may consist of several pieces. Known when the program is compiled, where speed counts.
    in_pieces: bool,
}

/// Whether packets may consist of several pieces, for functions that more than one program calls: 1 if so.
#[unsafe(no_mangle)]
pub static FRAMES: Global<u32> = Global::new(0);

impl Packet {
    /// The packet that a program was called for.
    #[inline(always)]
    pub const fn new(ctx: XdpContext) -> Self {
        Self { ctx, in_pieces: false }
    }

    /// The same, of a program that takes packets of several pieces.
    #[inline(always)]
    pub const fn in_pieces(ctx: XdpContext) -> Self {
        Self { ctx, in_pieces: true }
    }

    /// The packet's context, for a global function (see [`crate::guard`]): the kernel knows the type of its argument.
    #[inline(always)]
    pub const fn context(&self) -> *mut xdp_md {
        self.ctx.ctx
    }

    /// The packet of a context.
    #[inline(always)]
    pub fn in_context(context: *mut xdp_md) -> Self {
        Self { ctx: XdpContext::new(context), in_pieces: FRAMES.load() != 0 }
    }

    /// The packet's context, for a function that is called. As a number: of a pointer the compiler would rather pass what
    /// it points to, and the verifier takes the bounds of a packet for such only as they come out of the context.
    #[inline(always)]
    pub fn handle(&self) -> u64 {
        self.ctx.ctx as u64
    }

    /// The packet of a [`Self::handle`].
    #[inline(always)]
    pub fn of(handle: u64) -> Self {
        Self::in_context(handle as *mut xdp_md)
    }

    /// Bytes from the Ethernet header to the end.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        if self.in_pieces {
            // SAFETY: the kernel hands the program a valid context.
            unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) }
        } else {
            self.readable()
        }
    }

    /// Bytes from the Ethernet header on that can be read.
    #[inline(always)]
    pub fn readable(&self) -> u64 {
        (self.end() - self.start()) as u64
    }

    /// Index of the interface that the packet came by.
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        // SAFETY: the kernel hands the program a valid context.
        unsafe { (*self.ctx.ctx).ingress_ifindex }
    }

    /// Whether an interface carries an IP packet of so many bytes; where not, how many it carries (`bpf_check_mtu`, Linux
    /// 5.12). One that the kernel does not know carries nothing anyway, and is not judged.
    #[inline(always)]
    pub fn is_carried_by(&self, ifindex: u32, ip_len: u16) -> Result<(), u16> {
        // The length that is asked about; the interface's MTU afterwards.
        let mut bytes = u32::from(ip_len);
        // SAFETY: the context is the one that the kernel hands the program, and the helper writes these four bytes.
        let answer = unsafe { bpf_check_mtu(self.ctx.ctx.cast(), ifindex, &raw mut bytes, 0, 0) };
        if answer > 0 { Err(bytes as u16) } else { Ok(()) }
    }

    /// The header at `offset`, if the packet holds all of it.
    #[inline(always)]
    pub fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let at = self.checked::<T>(offset)?;
        // SAFETY: in bounds by the check; `T: Header` makes any bytes at any alignment a value.
        Some(unsafe { &*(at as *const T) })
    }

    /// The header at `offset`, to be changed.
    #[inline(always)]
    pub fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let at = self.checked::<T>(offset)?;
        // SAFETY: as in `header`; `&mut self` makes this the only reference.
        Some(unsafe { &mut *(at as *mut T) })
    }

    /// Copies the first `bytes` of the packet, in one piece or several, to `to`; at least one (Linux 5.18).
    #[inline(always)]
    #[must_use]
    pub fn copy(&self, to: &mut [u8], bytes: u32) -> bool {
        if bytes == 0 || bytes as usize > to.len() {
            return false;
        }
        // SAFETY: there is room for them, and the kernel checks that the packet has as many.
        unsafe { bpf_xdp_load_bytes(self.ctx.ctx, 0, to.as_mut_ptr().cast(), bytes) == 0 }
    }

    /// Makes the packet `bytes` longer at its front (shorter where negative). The bytes gained are not zeroed.
    #[inline(always)]
    #[must_use]
    pub fn grow_front(&mut self, bytes: i32) -> bool {
        // SAFETY: the kernel checks headroom and minimum length; no reference into the packet is alive.
        bytes == 0 || unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -bytes) } == 0
    }

    /// Takes away what lies beyond the first `bytes`, or fills up with zeros to as many.
    #[inline(always)]
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let longer = bytes as i32 - self.len() as i32;
        // SAFETY: the kernel checks the new length; no reference into the packet is alive.
        longer == 0 || unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, longer) } == 0
    }

    /// The sum of `N` bytes from `offset` on, a multiple of four and at most 512 (`bpf_csum_diff` in net/core/filter.c).
    #[inline(always)]
    pub fn sum<const N: usize>(&self, offset: usize) -> Option<Sum> {
        let at = self.start() + (offset & MAX_SUMMED);
        if at + N > self.end() {
            return None;
        }
        // SAFETY: in bounds by the check; there is nothing to be taken out.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, at as *mut u32, N as u32, 0) };
        Some(Sum::default().add_bytes(&(sum as u32).to_ne_bytes()))
    }

    #[inline(always)]
    fn checked<T>(&self, offset: usize) -> Option<usize> {
        let at = self.start() + (offset & MAX_OFFSET);
        if at + size_of::<T>() > self.end() { None } else { Some(at) }
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the kernel hands the program a valid context.
        unsafe { (*self.ctx.ctx).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.ctx.ctx).data_end as usize }
    }
}
