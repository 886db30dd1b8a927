//! The answer to a packet whose backend gives up its flows, or to a SYN that no backend has room for: a TCP reset that the
//! client accepts.
//!
//! The client's own packet says which sequence number it expects, in its acknowledgement (RFC 9293 section 3.10.7.1), so
//! nothing needs to be known of the connection. A SYN has none, and is acknowledged itself.

use lb_common::counter::Reason;

use super::{
    INTERNAL,
    segment::{self, Heading},
};
use crate::{
    packet::{Packet, Tcp},
    parse::{self, FLAG_ACK, FLAG_RST, Fault},
    verdict::Verdict,
};

/// Makes the packet a reset to its sender; gives why not.
#[inline(never)]
pub(super) fn make(packet: u64) -> Option<Reason> {
    turn(&mut Packet::of(packet)).err().map(Verdict::reason)
}

#[inline(always)]
fn turn(packet: &mut Packet) -> Result<(), Verdict> {
    let link = parse::link(packet).ok_or(INTERNAL)?;
    let tcp_at = parse::ip(packet, link).map_err(|_: Fault| INTERNAL)?.payload_at;
    let tcp = answering(packet.header::<Tcp>(tcp_at).ok_or(INTERNAL)?);
    segment::make(packet, link, Heading::Back, tcp, [])
}

/// RST alone, with the sequence number that the client has acknowledged up to; where it has acknowledged nothing, with an
/// acknowledgement of its SYN. It carries nothing and announces no window.
#[inline(always)]
fn answering(client: &Tcp) -> Tcp {
    let reset =
        Tcp { source_port: client.destination_port, destination_port: client.source_port, ..Tcp::default() };
    if client.flags & FLAG_ACK != 0 {
        return Tcp { sequence: client.acknowledgement, flags: FLAG_RST, ..reset };
    }
    let after_syn = u32::from_be_bytes(client.sequence).wrapping_add(1).to_be_bytes();
    Tcp { acknowledgement: after_syn, flags: FLAG_RST | FLAG_ACK, ..reset }
}
