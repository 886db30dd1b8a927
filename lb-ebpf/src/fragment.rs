//! Fragments for a VIP whose services want them: a later one goes where its first one went, whose ports are remembered.
//!
//! Nothing is put together. The first fragment is a packet like any other; a later one is a packet of the same flow that
//! neither opens nor ends it. One that comes before its first is dropped by name, since nobody knows yet whose it is.
//!
//! Everything is read anew in a function of its own: fragments are few.

use aya_ebpf::bindings::xdp_md;
use lb_common::fragment::{FragmentKey, Fragmented, REASSEMBLY_NS};
use network_types::ip::Ipv4Hdr;

use crate::{
    maps::{first_fragment, note_first_fragment, now_coarse_ns},
    packet::Packet,
    parse::{self, FLAG_PSH, FRAGMENT_OFFSET, IPV4_BE, Ip, Link, TCP, UDP},
};

/// What a packet is of the one that was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole = 0,
    /// The first fragment: it has the ports.
    First = 1,
    /// Another one: behind its IP header is nothing that could be read.
    Later = 2,
}

/// What a fragment's flow is, besides its addresses; or why that is not known. In one word, since a function that is called
/// gives back no more.
///
/// ```text
///  63  48    40         32                 16            0
/// +--+--+-----+----------+------------------+-------------+
/// |1 |L | TCP | protocol | destination port | source port |   ports in network byte order, L: later
/// +--+--+-----+----------+------------------+-------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Told(u64);

impl Told {
    /// It is of a protocol that no service has.
    pub const UNWANTED: Self = Self(0);
    /// The first one was not seen.
    pub const NO_FIRST: Self = Self(1);
    /// The first one is too short for its ports.
    pub const TRUNCATED: Self = Self(2);

    #[inline(always)]
    const fn new(part: Part, flags: u8, protocol: u32, ports: u32) -> Self {
        let later = matches!(part, Part::Later) as u64;
        Self(1 << 63 | later << 48 | (flags as u64) << 40 | (protocol as u64 & 0xff) << 32 | ports as u64)
    }

    /// Which part it is.
    #[inline(always)]
    pub const fn part(self) -> Part {
        if self.0 >> 48 & 1 == 0 { Part::First } else { Part::Later }
    }

    /// Source port in the lower half and destination port in the upper one, each in network byte order.
    #[inline(always)]
    pub const fn ports(self) -> u32 {
        self.0 as u32
    }

    /// TCP's control bits; of a later fragment, that the connection goes on.
    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// Transport protocol.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

/// What is known of a packet that is a fragment.
#[inline(always)]
pub fn told(packet: &Packet) -> Told {
    Told(fragment_told(packet.context()))
}

/// As [`told`]. A global function, see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn fragment_told(context: *mut xdp_md) -> u64 {
    flow(&Packet::in_context(context)).0
}

#[inline(always)]
fn flow(packet: &Packet) -> Told {
    let Some(link) = parse::link(packet) else { return Told::UNWANTED };
    let Ok(ip) = parse::ip_of_any::<true>(packet, link) else { return Told::UNWANTED };
    let Some(fragment) = fragment(packet, link, &ip) else { return Told::TRUNCATED };
    if fragment.is_later { later(fragment.key) } else { first(packet, link, &ip, &fragment) }
}

/// A later fragment has its first one's flow, and says nothing of its connection.
#[inline(always)]
fn later(key: FragmentKey) -> Told {
    let Some(first) = first_fragment(key) else { return Told::NO_FIRST };
    if now_coarse_ns().wrapping_sub(first.seen_ns) > REASSEMBLY_NS {
        return Told::NO_FIRST;
    }
    let flags = if first.protocol == u32::from(TCP) { FLAG_PSH } else { 0 };
    Told::new(Part::Later, flags, first.protocol, first.ports)
}

#[inline(always)]
fn first(packet: &Packet, link: Link, ip: &Ip, fragment: &Fragment) -> Told {
    let Ok((protocol, payload_at)) = fragment.payload(packet, link) else { return Told::UNWANTED };
    if protocol != TCP && protocol != UDP {
        return Told::UNWANTED;
    }
    let end = link.len() + usize::from(ip.length);
    let told = Told(transport(packet.handle(), payload_at as u64, end as u64, u64::from(protocol)));
    if told != Told::TRUNCATED {
        let (ports, protocol) = (told.ports(), u32::from(protocol));
        note_first_fragment(fragment.key, Fragmented { seen_ns: now_coarse_ns(), ports, protocol });
    }
    told
}

/// What the transport header of a first fragment says. Another function once more: with everything else that is known at
/// this point the compiler would keep the packet's bounds as half words, which the verifier does not take for bounds.
#[inline(never)]
fn transport(handle: u64, at: u64, end: u64, protocol: u64) -> u64 {
    let packet = Packet::of(handle);
    let ports_and_flags = if protocol == u64::from(TCP) {
        parse::tcp(&packet, at as usize, end as usize)
    } else {
        parse::udp(&packet, at as usize, end as usize)
    };
    let Some((ports, flags)) = ports_and_flags else { return Told::TRUNCATED.0 };
    Told::new(Part::First, flags, protocol as u32, ports).0
}

/// What a fragment says of itself.
struct Fragment {
    key: FragmentKey,
    is_later: bool,
    /// What comes behind.
    next: u8,
    next_at: usize,
}

#[inline(always)]
fn fragment(packet: &Packet, link: Link, ip: &Ip) -> Option<Fragment> {
    let key = FragmentKey { source: ip.source, destination: ip.destination, identification: 0, protocol: 0 };
    if link.ether_type_be == IPV4_BE {
        let header = packet.header::<Ipv4Hdr>(link.len())?;
        let identification = u32::from(u16::from_le_bytes(header.id));
        let key = FragmentKey { identification, protocol: u32::from(ip.protocol), ..key };
        let is_later = u16::from_be_bytes(header.frags) & FRAGMENT_OFFSET != 0;
        return Some(Fragment { key, is_later, next: ip.protocol, next_at: ip.payload_at });
    }
    let [next, _, offset @ .., a, b, c, d] = *packet.header::<[u8; 8]>(ip.payload_at)?;
    let key = FragmentKey { identification: u32::from_le_bytes([a, b, c, d]), ..key };
    let is_later = u16::from_be_bytes(offset) & 0xfff8 != 0;
    Some(Fragment { key, is_later, next, next_at: ip.payload_at + 8 })
}

impl Fragment {
    /// The transport protocol of a first fragment, and where its header begins.
    #[inline(always)]
    fn payload(&self, packet: &Packet, link: Link) -> Result<(u8, usize), ()> {
        if link.ether_type_be == IPV4_BE {
            return Ok((self.next, self.next_at));
        }
        parse::ipv6_payload(packet, self.next, self.next_at).map_err(drop)
    }
}
