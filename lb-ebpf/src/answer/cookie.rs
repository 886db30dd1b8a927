//! The answer to a SYN of a service that is asked for too many connections: a SYN-ACK whose sequence number is a cookie
//! (RFC 4987 section 3.6). Nothing is remembered of it.
//!
//! It offers neither window scaling nor timestamps nor selective acknowledgements: a cookie has no room for what the client
//! offers of them, and a backend that is told of none sends none, so that nothing but two numbers has to be translated.

use lb_common::counter::Reason;

use super::{
    INTERNAL, is_somebody_v4, is_somebody_v6, refuse_nobody,
    segment::{self, Heading, mss_option},
};
use crate::{
    cookie, maps, mss,
    packet::{Packet, Tcp},
    parse::{self, FLAG_ACK, FLAG_SYN, IPV4_BE},
    verdict::Verdict,
};

/// What is announced where nothing else was asked for: what Ethernet carries.
const MSS_V4: u16 = 1460;
const MSS_V6: u16 = 1440;

/// What a client takes that announces nothing: as the kernel has it (`TCP_MSS_DEFAULT`, and what follows from
/// `IPV6_MIN_MTU`).
const UNTOLD_MSS_V4: u16 = 536;
const UNTOLD_MSS_V6: u16 = 1220;

/// The window that is opened: what comes before the backend has answered is sent for nothing.
const WINDOW: u16 = 4 * 1460;

/// Makes the packet the answer, which announces `own_mss`; gives why not. In three functions, each with few things on its
/// stack: see [`crate::icmp::error`].
#[inline(always)]
pub(super) fn make(packet: u64, own_mss: u16) -> Option<Reason> {
    read(packet).or_else(bake).or_else(|| turned(packet, own_mss))
}

/// Reads the SYN; gives why it is not answered.
#[inline(never)]
fn read(packet: u64) -> Option<Reason> {
    ask(&Packet::of(packet)).err().map(Verdict::reason)
}

#[inline(always)]
fn ask(packet: &Packet) -> Result<(), Verdict> {
    let tcp_at = cookie::read(packet).ok_or(INTERNAL)?;
    let work = maps::cookie_work().ok_or(INTERNAL)?;
    let source = work.source();
    let (is_somebody, untold) = if source.is_v4() {
        (is_somebody_v4(source.v4_octets()), UNTOLD_MSS_V4)
    } else {
        (is_somebody_v6(source.octets), UNTOLD_MSS_V6)
    };
    refuse_nobody(is_somebody)?;
    let end = tcp_at + usize::from(work.tcp.offset >> 4) * 4;
    let told = mss::announced(packet, tcp_at, end);
    work.mss = mss_option(if told == 0 { untold } else { told });
    Ok(())
}

/// Has the kernel make the cookie; gives why it does not.
#[inline(never)]
fn bake() -> Option<Reason> {
    if cookie::made().is_some() { None } else { Some(Reason::Internal) }
}

#[inline(never)]
fn turned(packet: u64, own_mss: u16) -> Option<Reason> {
    turn(&mut Packet::of(packet), own_mss).err().map(Verdict::reason)
}

#[inline(always)]
fn turn(packet: &mut Packet, own_mss: u16) -> Result<(), Verdict> {
    let link = parse::link(packet).ok_or(INTERNAL)?;
    let work = maps::cookie_work().ok_or(INTERNAL)?;
    let client = &work.tcp;
    let answer = Tcp {
        source_port: client.destination_port,
        destination_port: client.source_port,
        sequence: work.splice.cookie.to_be_bytes(),
        acknowledgement: u32::from_be_bytes(client.sequence).wrapping_add(1).to_be_bytes(),
        flags: FLAG_SYN | FLAG_ACK,
        window: WINDOW.to_be_bytes(),
        ..Tcp::default()
    };
    let usual = if link.ether_type_be == IPV4_BE { MSS_V4 } else { MSS_V6 };
    let own_mss = if own_mss == 0 { usual } else { own_mss };
    segment::make(packet, link, Heading::Back, answer, mss_option(own_mss))
}
