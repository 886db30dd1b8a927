//! The last stage: room for an outer header, the frame's new link layer, and out.
//!
//! Everything that can fail is asked before the first byte is written.

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_redirect};
use lb_common::{
    backend::{Backend, Forwarding},
    counter::Reason,
    knobs::{FEATURE_GUE, FEATURE_NAT},
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    encap, gue,
    maps::uses,
    packet::{Ethernet, Framed, Header, Macs, Packet, Tag},
    parse::{Facts, IPV4_BE, IPV6_BE, Link},
    select::Selected,
    verdict::Verdict,
};

/// Sends a packet to its backend. One that has to be translated comes back: the verdict says so.
#[inline(always)]
pub fn emit(packet: &mut Packet, facts: &Facts, selected: &Selected) -> Result<Verdict, Verdict> {
    let forwarding = selected.backend.forwarding;
    if forwarding == Forwarding::L2 as u8 {
        by_frame(packet, facts, selected)?;
    } else if forwarding == Forwarding::Ipip4 as u8 {
        in_ipv4(packet, facts, selected)?;
    } else if forwarding == Forwarding::Ipip6 as u8 {
        in_ipv6(packet, facts, selected)?;
    } else if uses(FEATURE_GUE) && gue::is_in_ipv4(selected.backend) {
        gue::in_ipv4(packet, facts, selected)?;
    } else if uses(FEATURE_GUE) && gue::carries(selected.backend) {
        gue::in_ipv6(packet, facts, selected)?;
    } else if uses(FEATURE_NAT) && forwarding == Forwarding::Nat as u8 {
        return Err(Verdict::translate());
    } else if forwarding == Forwarding::Local as u8 {
        return Ok(Verdict::pass(Reason::Local));
    } else {
        return Err(Verdict::drop(Reason::Internal));
    }
    Ok(leave(packet, selected.backend.ifindex))
}

/// Gives a packet new MAC addresses.
#[inline(always)]
fn by_frame(packet: &mut Packet, facts: &Facts, selected: &Selected) -> Result<(), Verdict> {
    let backend = selected.backend;
    let link = egress_link(packet, facts, backend, facts.link.ether_type_be);
    fits(facts, backend, 0)?;
    make_room(packet, facts, link, 0)?;
    frame(packet, macs(backend), link)
}

/// Puts a packet into IPv4.
#[inline(always)]
fn in_ipv4(packet: &mut Packet, facts: &Facts, selected: &Selected) -> Result<(), Verdict> {
    let backend = selected.backend;
    let link = egress_link(packet, facts, backend, IPV4_BE);
    make_room_for_outer(packet, facts, backend, link, Ipv4Hdr::LEN)?;
    let outer = encap::ipv4_header(facts, selected, encap::inner_protocol(facts), 0);
    frame_around(packet, macs(backend), link, outer)
}

/// Puts a packet into IPv6.
#[inline(always)]
fn in_ipv6(packet: &mut Packet, facts: &Facts, selected: &Selected) -> Result<(), Verdict> {
    let backend = selected.backend;
    let link = egress_link(packet, facts, backend, IPV6_BE);
    make_room_for_outer(packet, facts, backend, link, Ipv6Hdr::LEN)?;
    let outer = encap::ipv6_header(facts, selected, encap::inner_protocol(facts), 0);
    frame_around(packet, macs(backend), link, outer)
}

/// The link layer that the packet leaves with: the tag of the next hop's VLAN; without one, the tags that it came
/// with if it leaves by the same interface, otherwise none.
#[inline(always)]
pub fn egress_link(packet: &Packet, facts: &Facts, backend: &Backend, ether_type_be: u16) -> Link {
    if backend.vlan != 0 {
        return Link::tagged(backend.vlan, ether_type_be);
    }
    if facts.link.tags == 0 || packet.ingress_ifindex() != backend.ifindex {
        return Link::untagged(ether_type_be);
    }
    facts.link.around(ether_type_be)
}

/// Does what a tunnel does before it writes: the packet has to fit, and is one hop further.
#[inline(always)]
pub fn make_room_for_outer(
    packet: &mut Packet,
    facts: &Facts,
    backend: &Backend,
    link: Link,
    outer: usize,
) -> Result<(), Verdict> {
    fits(facts, backend, outer)?;
    encap::pass_on(packet, facts)?;
    make_room(packet, facts, link, outer)
}

/// The same where there may be no outer header, for what only gets another frame.
#[inline(always)]
pub fn make_room_for(
    packet: &mut Packet,
    facts: &Facts,
    backend: &Backend,
    link: Link,
    outer: usize,
) -> Result<(), Verdict> {
    fits(facts, backend, outer)?;
    if outer > 0 {
        encap::pass_on(packet, facts)?;
    }
    make_room(packet, facts, link, outer)
}

/// Whether the packet fits with `outer` bytes more. Its sender is told what would.
#[inline(always)]
fn fits(facts: &Facts, backend: &Backend, outer: usize) -> Result<(), Verdict> {
    if u32::from(facts.ip_len) + outer as u32 <= u32::from(backend.mtu) {
        return Ok(());
    }
    Err(Verdict::answer(Reason::TooBig, backend.mtu.saturating_sub(outer as u16)))
}

/// Makes the room for `outer` bytes, and for what the new link layer is longer than the old.
#[inline(always)]
pub fn make_room(packet: &mut Packet, facts: &Facts, link: Link, outer: usize) -> Result<(), Verdict> {
    let longer = outer as i32 + link.len() as i32 - facts.link.len() as i32;
    if packet.grow_front(longer) { Ok(()) } else { Err(Verdict::drop(Reason::NoHeadroom)) }
}

/// Writes the Ethernet header, with `link`'s EtherType and tags.
#[inline(always)]
pub fn frame(packet: &mut Packet, macs: Macs, link: Link) -> Result<(), Verdict> {
    let ether_type_be = link.ether_type_be;
    match link.tags {
        0 => {}
        1 => write(packet, 14, Tag { ether_type_be, ..link.outer })?,
        _ => {
            write(packet, 14, link.outer)?;
            write(packet, 18, Tag { ether_type_be, ..link.inner })?;
        }
    }
    write(packet, 0, Ethernet { macs, ether_type_be: link.first_be })
}

/// The same with the header behind it: where there are no tags, in one piece.
#[inline(always)]
pub fn frame_around<T: Header>(packet: &mut Packet, macs: Macs, link: Link, inner: T) -> Result<(), Verdict> {
    if link.tags == 0 {
        let ethernet = Ethernet { macs, ether_type_be: link.first_be };
        return write(packet, 0, Framed { ethernet, inner });
    }
    write(packet, link.len(), inner)?;
    frame(packet, macs, link)
}

/// The MAC addresses of the way to the backend.
#[inline(always)]
pub fn macs(backend: &Backend) -> Macs {
    let (first, last) = backend.macs();
    Macs { first, last }
}

/// Writes a header.
#[inline(always)]
pub fn write<T: Header>(packet: &mut Packet, offset: usize, value: T) -> Result<(), Verdict> {
    *packet.header_mut::<T>(offset).ok_or(Verdict::drop(Reason::Internal))? = value;
    Ok(())
}

/// Out through the interface `ifindex`.
#[inline(always)]
pub fn leave(packet: &Packet, ifindex: u32) -> Verdict {
    if packet.ingress_ifindex() == ifindex {
        return Verdict::transmit();
    }
    // SAFETY: notes the interface for the kernel to act upon after the program.
    let action = unsafe { bpf_redirect(ifindex, 0) } as u32;
    if action == xdp_action::XDP_REDIRECT {
        Verdict::redirected(action)
    } else {
        Verdict::drop(Reason::Internal)
    }
}
