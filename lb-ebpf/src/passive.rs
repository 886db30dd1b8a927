//! What is counted of flows that open with a backend (`lb_common::passive`), beside SYNs that are sent again
//! ([`crate::remember`]): resets and ICMP errors, as far as they come back to the balancer.
//!
//! ```text
//! a tunnel's error:    ICMP, to the outer source | quote: outer header | perhaps UDP, GUE | client to VIP, ports
//! a translated flow's: ICMP, to the pool         | quote: pool to backend, ports
//! ```
//!
//! Anybody can send such an error, so one counts only where it quotes a flow that is just being opened with the backend that it
//! was sent to, and once for each flow.

use aya_ebpf::bindings::xdp_md;
use lb_common::{address::Address, flow::Flow, knobs::FEATURE_NAT, nat::Side, passive::Sign};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    encap::{IPIP, IPV6_IN_IP},
    gue,
    icmp::error::quote::{self, Places, Quoted},
    maps::{BACKENDS, OPENINGS, SERVICES, SIGNS, connection, session, uses},
    packet::{MAX_OFFSET, Packet},
    parse::{FRAGMENT_OFFSET, TCP, UDP},
};

/// Counts a sign of a backend. A global function, so that the verifier walks it once: see [`crate::guard`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn count_sign(id: u32, sign: u32) -> u32 {
    let Some(signs) = SIGNS.get_ptr_mut(id) else { return 0 };
    // SAFETY: this CPU's own value, and a program is not interrupted by another one on the same CPU and map.
    unsafe {
        match sign {
            sign if sign == Sign::Opened as u32 => (*signs).opened += 1,
            sign if sign == Sign::Again as u32 => (*signs).again += 1,
            sign if sign == Sign::Refused as u32 => (*signs).refused += 1,
            _ => (*signs).unreachable += 1,
        }
    }
    1
}

/// Counts that a flow fails to open with a backend, if it has not failed before; `flow` as its client's packets arrive.
#[inline(always)]
pub fn fail(flow: &Flow, backend: &Address, sign: Sign) -> Option<()> {
    let entry = connection(&OPENINGS, flow).filter(|entry| entry.again == 0)?;
    let id = SERVICES.get(entry.service)?.first_backend.wrapping_add(u32::from(entry.backend));
    if BACKENDS.get(id)?.address.halves() == backend.halves() {
        entry.again = 1;
        count_sign(id, sign as u32);
    }
    Some(())
}

/// Takes in an ICMP error that says of a backend that it cannot be reached. Gives 0, since a global function has to give
/// something.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn passive_heed(context: *mut xdp_md) -> u32 {
    let _ = heed(&Packet::in_context(context));
    0
}

#[inline(always)]
fn heed(packet: &Packet) -> Option<()> {
    let (places, ip, quoted) = quote::read(packet)?;
    if !says_unreachable(packet, &places)? {
        return None;
    }
    if quoted.protocol != TCP {
        return fail(&tunnelled(packet, &places, &quoted)?, &quoted.destination, Sign::Unreachable);
    }
    if !uses(FEATURE_NAT) {
        return None;
    }
    let flow = quoted.flow(packet, &ip, places.end)?;
    let (half, _) = session(&flow).filter(|(half, _)| half.side == Side::Backend as u8)?;
    fail(&half.other, &flow.source, Sign::Unreachable)
}

/// Destination unreachable, but for narrow ways (RFC 792, RFC 4443 section 3.1), and what IPv6 says of a protocol that a host
/// does not know: a parameter problem (RFC 8200 section 4).
#[inline(always)]
fn says_unreachable(packet: &Packet, places: &Places) -> Option<bool> {
    let [kind, code, ..] = *packet.header::<[u8; 8]>(places.message_at)?;
    Some(if places.is_v4 { kind == 3 && code != 4 } else { kind == 1 || kind == 4 && code == 1 })
}

/// The flow of a packet that was quoted with its tunnel's header.
#[inline(always)]
fn tunnelled(packet: &Packet, places: &Places, quoted: &Quoted) -> Option<Flow> {
    let (more, protocol) = if quoted.protocol == UDP {
        gue::inside_to_any_port(packet, quoted.ports_at)?
    } else {
        (0, quoted.protocol)
    };
    let at = quoted.ports_at + more;
    if at > MAX_OFFSET {
        return None;
    }
    let (source, destination, ports_at) = match protocol {
        IPIP => {
            let header = packet.header::<Ipv4Hdr>(at)?;
            let is_later = u16::from_be_bytes(header.frags) & FRAGMENT_OFFSET != 0;
            if header.proto != TCP || is_later {
                return None;
            }
            let length = usize::from(header.vihl & 0x0f) * 4;
            (Address::from_v4(header.src_addr), Address::from_v4(header.dst_addr), at + length)
        }
        IPV6_IN_IP => {
            let header = packet.header::<Ipv6Hdr>(at)?;
            if header.next_hdr != TCP {
                return None;
            }
            (Address::from_v6(header.src_addr), Address::from_v6(header.dst_addr), at + Ipv6Hdr::LEN)
        }
        _ => return None,
    };
    if ports_at > MAX_OFFSET || ports_at + 4 > places.end {
        return None;
    }
    let [a, b, c, d] = *packet.header::<[u8; 4]>(ports_at)?;
    Some(Flow {
        source,
        destination,
        source_port: [a, b],
        destination_port: [c, d],
        protocol: u32::from(TCP),
    })
}
