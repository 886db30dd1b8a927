//! What the data plane ought to hold: a pure function of configuration, health, next hops and the time.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lb_common::{
    address::Address,
    backend::{Backend as Entry, Forwarding as Mode, Health as EntryHealth, OldFlows},
    maglev::{Base, Member, Table},
    service::{ServiceKey, Track},
};

use crate::{
    config::{AdminState, Backend, Config, Forwarding, Service},
    health::{Health, TargetKey},
    neighbours::NextHop,
};

/// What is known about the world beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The probes' verdicts. One that is missing is not known yet.
    pub health: HashMap<TargetKey, Verdict>,
    /// The last known way to each backend address.
    pub next_hops: HashMap<IpAddr, NextHop>,
}

/// A probe's verdict on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was probed. About another target it says nothing.
    pub target: SocketAddr,
    /// Up or down.
    pub health: Health,
    /// Since when, on the monotonic clock.
    pub since: Duration,
}

/// What the data plane ought to hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The services, sorted by name.
    pub services: Vec<PlannedService>,
    /// When the plan changes by itself: a backend's grace runs out. On the monotonic clock.
    pub next_change: Option<Duration>,
}

/// A service as it ought to be.
#[derive(Clone, Debug)]
pub struct PlannedService {
    /// Its name.
    pub name: String,
    /// What packets find it by.
    pub key: ServiceKey,
    /// Which flows are remembered.
    pub track: Track,
    /// How long a silent flow is remembered.
    pub idle_timeout: Duration,
    /// Leading bits of the source that choose the slot; 0: the whole flow does.
    pub source_bits: u8,
    /// Which backend new flows get: indexes into `backends`.
    pub table: Arc<Table>,
    /// The backends' entries, in the order of the configuration.
    pub backends: Vec<Entry>,
    /// Entries of backends that are gone from the configuration and keep their old flows.
    pub leaving: Vec<Entry>,
}

/// Tables that were computed before. Building one costs milliseconds, and most events change none.
#[derive(Debug, Default)]
pub struct Tables {
    memo: HashMap<String, Memo>,
}

#[derive(Debug)]
struct Memo {
    members: Vec<(String, u32)>,
    length: u32,
    base: Base,
    takes_new: Vec<bool>,
    table: Arc<Table>,
}

/// Computes the plan. `now` is on the monotonic clock; `tables` only saves work.
#[must_use]
pub fn plan(config: &Config, view: &View, tables: &mut Tables, now: Duration) -> Plan {
    let names: HashSet<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    tables.memo.retain(|name, _| names.contains(name.as_str()));
    let services = config.services.iter().map(|service| plan_service(config, service, view, tables, now));
    Plan { services: services.collect(), next_change: next_change(config, view, now) }
}

fn plan_service(
    config: &Config,
    service: &Service,
    view: &View,
    tables: &mut Tables,
    now: Duration,
) -> PlannedService {
    let takes_new: Vec<bool> =
        service.backends.iter().map(|backend| takes_new_flows(service, backend, view)).collect();
    let backends = service.backends.iter().map(|backend| entry(service, backend, view, now));
    PlannedService {
        name: service.name.clone(),
        key: service.key(),
        track: service.track,
        idle_timeout: service.idle_timeout,
        source_bits: service.source_bits,
        table: tables.table(config, service, takes_new),
        backends: backends.collect(),
        leaving: Vec::new(),
    }
}

/// Whether new flows may go to a backend. One that was not probed yet may: a fresh balancer has no reason to doubt.
fn takes_new_flows(service: &Service, backend: &Backend, view: &View) -> bool {
    backend.admin == AdminState::Ready
        && backend.weight > 0
        && view
            .next_hops
            .get(&backend.address)
            .is_some_and(|next_hop| mode(backend, next_hop) != Mode::Unresolved)
        && verdict(service, backend, view).is_none_or(|verdict| verdict.health == Health::Up)
}

/// What becomes of a backend's old flows.
fn old_flows(service: &Service, backend: &Backend, view: &View, now: Duration) -> OldFlows {
    if backend.admin == AdminState::Maintenance {
        return OldFlows::Move;
    }
    let given_up = down_deadline(service, backend, view).is_some_and(|deadline| deadline <= now);
    if given_up { service.on_down } else { OldFlows::Keep }
}

/// When a backend that is down has to give up its old flows.
fn down_deadline(service: &Service, backend: &Backend, view: &View) -> Option<Duration> {
    let verdict = verdict(service, backend, view)?;
    (verdict.health == Health::Down).then(|| verdict.since.saturating_add(service.down_grace))
}

fn verdict(service: &Service, backend: &Backend, view: &View) -> Option<Verdict> {
    let target: SocketAddr = (backend.address, service.probe?.port).into();
    view.health
        .get(&TargetKey { service: service.name.clone(), backend: backend.name.clone() })
        .copied()
        .filter(|verdict| verdict.target == target)
}

fn next_change(config: &Config, view: &View, now: Duration) -> Option<Duration> {
    let backends = config.services.iter().flat_map(|s| s.backends.iter().map(move |b| (s, b)));
    backends.filter_map(|(s, b)| down_deadline(s, b, view)).filter(|&deadline| deadline > now).min()
}

/// The data plane's entry of a backend. Without a next hop it stays unresolved, and packets for it are dropped by
/// that name.
fn entry(service: &Service, backend: &Backend, view: &View, now: Duration) -> Entry {
    let mut entry = Entry { address: backend.address.into(), ..bytemuck::Zeroable::zeroed() };
    entry.takes_new = u8::from(takes_new_flows(service, backend, view));
    entry.old_flows = old_flows(service, backend, view, now) as u8;
    if let Some(verdict) = verdict(service, backend, view) {
        entry.health = match verdict.health {
            Health::Up => EntryHealth::Up,
            Health::Down => EntryHealth::Down,
        } as u8;
        entry.health_since_s = verdict.since.as_secs() as u32;
    }
    let Some(next_hop) = view.next_hops.get(&backend.address) else { return entry };
    entry.ifindex = next_hop.ifindex;
    entry.next_hop_mac = next_hop.mac;
    entry.source_mac = next_hop.source_mac;
    entry.mtu = next_hop.mtu;
    entry.vlan = next_hop.vlan;
    entry.forwarding = mode(backend, next_hop) as u8;
    (entry.source, entry.source_mask) = tunnel_source(service, backend, next_hop);
    entry
}

/// How packets get to a backend by `next_hop`, if they can.
fn mode(backend: &Backend, next_hop: &NextHop) -> Mode {
    match (backend.forwarding, backend.address) {
        // A router would send the packet by its destination, which is the VIP: back to the balancer.
        (Forwarding::L2, _) if next_hop.gateway.is_some() => Mode::Unresolved,
        (Forwarding::L2, _) => Mode::L2,
        (Forwarding::Ipip, IpAddr::V4(_)) => Mode::Ipip4,
        (Forwarding::Ipip, IpAddr::V6(_)) => Mode::Ipip6,
    }
}

/// The fixed part of the outer source and the bits that vary per flow: the service's prefix of the backend's family,
/// otherwise the address that the route prefers.
fn tunnel_source(service: &Service, backend: &Backend, next_hop: &NextHop) -> (Address, [u8; 4]) {
    let prefix =
        service.tunnel_source.iter().find(|prefix| prefix.addr().is_ipv4() == backend.address.is_ipv4());
    let Some(prefix) = prefix else { return (next_hop.source.into(), [0; 4]) };
    let open = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
    (prefix.network().into(), u32::MAX.checked_shr(32u32.saturating_sub(open)).unwrap_or(0).to_be_bytes())
}

impl Tables {
    fn table(&mut self, config: &Config, service: &Service, takes_new: Vec<bool>) -> Arc<Table> {
        let members: Vec<_> = service.backends.iter().map(|b| (b.name.clone(), b.weight)).collect();
        if let Some(memo) = self.memo.get_mut(&service.name)
            && memo.members == members
            && memo.length == service.slots
        {
            if memo.takes_new != takes_new {
                memo.table = Arc::new(memo.base.refill(|member| takes_new[member]));
                memo.takes_new = takes_new;
            }
            return Arc::clone(&memo.table);
        }
        let memo = Memo::build(config, members, service.slots, takes_new);
        let table = Arc::clone(&memo.table);
        self.memo.insert(service.name.clone(), memo);
        table
    }
}

impl Memo {
    fn build(config: &Config, members: Vec<(String, u32)>, length: u32, takes_new: Vec<bool>) -> Self {
        let of_base: Vec<_> = members.iter().map(|(name, weight)| Member { name, weight: *weight }).collect();
        let base = Base::build(&of_base, length, &config.fleet.seed)
            .expect("a checked configuration has a prime length, unique names and few enough backends");
        let table = Arc::new(base.refill(|member| takes_new[member]));
        Self { members, length, base, takes_new, table }
    }
}
