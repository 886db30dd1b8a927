//! Reconciliation against a data plane in memory, looked at after every single operation.

mod damage;
mod fleet;
mod restart;
mod server_ids;
mod settle;
mod translation;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    time::Duration,
};

use lb_common::{
    address::Address,
    backend::{Backend as Entry, OldFlows},
    counter::Reason,
    flow::Flow,
    guard::OnFull,
    service::{ServiceKey, Track},
};
use proptest::prelude::*;

use super::*;
use crate::{
    config::{
        AdminState, Backend, Balancer, Config, Fleet, Forwarding, Guard, Gue, Limits, OnDeadline, OnRemove,
        Protocol, Service, Sharing, XdpMode,
    },
    dataplane::{DataPlane as _, memory::Memory},
    plan::{
        Tables,
        kept::{Kept, Stale},
        plan, plan_others,
        tests::view,
    },
};

const SEED: lb_common::hash::Seed = lb_common::hash::Seed([3; 16]);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const LIMITS: Limits = Limits {
    services: 8,
    backends: 48,
    slots: 4096,
    connections: 64,
    openings: 64,
    inserts: 1000,
    sources: 64,
    answers: 1000,
    fragments: 64,
    nat_sessions: 64,
    nat_openings: 64,
};

/// A daemon without a kernel.
struct World {
    memory: Memory,
    applied: Applied,
    tables: Tables,
    /// What was planned last, of which services stay that are the very same.
    plan: Plan,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self {
            memory: Memory::new(&LIMITS, SEED.flow_key(), SEED.index_key()),
            applied: Applied::new(&LIMITS, SEED.index_key()),
            tables: Tables::default(),
            plan: Plan::default(),
            now: Duration::from_secs(1000),
        }
    }

    /// Reconciles with a configuration; `look` sees the data plane after every operation.
    fn reconcile(&mut self, config: &Config, mut look: impl FnMut(&mut Memory)) -> Result<(), CapacityError> {
        let kept = Kept::of(&self.plan, config, &Stale::default(), self.now);
        let plan = plan_others(config, &view(config), &mut self.tables, &kept, self.now);
        let (ops, next) = reconcile(&self.applied, &plan, &self.memory, self.now)?;
        for op in &ops {
            self.memory.step(op);
            look(&mut self.memory);
        }
        (self.applied, self.plan) = (next, plan);
        Ok(())
    }

    fn apply(&mut self, config: &Config) {
        self.reconcile(config, |_| {}).unwrap();
    }

    /// The daemon is replaced by another one that knows only what the maps hold.
    fn restart(&mut self) {
        let image = self.memory.image();
        let (applied, leftovers) =
            Applied::adopt(&LIMITS, SEED.index_key(), &image, &self.memory, self.now).unwrap();
        self.memory.apply(&leftovers);
        (self.applied, self.tables, self.plan) = (applied, Tables::default(), Plan::default());
    }

    fn settle(&mut self) {
        let forever = |_| Some(Duration::from_hours(1));
        let live = self.memory.sweep(self.now, &forever).unwrap();
        let ops = settle(&mut self.applied, &live, &self.memory, self.now);
        self.memory.apply(&ops);
    }

    fn service(&self) -> &AppliedService {
        self.applied.services().next().expect("a service is applied").1
    }

    /// Which host each of 200 flows goes to.
    fn hosts(&mut self, opens: bool) -> HashMap<u16, IpAddr> {
        self.hosts_of(0..200, opens)
    }

    /// Which host each flow from these ports goes to.
    fn hosts_of(&mut self, ports: Range<u16>, opens: bool) -> HashMap<u16, IpAddr> {
        let now = self.now;
        ports.filter_map(|port| Some((port, host(&mut self.memory, port, opens, now).ok()?))).collect()
    }
}

fn host(memory: &mut Memory, port: u16, opens: bool, now: Duration) -> Result<IpAddr, Reason> {
    let flow = Flow {
        source: Address::from_v4([192, 0, 2, 7]),
        destination: Address::from_v4(VIP.octets()),
        source_port: port.to_be_bytes(),
        destination_port: 80u16.to_be_bytes(),
        protocol: 6,
    };
    memory.forward(&flow, opens, now).map(|backend: Entry| backend.address.into())
}

fn address(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, n))
}

fn backend(n: u8) -> Backend {
    Backend {
        name: format!("b{n}"),
        address: address(n),
        weight: 1,
        version: None,
        admin: AdminState::Ready,
        ..Backend::unlisted(String::new(), address(n), Forwarding::Ipip)
    }
}

fn service(name: &str, vip: Ipv4Addr, backends: Vec<Backend>) -> Service {
    Service {
        name: name.to_owned(),
        address: vip.into(),
        port: 80,
        protocol: Protocol::Tcp,
        slots: 499,
        track: Track::Moved,
        idle_timeout: Duration::from_mins(1),
        source_bits: 0,
        down_grace: Duration::from_secs(30),
        on_down: OldFlows::Move,
        on_remove: OnRemove::Drain,
        drain_deadline: None,
        on_deadline: OnDeadline::Move,
        tunnel_source: Vec::new(),
        gue: Gue::default(),
        on_full: OnFull::default(),
        guard: Guard::default(),
        probe: None,
        flap: None,
        rollout: None,
        echo: false,
        fragments: false,
        passive: None,
        mss: None,
        quic: None,
        sharing: Sharing::default(),
        backends,
    }
}

fn config_of(services: Vec<Service>) -> Config {
    Config {
        balancer: Balancer {
            interfaces: vec!["eth0".to_owned()],
            mode: XdpMode::Auto,
            socket: "/run/sluice/test.sock".into(),
            pin_path: "/sys/fs/bpf/sluice-test".into(),
            state_path: "/var/lib/sluice/test.json".into(),
            nat: None,
            probe_mark: 0x5a50_0000,
            location: None,
            next_program: None,
            api: None,
            audit_path: None,
        },
        fleet: Fleet { seed: SEED, seed_is_default: false, peers: Vec::new(), port: 9902 },
        limits: LIMITS,
        lists: Vec::new(),
        services: services.into_iter().map(Arc::new).collect(),
    }
}

fn config(backends: impl IntoIterator<Item = u8>) -> Config {
    config_of(vec![service("web", VIP, backends.into_iter().map(backend).collect())])
}

#[test]
fn service_that_stays_as_planned_is_not_looked_into_until_something_else_changes_it() {
    let backends = || (1..=4).map(backend).collect::<Vec<_>>();
    let mut config = config_of(vec![
        service("dns", Ipv4Addr::new(203, 0, 113, 53), backends()),
        service("web", VIP, backends()),
    ]);
    let mut world = World::new();
    world.apply(&config);
    let [dns, web] = [0, 1].map(|at| config.services[at].key());
    let is_same = |world: &World, before: &Applied, key| {
        Arc::ptr_eq(&before.services[key], &world.applied.services[key])
    };
    let before = world.applied.clone();
    Arc::make_mut(&mut config.services[1]).backends.remove(0);
    world.apply(&config);
    assert_eq!((is_same(&world, &before, &dns), is_same(&world, &before, &web)), (true, false));
    world.now += Duration::from_secs(61);
    world.settle();
    let settled = world.applied.clone();
    assert!(settled.services[&web].placed.is_none() && settled.services[&dns].placed.is_some());
    world.reconcile(&config, |_| panic!("the maps hold it")).unwrap();
    assert_eq!((is_same(&world, &settled, &dns), is_same(&world, &settled, &web)), (true, false));
    assert!(world.applied.services[&web].placed.is_some());
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let mut world = World::new();
    world.apply(&config(1..=5));
    world.reconcile(&config(1..=5), |_| panic!("an operation")).unwrap();
}

#[test]
fn order_of_backends_changes_nothing() {
    let mut world = World::new();
    world.apply(&config(1..=5));
    let digest = world.service().entry.digest;
    let hosts = world.hosts(true);
    let mut other = World::new();
    other.apply(&config((1..=5).rev()));
    assert_eq!(other.service().entry.digest, digest);
    assert_eq!(other.hosts(true), hosts);
}

#[test]
fn new_service_is_found_only_once_it_is_whole() {
    let mut world = World::new();
    let now = world.now;
    let mut found = false;
    world
        .reconcile(&config(1..=5), |memory| match host(memory, 1, true, now) {
            Ok(_) => found = true,
            Err(reason) => assert!(!found && reason == Reason::NotOurs, "{reason:?}"),
        })
        .unwrap();
    assert!(found);
}

#[test]
fn service_that_outgrows_its_entries_loses_no_packet() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let (before, now) = (world.hosts(true), world.now);
    world
        .reconcile(&config(1..=20), |memory| {
            for (port, host_before) in &before {
                assert_eq!(host(memory, *port, false, now), Ok(*host_before), "port {port}");
            }
        })
        .unwrap();
}

#[test]
fn plan_that_does_not_fit_changes_nothing() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let hosts = world.hosts(true);
    let error = world.reconcile(&config(1..=200), |_| panic!("an operation")).unwrap_err();
    assert!(matches!(error, CapacityError::Backends { needed: 200, limit: 48, .. }), "{error}");
    assert_eq!(world.hosts(false), hosts);
}

#[test]
fn tables_take_turns_where_the_arena_is_small() {
    let vips = (1..=7).map(|n| Ipv4Addr::new(203, 0, 113, n));
    let many = |backends: u8| {
        let backends = || (1..=backends).map(backend).collect();
        config_of(vips.clone().map(|vip| service(&vip.to_string(), vip, backends())).take(3).collect())
    };
    let mut world = World::new();
    world.apply(&many(3));
    // Three tables and one more fit: each change waits for the grace period of the one before.
    world.applied.arena.take(4096 - 4 * 512).unwrap();
    world.apply(&many(4));
    assert!(world.memory.graces >= 2, "{} grace periods", world.memory.graces);
}

fn longer(mut config: Config) -> Config {
    Arc::make_mut(&mut config.services[0]).slots = 997;
    config
}

#[test]
fn change_of_length_moves_no_flow_at_any_moment() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let (old, now) = (world.hosts(true), world.now);
    let others = world.hosts_of(200..400, true);
    world
        .reconcile(&longer(config(1..=4)), |memory| {
            for (port, host_before) in &old {
                assert_eq!(host(memory, *port, false, now), Ok(*host_before), "port {port}");
            }
        })
        .unwrap();
    assert_eq!(world.service().entry.table.length, 997);
    assert_ne!(world.hosts_of(200..400, true), others, "new flows follow the new table");
}

#[test]
fn length_that_changes_twice_still_knows_the_first_table() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let first = world.hosts(true);
    world.apply(&longer(config(1..=4)));
    world.apply(&config(1..=3));
    assert_eq!(world.hosts(false), first);
}

#[test]
fn same_name_with_another_address_is_another_backend() {
    let mut world = World::new();
    world.apply(&config(1..=3));
    let old = world.hosts(true);
    let mut readdressed = config(1..=3);
    Arc::make_mut(&mut readdressed.services[0]).backends[0].address = address(99);
    world.apply(&readdressed);
    assert_eq!(world.hosts(false), old, "old flows stay with the old host");
    assert!(world.hosts(true).values().all(|&host| host != address(1)));
}

/// `config` with backends that the operator has something else in mind for.
fn with_states(states: &[(u8, AdminState)]) -> Config {
    let mut config = config(1..=5);
    for backend in &mut Arc::make_mut(&mut config.services[0]).backends {
        let state = states.iter().find(|(n, _)| backend.address == address(*n));
        backend.admin = state.map_or(AdminState::Ready, |(_, state)| *state);
    }
    config
}

#[test]
fn flows_of_between_two_moves_stay_when_the_oldest_backend_gives_up_its_own() {
    use AdminState::{Drain, Maintenance};
    let mut world = World::new();
    world.apply(&with_states(&[]));
    world.apply(&with_states(&[(1, Drain)]));
    let opened = world.hosts(true);
    world.apply(&with_states(&[(1, Drain), (2, Drain)]));
    assert_eq!(world.hosts(false), opened);
    world.apply(&with_states(&[(1, Maintenance), (2, Drain)]));
    assert_eq!(world.hosts(false), opened);
}

#[test]
fn backends_as_many_as_the_limit_says_fit() {
    let limits = Limits { backends: 20, ..LIMITS };
    let memory = Memory::new(&limits, SEED.flow_key(), SEED.index_key());
    let other = Ipv4Addr::new(203, 0, 113, 99);
    let services = vec![
        service("a", VIP, (1..=10).map(backend).collect()),
        service("b", other, (11..=20).map(backend).collect()),
    ];
    let config = config_of(services);
    let plan = plan(&config, &view(&config), &mut Tables::default(), Duration::ZERO);
    let applied = Applied::new(&limits, SEED.index_key());
    assert!(reconcile(&applied, &plan, &memory, Duration::ZERO).is_ok());
}

#[test]
fn backend_that_comes_back_has_the_flows_again_that_were_silent() {
    use AdminState::{Maintenance, Ready};
    let mut world = World::new();
    world.apply(&with_states(&[]));
    let old = world.hosts(true);
    world.apply(&with_states(&[(1, Maintenance)]));
    world.apply(&with_states(&[(1, Ready)]));
    assert_eq!(world.hosts(false), old);
}

#[test]
fn what_chooses_the_slots_may_change_and_no_flow_moves() {
    let mut world = World::new();
    world.apply(&config(1..=4));
    let (old, now) = (world.hosts(true), world.now);
    let mut by_source = config(1..=4);
    Arc::make_mut(&mut by_source.services[0]).source_bits = 32;
    world
        .reconcile(&by_source, |memory| {
            for (port, host_before) in &old {
                assert_eq!(host(memory, *port, false, now), Ok(*host_before), "port {port}");
            }
        })
        .unwrap();
    let new: std::collections::HashSet<_> = world.hosts_of(200..400, true).into_values().collect();
    assert_eq!(new.len(), 1, "all flows of one source meet");
    world.now += Duration::from_secs(61);
    assert_eq!(world.hosts(false), old);
    world.settle();
    assert_eq!(world.hosts(false), old, "live flows stay");
    assert_eq!(world.service().entry.previous_table.length, 0);
}

#[test]
fn removed_service_and_its_vip_are_forgotten() {
    let mut world = World::new();
    world.apply(&config(1..=3));
    world.apply(&config_of(Vec::new()));
    let vip = ServiceKey::vip(Address::from_v4(VIP.octets()));
    assert!(world.memory.find(&vip).is_none());
    assert_eq!(host(&mut world.memory, 1, true, world.now), Err(Reason::NotOurs));
    assert_eq!(world.applied.arena_use().0, 0);
}

/// One change of the configuration: which of ten backends there are, and with which weights.
fn changes() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..4, 10), 1..8)
}

fn weighted(weights: &[u32]) -> Config {
    let backends = (0u8..).zip(weights).filter(|(_, weight)| **weight > 0);
    let backends = backends.map(|(n, &weight)| Backend { weight, ..backend(n) });
    config_of(vec![service("web", VIP, backends.collect())])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_change_moves_a_flow_at_any_moment(changes in changes(), restart: bool) {
        let mut world = World::new();
        let mut open: HashMap<u16, IpAddr> = HashMap::new();
        let mut next_port = 0;
        for weights in changes {
            let now = world.now;
            world.reconcile(&weighted(&weights), |memory| {
                for (port, expected) in &open {
                    assert_eq!(host(memory, *port, false, now), Ok(*expected), "port {port}");
                }
            }).unwrap();
            for port in next_port..next_port + 20 {
                if let Ok(host) = host(&mut world.memory, port, true, world.now) {
                    open.insert(port, host);
                }
            }
            next_port += 20;
            if restart {
                world.restart();
            }
            world.now += Duration::from_secs(1);
        }
    }
}
