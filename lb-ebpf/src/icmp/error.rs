//! Errors about a flow: they go where the flow's packets go, as they came.
//!
//! ```text
//! +------------------------+---------------+-----------------------------------+------------------+
//! | IP, a router to VIP    | ICMP, 8 bytes | quote: IP, VIP to client          | its ports, maybe |
//! |                        |               | which the flow's backend has sent | more of it       |
//! +------------------------+---------------+-----------------------------------+------------------+
//! ```
//!
//! What is quoted, turned round, is the flow. A quote that cannot be read, or is of no service, is none of a backend's
//! business and passes. Guards are not asked: who sends an error is a router, and it opens nothing.

pub mod quote;

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    address::Address,
    backend::{Backend, Forwarding},
    counter::Reason,
    flow::Flow,
    knobs::FEATURE_NAT,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    emit, encap,
    fragment::Part,
    gue,
    lookup::{self, Found},
    maps::{BACKEND_COUNTERS, SERVICE_COUNTERS, SERVICES, count, error_flow, note_error_flow, uses},
    nat,
    packet::Packet,
    parse::{self, Facts, IPV4_BE, IPV6_BE, Link, UDP},
    select::{self, Selected},
    verdict::Verdict,
};

/// What cannot be once a holder was found.
const INTERNAL: Verdict = Verdict::drop(Reason::Internal);

/// What nobody asks for who sends a packet.
const NO_FLOW: Flow = Flow {
    source: Address { octets: [0; 16] },
    destination: Address { octets: [0; 16] },
    source_port: [0; 2],
    destination_port: [0; 2],
    protocol: 0,
};

/// Sends an error to the backend of the flow that it is about; the verdict on whatever else it may be.
///
/// In several global functions (see [`crate::guard`]), each with few things on its stack: the kernel gives 512 bytes to a
/// function and all that wait for it, and most of them are the program's own.
#[inline(always)]
pub(super) fn forward<const COOKIES: bool>(packet: &Packet) -> Verdict {
    let context = packet.context();
    if !icmp_error_noted(context) {
        return Verdict::pass(Reason::OtherProtocol);
    }
    if uses(FEATURE_NAT)
        && let Some(verdict) = nat::error::<COOKIES>(packet)
    {
        return verdict;
    }
    let holder = Holder(icmp_error_holder());
    if holder == Holder::NOBODY {
        return Verdict::pass(Reason::OtherProtocol);
    }
    let verdict = Verdict::from_word(icmp_error_framed(context, holder.0));
    if verdict.is_forward() && !icmp_error_wrapped(context, holder.0) { INTERNAL } else { verdict }
}

/// Notes the flow that an error is about, if it is one.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn icmp_error_noted(context: *mut xdp_md) -> bool {
    match quote::flow(&Packet::in_context(context)) {
        Some(flow) => note_error_flow(flow),
        None => false,
    }
}

/// Who has the flow that was noted: a [`Holder`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn icmp_error_holder() -> u64 {
    holder().unwrap_or(Holder::NOBODY).0
}

#[inline(always)]
fn holder() -> Option<Holder> {
    let flow = error_flow()?;
    let found = lookup::of_flow(flow)?;
    let (index, hash) = select::holder(found, flow).ok()?;
    Some(Holder::new(found.id, index, hash))
}

/// Gives an error the frame that it leaves in, with room for an outer header: everything that can fail.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn icmp_error_framed(context: *mut xdp_md, holder: u64) -> u64 {
    let (Ok(verdict) | Err(verdict)) = framed(&mut Packet::in_context(context), Holder(holder));
    verdict.to_word()
}

#[inline(always)]
fn framed(packet: &mut Packet, holder: Holder) -> Result<Verdict, Verdict> {
    let bytes = packet.len();
    let selected = holder.selected()?;
    let verdict = if selected.backend.forwarding == Forwarding::Local as u8 {
        Verdict::pass(Reason::Local)
    } else if selected.backend.forwarding == Forwarding::Nat as u8 {
        // A backend knows nothing of the flow but by its session.
        return Err(Verdict::drop(Reason::NoSession));
    } else {
        frame(packet, selected.backend)?
    };
    count(&SERVICE_COUNTERS, holder.service(), bytes);
    count(&BACKEND_COUNTERS, selected.id, bytes);
    Ok(verdict)
}

#[inline(always)]
fn frame(packet: &mut Packet, backend: &Backend) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(INTERNAL)?;
    let facts = facts(packet, link, link.len()).ok_or(INTERNAL)?;
    let outer = usize::from(backend.overhead());
    let ether_type_be = if outer == 0 { link.ether_type_be } else { outer_type_be(backend) };
    let egress = emit::egress_link(packet, &facts, backend, ether_type_be);
    emit::make_room_for(packet, &facts, backend, egress, outer).map_err(unanswered)?;
    emit::frame(packet, emit::macs(backend), egress)?;
    Ok(emit::leave(packet, backend.ifindex))
}

/// Fills the room that [`icmp_error_framed`] has made.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn icmp_error_wrapped(context: *mut xdp_md, holder: u64) -> bool {
    wrap(&mut Packet::in_context(context), Holder(holder)).is_some()
}

#[inline(always)]
fn wrap(packet: &mut Packet, holder: Holder) -> Option<()> {
    let selected = &holder.selected().ok()?;
    let (backend, outer) = (selected.backend, usize::from(selected.backend.overhead()));
    if outer == 0 {
        return Some(());
    }
    let link = parse::link(packet)?;
    let facts = &facts(packet, link, link.len() + outer)?;
    let (protocol, inside) = if gue::carries(backend) {
        (UDP, gue::inside_of(backend))
    } else {
        (encap::inner_protocol(facts), 0)
    };
    if link.ether_type_be == IPV4_BE {
        emit::write(packet, link.len(), encap::ipv4_header(facts, selected, protocol, inside as u16)).ok()?;
    } else {
        emit::write(packet, link.len(), encap::ipv6_header(facts, selected, protocol, inside as u16)).ok()?;
    }
    gue::write(packet, link.len() + outer - inside, facts, selected, inside).ok()
}

/// EtherType of the outer header of a tunnel.
#[inline(always)]
fn outer_type_be(backend: &Backend) -> u16 {
    if backend.is_behind_ipv4() { IPV4_BE } else { IPV6_BE }
}

/// What has to be known of the error, an IP packet at `at`, to send it. It has been read before, so no more than that is
/// read again.
#[inline(always)]
fn facts(packet: &Packet, link: Link, at: usize) -> Option<Facts> {
    let [first, second, ..] = *packet.header::<[u8; 20]>(at)?;
    let is_v4 = first >> 4 == 4;
    let (ip_len, traffic_class) = if is_v4 {
        (u16::from_be_bytes(packet.header::<Ipv4Hdr>(at)?.tot_len), second)
    } else {
        let length = u16::from_be_bytes(packet.header::<Ipv6Hdr>(at)?.payload_len);
        (length.saturating_add(Ipv6Hdr::LEN as u16), first << 4 | second >> 4)
    };
    let link = link.around(if is_v4 { IPV4_BE } else { IPV6_BE });
    Some(Facts { link, flow: NO_FLOW, ip_len, traffic_class, flags: 0, part: Part::Whole })
}

/// An error is no answer to an error (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)).
#[inline(always)]
fn unanswered(verdict: Verdict) -> Verdict {
    if verdict.is_answer() { Verdict::drop(Reason::ErrorLost) } else { verdict }
}

/// Who has a flow, in one word.
///
/// ```text
///  63        48         32                    0
/// +------------+----------+--------------------+
/// | some hash  | backend  | service            |   the backend's index within the service
/// +------------+----------+--------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
struct Holder(u64);

impl Holder {
    /// It is a flow of no service.
    const NOBODY: Self = Self(u64::MAX);

    #[inline(always)]
    const fn new(service: u32, index: u16, hash: u64) -> Self {
        Self(hash << 48 | (index as u64) << 32 | service as u64)
    }

    #[inline(always)]
    const fn service(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn index(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// What varies the outer header: the same for all errors about a flow, which is all that matters.
    #[inline(always)]
    const fn hash(self) -> u64 {
        let some = self.0 >> 48;
        some << 16 | some
    }

    #[inline(always)]
    fn selected(self) -> Result<Selected, Verdict> {
        let service = SERVICES.get(self.service()).ok_or(INTERNAL)?;
        select::selected(Found { id: self.service(), service }, self.index(), self.hash())
    }
}
