//! Address translation: a client's packet goes to its backend from an address of the pool, and what comes back there goes
//! to the client from the VIP.
//!
//! A packet is read, its session found in [`session`], its new addresses written by [`rewrite`]: each a global function, see
//! [`crate::guard`], so that the ways of other packets carry nothing for them.

mod rewrite;
mod session;
mod splice;

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    counter::Reason,
    flow::Flow,
    knobs::FEATURE_COOKIES,
    nat::{Half, SPLICED, Way},
};

use crate::{
    capture, emit, encap,
    fragment::Part,
    maps::{self, BACKEND_COUNTERS, BACKENDS, SERVICE_COUNTERS, count, count_opened, uses},
    packet::{Ethernet, Macs, Packet, Tag},
    parse::{self, FLAG_ACK, FLAG_SYN, Facts, Fault, Ip, Link, TCP, UDP},
    select::Selected,
    verdict::Verdict,
};

/// What cannot be once a packet has been parsed.
const INTERNAL: Verdict = Verdict::drop(Reason::Internal);

/// Bytes of IP packet that every interface here carries, so that most packets need not be asked about: the largest that a host
/// has to take in (RFC 791 section 3.1).
const CARRIED_ANYWHERE: u16 = 576;

/// What one function leaves for the next. In a map's value of each CPU: the stack that the functions share with their
/// caller (512 bytes for all frames, `MAX_BPF_STACK`) has no room for it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Work {
    /// The packet's flow, as it arrived.
    flow: Flow,
    /// That of the other direction's packets, as they arrive.
    other: Flow,
    /// What is entered into a map.
    half: Half,
    /// The way to the client.
    way: Way,
    /// Bytes of the frame, as it arrived.
    bytes: u64,
    /// A try that has met an opening, of those for a port; beyond all of them: none has.
    spare: u64,
}

/// Sends a client's packet to its backend: the one of its session, otherwise the one that was selected. Counts it, since
/// only here it is known whose it is.
#[inline(always)]
pub fn forward<const COOKIES: bool, const WATCHED: bool>(
    packet: &Packet,
    service: u32,
    selected: &Selected,
    opens: bool,
) -> Verdict {
    let context = packet.context();
    let told = Told(nat_read(context));
    if !told.is_read() {
        return INTERNAL;
    }
    if COOKIES && uses(FEATURE_COOKIES) {
        return splice::forward(packet, told.of_flow_that(opens), service, selected);
    }
    let mut found = Found(nat_session(told.0, service, selected.id));
    if found.is_new() {
        found = Found(nat_begin(service, selected.id, selected.hash));
    }
    if !found.is_session() {
        return Verdict::from_word(found.0);
    }
    if WATCHED {
        capture::note_backend(found.backend());
    }
    let verdict = translated(packet, nat_send(context, found.backend()));
    if verdict.leaves() {
        nat_count(service, found.backend(), opens);
    }
    verdict
}

/// Sends what came to an address of the pool to the client whose it is.
#[inline(always)]
pub fn back<const COOKIES: bool>(packet: &Packet) -> Verdict {
    let told = Told(nat_read(packet.context()));
    if !told.is_read() {
        return INTERNAL;
    }
    if COOKIES && uses(FEATURE_COOKIES) {
        return splice::back(packet, told);
    }
    let found = Found(nat_reply(told.0));
    if !found.is_session() {
        return Verdict::from_word(found.0);
    }
    translated(packet, nat_return(packet.context()))
}

/// Sends an ICMP error about a translated flow to the other side, if the flow that was noted of it is one: what the error
/// quotes is what that side has sent, so it is translated too.
#[inline(always)]
pub fn error<const COOKIES: bool>(packet: &Packet) -> Option<Verdict> {
    let context = packet.context();
    let splices = COOKIES && uses(FEATURE_COOKIES);
    let found = Found(nat_error(context));
    if !found.is_session() {
        return None;
    }
    let for_client = found.is_reply();
    let verdict =
        Verdict::from_word(if for_client { nat_return(context) } else { nat_send(context, found.backend()) });
    if verdict.is_answer() {
        // An error is no answer to an error (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)).
        return Some(Verdict::drop(Reason::ErrorLost));
    }
    if verdict.leaves() && (nat_error_ends(context) == 0 || nat_error_quote(context) == 0) {
        return Some(INTERNAL);
    }
    if splices && verdict.leaves() && splice::splice_quote(context, found.0) == 0 {
        return Some(INTERNAL);
    }
    if verdict.leaves() && !for_client {
        nat_count(found.service(), found.backend(), false);
    }
    Some(verdict)
}

/// The verdict in a word, on a packet that gets its new addresses now if it is forwarded.
#[inline(always)]
fn translated(packet: &Packet, word: u64) -> Verdict {
    let verdict = Verdict::from_word(word);
    if verdict.leaves() && nat_ends(packet.context()) == 0 { INTERNAL } else { verdict }
}

/// What was read of a packet beside its flow, in one word: its control bits, and that it was read.
#[derive(Clone, Copy)]
struct Told(u64);

impl Told {
    const READ: u64 = 1 << 8;
    /// It opens a flow, though it does not say so: it brings back a cookie.
    const COOKIE: u64 = 1 << 9;

    const fn is_read(self) -> bool {
        self.0 & Self::READ != 0
    }

    const fn flags(self) -> u8 {
        self.0 as u8
    }

    /// The same of a packet whose flow is taken for one that `opens` with it.
    const fn of_flow_that(self, opens: bool) -> Self {
        if opens && self.flags() & FLAG_SYN == 0 { Self(self.0 | Self::COOKIE) } else { self }
    }

    const fn has_cookie(self) -> bool {
        self.0 & Self::COOKIE != 0
    }

    /// Whether the packet opens its flow.
    const fn opens(self) -> bool {
        self.has_cookie() || self.flags() & (FLAG_SYN | FLAG_ACK) == FLAG_SYN
    }
}

/// What was found for a packet, in one word: the numbers of its session's service and backend, that a session has to begin,
/// or a verdict.
#[derive(Clone, Copy)]
struct Found(u64);

impl Found {
    /// A verdict has neither bit: no reason's number is as large.
    const SESSION: u64 = 1 << 63;
    const NEW: u64 = 1 << 62;
    /// Of a session: the packet is a backend's.
    const REPLY: u64 = 1 << 61;
    /// Of a session: a cookie has opened it.
    const SPLICED: u64 = 1 << 60;

    const fn session(service: u32, id: u32) -> Self {
        Self(Self::SESSION | (service as u64 & 0xff_ffff) << 32 | id as u64)
    }

    const fn reply() -> Self {
        Self(Self::SESSION | Self::REPLY)
    }

    fn of(found: Result<Self, Verdict>) -> u64 {
        found.map_or_else(Verdict::to_word, |found| found.0)
    }

    const fn is_session(self) -> bool {
        self.0 & Self::SESSION != 0
    }

    const fn is_new(self) -> bool {
        self.0 & Self::NEW != 0
    }

    /// The same, of a session one half of which says so in `ended`.
    const fn spliced_as(self, ended: u8) -> Self {
        if ended & SPLICED == 0 { self } else { Self(self.0 | Self::SPLICED) }
    }

    const fn is_spliced(self) -> bool {
        self.0 & Self::SPLICED != 0
    }

    const fn is_reply(self) -> bool {
        self.0 & Self::REPLY != 0
    }

    const fn service(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    const fn backend(self) -> u32 {
        self.0 as u32
    }
}

/// Reads the packet's flow and the way to its sender; gives a [`Told`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_read(context: *mut xdp_md) -> u64 {
    read(&Packet::in_context(context)).map_or(0, |flags| u64::from(flags) | Told::READ)
}

/// Finds the session of a client's packet; gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_session(told: u64, service: u32, selected: u32) -> u64 {
    let Some(work) = maps::nat_work() else { return INTERNAL.to_word() };
    Found::of(session::of_client::<false>(work, Told(told).flags(), service, selected))
}

/// Begins a session with the backend that was selected; gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_begin(service: u32, selected: u32, hash: u64) -> u64 {
    Found::of(session::begin(service, selected, hash))
}

/// Finds the session of a backend's packet; gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_reply(told: u64) -> u64 {
    let Some(work) = maps::nat_work() else { return INTERNAL.to_word() };
    Found::of(session::of_backend::<false>(work, Told(told).flags()))
}

/// Finds the session of the flow that an ICMP error is about; gives a [`Found`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_error(context: *mut xdp_md) -> u64 {
    let (Some(work), Some(flow)) = (maps::nat_work(), maps::error_flow()) else { return INTERNAL.to_word() };
    work.bytes = Packet::in_context(context).len();
    Found::of(session::of_error(work, flow))
}

/// Gives an ICMP error the ends of the side that it is for; 0 where that could not be.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_error_ends(context: *mut xdp_md) -> u64 {
    let Some(work) = maps::nat_work() else { return 0 };
    u64::from(rewrite::ends_of_error(&mut Packet::in_context(context), &work.other).is_some())
}

/// Gives what it quotes the ends that it had when that side has sent it; 0 where that could not be.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_error_quote(context: *mut xdp_md) -> u64 {
    let Some(work) = maps::nat_work() else { return 0 };
    u64::from(rewrite::quote(&mut Packet::in_context(context), &work.other).is_some())
}

/// Puts a client's packet into the frame for a backend, and gives the verdict.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_send(context: *mut xdp_md, id: u32) -> u64 {
    let (Ok(verdict) | Err(verdict)) = to_backend(&mut Packet::in_context(context), id);
    verdict.to_word()
}

/// Counts a client's packet, which `opens` its flow or not. Gives 0, since a global function has to give something.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_count(service: u32, id: u32, opens: bool) -> u64 {
    let bytes = maps::nat_work().map_or(0, |work| work.bytes);
    count(&SERVICE_COUNTERS, service, bytes);
    count(&BACKEND_COUNTERS, id, bytes);
    if opens {
        count_opened(service, id);
    }
    0
}

/// Puts a backend's packet into the frame for the client, and gives the verdict.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_return(context: *mut xdp_md) -> u64 {
    let (Ok(verdict) | Err(verdict)) = to_client(&mut Packet::in_context(context));
    verdict.to_word()
}

/// Makes the packet one whose answer would be [`Work::other`]. Last, since an answer to the packet quotes it as it was.
/// Gives 1; 0 where that could not be.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn nat_ends(context: *mut xdp_md) -> u64 {
    let Some(work) = maps::nat_work() else { return 0 };
    u64::from(rewrite::ends(&mut Packet::in_context(context), &work.other).is_some())
}

#[inline(always)]
fn read(packet: &Packet) -> Option<u8> {
    let work = maps::nat_work()?;
    let link = parse::link(packet)?;
    work.bytes = packet.len();
    work.way = way_back(packet, link)?;
    let ip = parse::ip(packet, link).map_err(|_: Fault| ()).ok()?;
    let end = link.len() + usize::from(ip.length);
    let (ports, flags) = match ip.protocol {
        TCP => parse::tcp(packet, ip.payload_at, end),
        UDP => parse::udp(packet, ip.payload_at, end),
        _ => None,
    }?;
    work.flow = parse::flow(&ip, ports, ip.protocol);
    Some(flags)
}

/// What the last stage is told of a packet.
#[inline(always)]
fn facts(packet: &Packet, work: &Work) -> Result<Facts, Verdict> {
    let link = parse::link(packet).ok_or(INTERNAL)?;
    let Ip { length: ip_len, traffic_class, .. } = parse::ip(packet, link).map_err(|_: Fault| INTERNAL)?;
    Ok(Facts { link, flow: work.flow, ip_len, traffic_class, flags: 0, part: Part::Whole })
}

#[inline(always)]
fn to_backend(packet: &mut Packet, id: u32) -> Result<Verdict, Verdict> {
    let backend = BACKENDS.get(id).ok_or(INTERNAL)?;
    let facts = facts(packet, maps::nat_work().ok_or(INTERNAL)?)?;
    let link = emit::egress_link(packet, &facts, backend, facts.link.ether_type_be);
    emit::make_room_for_outer(packet, &facts, backend, link, 0)?;
    emit::frame(packet, emit::macs(backend), link)?;
    Ok(emit::leave(packet, backend.ifindex))
}

#[inline(always)]
fn to_client(packet: &mut Packet) -> Result<Verdict, Verdict> {
    let work = maps::nat_work().ok_or(INTERNAL)?;
    let (facts, way) = (facts(packet, work)?, &work.way);
    let link = link_of(way, facts.link.ether_type_be);
    // Before it is changed: an answer quotes what the backend has sent.
    if facts.ip_len > CARRIED_ANYWHERE {
        let is_carried = packet.is_carried_by(way.ifindex, facts.ip_len);
        is_carried.map_err(|mtu| Verdict::answer(Reason::TooBig, mtu))?;
    }
    encap::pass_on(packet, &facts)?;
    emit::make_room(packet, &facts, link, 0)?;
    emit::frame(packet, Macs { first: way.macs_first, last: way.macs_last }, link)?;
    Ok(emit::leave(packet, way.ifindex).returned())
}

/// The way by which a packet came, turned round.
#[inline(always)]
fn way_back(packet: &Packet, link: Link) -> Option<Way> {
    let macs = { packet.header::<Ethernet>(0)?.macs }.turned();
    let tags = link.tags;
    let (outer_type_be, outer_tci_be) = if tags > 0 { (link.first_be, link.outer.tci_be) } else { (0, 0) };
    let (inner_type_be, inner_tci_be) =
        if tags > 1 { (link.outer.ether_type_be, link.inner.tci_be) } else { (0, 0) };
    Some(Way {
        macs_first: macs.first,
        macs_last: macs.last,
        ifindex: packet.ingress_ifindex(),
        outer_type_be,
        outer_tci_be,
        inner_type_be,
        inner_tci_be,
    })
}

/// The link layer of a way.
#[inline(always)]
fn link_of(way: &Way, ether_type_be: u16) -> Link {
    if way.outer_type_be == 0 {
        return Link::untagged(ether_type_be);
    }
    let inner = Tag { tci_be: way.inner_tci_be, ether_type_be };
    let (tags, second_be) = if way.inner_type_be == 0 { (1, ether_type_be) } else { (2, way.inner_type_be) };
    let outer = Tag { tci_be: way.outer_tci_be, ether_type_be: second_be };
    Link { tags, first_be: way.outer_type_be, outer, inner, ether_type_be }
}
