//! What comes to a VIP by ICMP, and where backends are judged by errors also to others: a rare way, which reads the packet anew from its start and is compiled once, apart from the
//! ways of other packets.

pub mod error;

use lb_common::{
    counter::Reason,
    knobs::{FEATURE_ECHO, FEATURE_PASSIVE},
    policy::OPTION_ECHO,
};

use crate::{
    maps::uses,
    packet::Packet,
    parse::{self, Fault, IPV4_BE},
    passive::passive_heed,
    verdict::Verdict,
};

/// IANA's number of ICMP.
pub const ICMP: u8 = 1;
/// IANA's number of ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// Types of echo messages (RFC 792).
const ECHO_REQUEST: u8 = 8;
pub const ECHO_REPLY: u8 = 0;
/// The same in IPv6 (RFC 4443 section 4).
const ECHO_REQUEST_V6: u8 = 128;
pub const ECHO_REPLY_V6: u8 = 129;

/// Bytes of an ICMP header: without all of them there is nothing to answer or to forward.
const MESSAGE_LEN: usize = 8;

/// What is to become of a packet for a VIP that has no ports, where `asked` tells the VIP's options. An error goes to the
/// backend of the flow that it is about; what nobody here understands passes.
#[inline(always)]
pub fn verdict<const COOKIES: bool>(packet: &Packet, asked: Verdict) -> Verdict {
    if uses(FEATURE_PASSIVE) {
        passive_heed(packet.context());
        if matches!(asked.reason(), Reason::NotOurs) {
            return Verdict::pass(Reason::NotOurs);
        }
    }
    let answers = uses(FEATURE_ECHO) && asked.detail() as u8 & OPTION_ECHO != 0;
    if answers && is_echo(packet.handle()) {
        return Verdict::answer(Reason::Echo, 0);
    }
    error::forward::<COOKIES>(packet)
}

/// Whether the packet is a ping.
#[inline(never)]
fn is_echo(packet: u64) -> bool {
    message(&Packet::of(packet)).is_some_and(|(protocol, kind)| {
        (protocol, kind) == (ICMP, ECHO_REQUEST) || (protocol, kind) == (ICMPV6, ECHO_REQUEST_V6)
    })
}

/// Protocol and type of an ICMP message.
#[inline(always)]
fn message(packet: &Packet) -> Option<(u8, u8)> {
    let link = parse::link(packet)?;
    let ip = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?;
    let is_v4 = link.ether_type_be == IPV4_BE;
    let kind = packet.header::<[u8; MESSAGE_LEN]>(ip.payload_at)?[0];
    (is_v4 == (ip.protocol == ICMP)).then_some((ip.protocol, kind))
}
