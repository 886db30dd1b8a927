//! What a QUIC packet's header says: whether it opens a connection, and which server its connection id names.
//!
//! Only what goes on has a connection id that the server has chosen; where that names a backend which may keep its flows,
//! nothing else is asked, so a client that changes its address stays where it is. Anything else of QUIC is placed like
//! TCP: by the flow's hash and what is remembered of it.
//!
//! The header is read from the packet anew, in a function of its own: the facts that other packets have stay as few as
//! they are.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    backend::{Backend, Forwarding, OldFlows},
    policy::OPTION_QUIC,
    quic::{Kind, Quic, ROUTED, ServerId, ServerKey},
    slot,
};

use crate::{
    lookup::Found,
    maps::{BACKENDS, POLICIES, SERVICES, server},
    packet::Packet,
    parse::{self, FLAG_PSH, FLAG_SYN},
};

/// What a header says.
#[derive(Clone, Copy)]
pub struct Told {
    /// Whether it opens a connection or goes on, as TCP would say it.
    pub flags: u8,
    /// The index of the backend that it names; [`slot::NONE`] where it names none.
    pub backend: u16,
}

/// What the packet's header says, where its service is QUIC's.
#[inline(always)]
pub fn told(packet: &Packet, found: Found) -> Option<Told> {
    if found.service.options & OPTION_QUIC == 0 {
        return None;
    }
    let word = quic_told(packet.context(), found.id);
    Some(Told { flags: (word >> 16) as u8, backend: word as u16 })
}

/// As [`told`], in one word: flags above the backend. A global function, see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn quic_told(context: *mut xdp_md, service: u32) -> u64 {
    let Some((kind, connection_id)) = header(&Packet::in_context(context)) else {
        return u64::from(FLAG_PSH) << 16 | u64::from(slot::NONE);
    };
    let flags = if matches!(kind, Kind::Opens) { FLAG_SYN } else { FLAG_PSH };
    let named = match connection_id {
        Some(connection_id) if matches!(kind, Kind::GoesOn) => backend(service, connection_id),
        _ => None,
    };
    u64::from(flags) << 16 | u64::from(named.unwrap_or(slot::NONE))
}

/// The packet's kind, and the beginning of its destination connection id if it may be long enough to name anybody
/// (RFC 9000 section 17, RFC 8999 section 5).
#[inline(always)]
fn header(packet: &Packet) -> Option<(Kind, Option<[u8; ROUTED]>)> {
    let payload = parse::udp_payload(packet)?;
    // Two bytes: the verifier learns nothing from a check for one.
    let [first, _] = *packet.header::<[u8; 2]>(payload.at)?;
    let (kind, id_at) = if first & 0x80 == 0 {
        (Kind::of(first, 0), payload.at + 1)
    } else {
        let [_, version @ .., _] = *packet.header::<[u8; 6]>(payload.at)?;
        (Kind::of(first, u32::from_be_bytes(version)), payload.at + 6)
    };
    // A packet ends with a tag of 16 bytes, so even the shortest id has as many behind its first.
    let connection_id = packet.header::<[u8; ROUTED]>(id_at).filter(|_| id_at + ROUTED <= payload.end);
    Some((kind, connection_id.copied()))
}

/// The backend that a connection id names, if it may keep its flows.
#[inline(always)]
fn backend(service: u32, connection_id: [u8; ROUTED]) -> Option<u16> {
    let Quic { config_id, server_id_length, .. } = POLICIES.get(service)?.quic;
    if server_id_length == 0 || connection_id[0] >> 5 != config_id {
        return None;
    }
    let id = ServerId::in_connection_id(connection_id, server_id_length);
    let index = server(ServerKey { id, service, _pad: 0 })?;
    let first = SERVICES.get(service)?.first_backend;
    BACKENDS.get(first.wrapping_add(u32::from(index))).filter(|entry| keeps_its_flows(entry)).map(|_| index)
}

/// Whether a backend can be given packets of flows that it has, and has not given them up.
#[inline(always)]
pub fn keeps_its_flows(backend: &Backend) -> bool {
    backend.old_flows == OldFlows::Keep as u8 && backend.forwarding != Forwarding::Unresolved as u8
}
