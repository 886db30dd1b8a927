//! The data plane's entry of one backend.

use std::{net::IpAddr, time::Duration};

use lb_common::{
    address::Address,
    backend::{Backend as Entry, Forwarding as Mode, Health as EntryHealth},
};

use super::{
    Verdict, View,
    state::{Rules, Wanted, treatment},
};
use crate::{
    config::{Backend, Forwarding, Service},
    health::{Health, TargetKey},
    neighbours::NextHop,
};

/// An entry, and when it changes by itself.
pub(super) struct Planned {
    pub(super) entry: Entry,
    pub(super) until: Option<Duration>,
}

/// What has been decided about a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    /// What operator and backend want.
    pub(super) wanted: Wanted,
    /// Whether it gets new flows.
    pub(super) takes_new: bool,
    /// Whether it is treated as down where its probes say so.
    pub(super) follows_probes: bool,
}

/// The data plane's entry of a backend. Without a next hop it stays unresolved, and packets for it are dropped by
/// that name.
pub(super) fn entry(
    service: &Service,
    backend: &Backend,
    decided: Decided,
    view: &View,
    now: Duration,
) -> Planned {
    let verdict = verdict(service, backend, view);
    let is_down = |verdict: &Verdict| verdict.health == Health::Down && decided.follows_probes;
    let down_since = verdict.filter(is_down).map(|verdict| verdict.since);
    let rules = Rules { down_grace: service.down_grace, on_down: service.on_down };
    let treatment = treatment(decided.wanted, down_since, rules, now);
    let mut entry = way(service, backend, view);
    // Of packets in no tunnel it is the client that hears of a narrow way.
    let learned = view.path_mtus.of(backend.address, now);
    let learned = learned.filter(|learned| entry.overhead() > 0 && learned.mtu < entry.mtu);
    entry.mtu = learned.map_or(entry.mtu, |learned| learned.mtu);
    entry.takes_new = u8::from(treatment.takes_new && decided.takes_new);
    entry.old_flows = treatment.old_flows as u8;
    if let Some(verdict) = verdict {
        entry.health = match verdict.health {
            Health::Up => EntryHealth::Up,
            Health::Down => EntryHealth::Down,
        } as u8;
        entry.health_since_s = verdict.since.as_secs() as u32;
    }
    let until = treatment.until.into_iter().chain(learned.map(|learned| learned.until)).min();
    Planned { entry, until }
}

/// Whether packets can get to a backend.
pub(super) fn is_reachable(service: &Service, backend: &Backend, view: &View) -> bool {
    way(service, backend, view).forwarding != Mode::Unresolved as u8
}

/// An entry that says how packets get to a backend, and nothing else: its probes go by such a one too.
pub(crate) fn way(service: &Service, backend: &Backend, view: &View) -> Entry {
    let mut entry = Entry { address: backend.address.into(), ..bytemuck::Zeroable::zeroed() };
    if view.own.contains(&backend.address) {
        entry.forwarding = Mode::Local as u8;
    } else if let Some(next_hop) = view.next_hops.get(&backend.address) {
        set_way(&mut entry, service, backend, next_hop);
    }
    entry
}

/// What its probes say. A backend that was not probed yet may be given flows: a fresh balancer has no reason to doubt.
pub(super) fn verdict(service: &Service, backend: &Backend, view: &View) -> Option<Verdict> {
    let target = service.probe_target(backend)?;
    view.health
        .get(&TargetKey { service: service.name.clone(), backend: backend.name.clone() })
        .copied()
        .filter(|verdict| verdict.target == target)
}

fn set_way(entry: &mut Entry, service: &Service, backend: &Backend, next_hop: &NextHop) {
    entry.ifindex = next_hop.ifindex;
    entry.next_hop_mac = next_hop.mac;
    entry.source_mac = next_hop.source_mac;
    entry.mtu = next_hop.mtu;
    entry.vlan = next_hop.vlan;
    entry.forwarding = mode(service, backend, next_hop) as u8;
    entry.port = match backend.forwarding {
        Forwarding::Gue => service.gue.port.to_be_bytes(),
        Forwarding::Nat => backend.port.unwrap_or(0).to_be_bytes(),
        Forwarding::L2 | Forwarding::Ipip => [0; 2],
    };
    (entry.source, entry.source_mask) = tunnel_source(service, backend, next_hop);
}

/// How packets get to a backend by `next_hop`, if they can.
fn mode(service: &Service, backend: &Backend, next_hop: &NextHop) -> Mode {
    // A router would send the packet by its destination, which is the VIP: back to the balancer.
    if backend.forwarding == Forwarding::L2 && next_hop.gateway.is_some() {
        return Mode::Unresolved;
    }
    configured_mode(service, backend)
}

/// How packets are to get to a backend.
pub(crate) fn configured_mode(service: &Service, backend: &Backend) -> Mode {
    match (backend.forwarding, backend.address) {
        (Forwarding::L2, _) => Mode::L2,
        (Forwarding::Ipip, IpAddr::V4(_)) => Mode::Ipip4,
        (Forwarding::Ipip, IpAddr::V6(_)) => Mode::Ipip6,
        (Forwarding::Gue, IpAddr::V4(_)) if service.gue.variant == 0 => Mode::Gue4,
        (Forwarding::Gue, IpAddr::V6(_)) if service.gue.variant == 0 => Mode::Gue6,
        (Forwarding::Gue, IpAddr::V4(_)) => Mode::Gue4Direct,
        (Forwarding::Gue, IpAddr::V6(_)) => Mode::Gue6Direct,
        (Forwarding::Nat, _) => Mode::Nat,
    }
}

/// The fixed part of the outer source and the bits that vary per flow: the service's prefix of the backend's family,
/// otherwise the address that the route prefers.
fn tunnel_source(service: &Service, backend: &Backend, next_hop: &NextHop) -> (Address, [u8; 2]) {
    let prefix =
        service.tunnel_source.iter().find(|prefix| prefix.addr().is_ipv4() == backend.address.is_ipv4());
    let Some(prefix) = prefix else { return (next_hop.source.into(), [0; 2]) };
    let open = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
    (prefix.network().into(), u16::MAX.checked_shr(16u32.saturating_sub(open)).unwrap_or(0).to_be_bytes())
}
