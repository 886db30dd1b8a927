//! The truth: configuration, what is known of the world, and what the data plane holds.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use lb_common::{
    address::Address,
    backend::{Backend as Entry, Forwarding, Health as EntryHealth, OldFlows},
    counter::Reason,
    knobs::{FEATURE_AFFINITY, FEATURE_ANY_PORT, FEATURE_RESET, FEATURE_TRACKING},
    service::Track,
};
use tokio::task::block_in_place;
use tracing::{error, info, warn};

use super::{Event, now};
use crate::{
    admin::status::{self, Status},
    causes::with_causes,
    config::{self, Backend, Config, OnDeadline, Service},
    dataplane::{DataPlane as _, Tracking, ebpf::EbpfDataPlane, load::Knobs},
    health::{Health, HealthEvent, TargetKey},
    neighbours::{NextHop, Resolution},
    plan::{Plan, Tables, Verdict, View, plan},
    reconcile::{self, Applied, reconcile},
};

/// When what failed is tried again, where nothing else happens.
const RETRY: Duration = Duration::from_secs(1);

/// The owner's state.
#[derive(Debug)]
pub(super) struct Truth {
    config: Arc<Config>,
    path: PathBuf,
    view: View,
    tables: Tables,
    plan: Plan,
    applied: Applied,
    dataplane: EbpfDataPlane,
    /// How much was remembered when it was looked at last.
    tracking: Tracking,
    features: u32,
    /// Why an address has no next hop, or not any more.
    unreachable: HashMap<IpAddr, String>,
    /// Why a backend's health is what it is.
    causes: BTreeMap<TargetKey, String>,
    interfaces: Vec<status::Interface>,
}

/// The features that a configuration uses.
pub(super) fn features(config: &Config) -> u32 {
    let any_port = config.services.iter().any(|service| service.port == 0);
    let tracking = config.services.iter().any(|service| service.track != Track::Never);
    let affinity = config.services.iter().any(|service| service.source_bits != 0);
    let reset = config
        .services
        .iter()
        .any(|service| service.on_down == OldFlows::Reset || service.on_deadline == OnDeadline::Reset);
    let used = [
        (any_port, FEATURE_ANY_PORT),
        (tracking, FEATURE_TRACKING),
        (affinity, FEATURE_AFFINITY),
        (reset, FEATURE_RESET),
    ];
    used.into_iter().filter(|(used, _)| *used).fold(0, |features, (_, feature)| features | feature)
}

/// What a program for `config` is loaded with.
pub(super) fn knobs(config: &Config, features: u32) -> Knobs<'_> {
    Knobs { limits: &config.limits, seed: &config.fleet.seed, features }
}

/// Refuses a change of what is fixed while the daemon runs.
pub(super) fn check_change(from: &Config, to: &Config) -> Result<()> {
    let fixed = [
        ("[limits]", from.limits != to.limits),
        ("fleet.seed", from.fleet.seed != to.fleet.seed),
        ("balancer.mode", from.balancer.mode != to.balancer.mode),
        ("balancer.socket", from.balancer.socket != to.balancer.socket),
        ("balancer.pin_path", from.balancer.pin_path != to.balancer.pin_path),
        ("balancer.state_path", from.balancer.state_path != to.balancer.state_path),
    ];
    let changed: Vec<_> = fixed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    if changed.is_empty() {
        return Ok(());
    }
    bail!("{} cannot change while sluice runs: set it back, or restart sluice", changed.join(", "))
}

impl Truth {
    /// A truth that nothing is known of but the configuration, and what the maps say of the backends' health.
    pub(super) fn new(
        config: Config,
        path: PathBuf,
        dataplane: EbpfDataPlane,
        applied: Applied,
        features: u32,
    ) -> Self {
        let view = remembered(&config, &applied);
        Self {
            config: Arc::new(config),
            path,
            view,
            tables: Tables::default(),
            plan: Plan { services: Vec::new(), next_change: None },
            applied,
            dataplane,
            tracking: Tracking::default(),
            features,
            unreachable: HashMap::new(),
            causes: BTreeMap::new(),
            interfaces: Vec::new(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What its probes have said of a backend, if that was the same target.
    pub(super) fn known_health(&self, key: &TargetKey, target: SocketAddr) -> Option<Health> {
        let verdict = self.view.health.get(key).filter(|verdict| verdict.target == target)?;
        Some(verdict.health)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dataplane_mut(&mut self) -> &mut EbpfDataPlane {
        &mut self.dataplane
    }

    pub(super) fn set_interfaces(&mut self, interfaces: Vec<status::Interface>) {
        self.interfaces = interfaces;
    }

    /// When the plan changes by itself.
    pub(super) fn next_change(&self) -> Option<Duration> {
        self.plan.next_change
    }

    /// Whether every backend's next hop and health have been heard of.
    pub(super) fn knows_everything(&self) -> bool {
        self.config
            .services
            .iter()
            .flat_map(|service| service.backends.iter().map(move |b| (service, b)))
            .all(|(service, backend)| {
                let way = self.view.next_hops.contains_key(&backend.address)
                    || self.unreachable.contains_key(&backend.address);
                let probed =
                    service.probe.is_none() || self.view.health.contains_key(&key(service, &backend.name));
                way && probed
            })
    }

    /// Takes in what another task tells. Nothing is written until [`Self::converge`].
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::NextHop(address, resolution) => self.note_next_hop(address, resolution),
            Event::Health(event) => self.note_health(event),
            // Nobody waits any more where this fails.
            Event::Status(answer) => drop(answer.send(self.status())),
            Event::Reload(_) => {}
        }
    }

    fn note_next_hop(&mut self, address: IpAddr, resolution: Resolution) {
        match resolution {
            Resolution::Resolved(next_hop) => {
                if self.unreachable.remove(&address).is_some() {
                    info!(%address, interface = next_hop.interface, "next hop resolved");
                }
                self.view.next_hops.insert(address, next_hop);
            }
            // The last known way stays: a neighbour that does not answer for a moment breaks no flow, and one that is
            // gone fails its probes.
            Resolution::Pending => {}
            Resolution::Failed(reason) => {
                warn!(%address, "no next hop: {reason}");
                self.unreachable.insert(address, reason.to_string());
            }
        }
    }

    fn note_health(&mut self, event: HealthEvent) {
        let HealthEvent { service, backend, address, health, reason } = event;
        match health {
            Health::Up => info!(service, backend, "backend is up: {reason}"),
            Health::Down => warn!(service, backend, "backend is down: {reason}"),
        }
        let target = TargetKey { service, backend };
        self.causes.insert(target.clone(), reason);
        self.view.health.insert(target, Verdict { target: address, health, since: now() });
    }

    /// Loads and swaps in another program, where `features` need one.
    pub(super) fn specialise(&mut self, features: u32, pin_path: &Path) -> Result<()> {
        if features & !self.features == 0 {
            return Ok(());
        }
        let features = features | self.features;
        self.dataplane.specialise(knobs(&self.config, features), pin_path)?;
        self.features = features;
        Ok(())
    }

    /// Makes another configuration the one that runs: all of it, or nothing.
    pub(super) fn adopt(&mut self, config: Config) -> Result<()> {
        let config = Arc::new(config);
        self.follow(&config)?;
        self.config = config;
        Ok(())
    }

    /// Makes the data plane hold what configuration and world ask for.
    pub(super) fn converge(&mut self) -> Result<()> {
        self.follow(&Arc::clone(&self.config))
    }

    /// As [`Self::converge`], for when there is nobody to tell.
    pub(super) fn converge_or_log(&mut self) {
        if let Err(error) = self.converge() {
            error!("the data plane does not follow: {}", with_causes(error.as_ref()));
            self.plan.next_change = Some(now() + RETRY);
        }
    }

    fn follow(&mut self, config: &Config) -> Result<()> {
        block_in_place(|| {
            let plan = plan(config, &self.view, &mut self.tables, now());
            let (ops, next) = reconcile(&self.applied, &plan, &self.dataplane, now())?;
            self.dataplane.apply(&ops);
            log_changes(&self.applied, &next);
            self.applied = next;
            self.plan = plan;
            Ok(())
        })
    }

    /// Settles moved slots whose old flows are gone.
    pub(super) fn settle(&mut self) {
        if !reconcile::settle_is_due(&self.applied, now()) {
            return;
        }
        if let Err(error) = block_in_place(|| self.try_settle()) {
            error!("cannot settle moved slots: {}", with_causes(error.as_ref()));
        }
    }

    fn try_settle(&mut self) -> Result<()> {
        let timeouts: HashMap<u32, Duration> =
            self.applied.services().map(|(_, service)| (service.id, service.idle_timeout)).collect();
        let live = self.dataplane.sweep(now(), &|service| timeouts.get(&service).copied())?;
        let tracking = self.dataplane.tracking();
        if tracking.may_have_forgotten(&self.tracking, &self.config.limits) {
            self.applied.note_forgotten(now());
        }
        self.tracking = tracking;
        let ops = reconcile::settle(&mut self.applied, &live, &self.dataplane, now());
        self.dataplane.apply(&ops);
        Ok(())
    }

    fn status(&self) -> Status {
        let (used, slots) = self.applied.arena_use();
        let reasons = Reason::ALL.iter().zip(self.dataplane.reasons());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.path.display().to_string(),
            interfaces: self.interfaces.clone(),
            arena: status::Arena { used, slots },
            services: self.config.services.iter().map(|service| self.service_status(service)).collect(),
            reasons: reasons
                .map(|(reason, traffic)| (reason.name().to_owned(), status::Traffic::from(traffic)))
                .collect(),
        }
    }

    fn service_status(&self, service: &Service) -> status::Service {
        let key = service.key();
        let applied = self.applied.service(&key);
        let backends = (0..service.backends.len()).map(|at| self.backend_status(service, at));
        status::Service {
            name: service.name.clone(),
            address: service.address,
            port: service.port,
            protocol: service.protocol.name().to_owned(),
            digest: format!("{:016x}", applied.map_or(0, |applied| applied.entry.digest)),
            generation: applied.map_or(0, |applied| applied.entry.generation),
            slots: service.slots,
            moved_slots: applied.map_or(0, |applied| applied.moved_slots),
            traffic: applied
                .map(|applied| self.dataplane.service_traffic(applied.id))
                .unwrap_or_default()
                .into(),
            backends: backends.collect(),
        }
    }

    fn backend_status(&self, service: &Service, at: usize) -> status::Backend {
        let backend = &service.backends[at];
        let key = service.key();
        let id = self.applied.service(&key).and_then(|applied| applied.backend_id(backend.address));
        let planned = self.plan.services.iter().find(|planned| planned.key == key);
        let share = planned.and_then(|planned| planned.table.shares().get(at).copied()).unwrap_or(0);
        let target = self::key(service, &backend.name);
        let health = self.view.health.get(&target).map(|verdict| verdict.health.to_string());
        status::Backend {
            name: backend.name.clone(),
            address: backend.address,
            forwarding: status::forwarding(backend.forwarding).to_owned(),
            weight: backend.weight,
            admin: status::admin(backend.admin).to_owned(),
            health: health
                .unwrap_or_else(|| if service.probe.is_some() { "unknown" } else { "up" }.to_owned()),
            reason: self.causes.get(&target).cloned().unwrap_or_default(),
            next_hop: self.next_hop_status(backend),
            share: f64::from(share) / f64::from(service.slots.max(1)),
            traffic: id.map(|id| self.dataplane.backend_traffic(id)).unwrap_or_default().into(),
        }
    }

    fn next_hop_status(&self, backend: &Backend) -> String {
        let failed = self.unreachable.get(&backend.address);
        match (self.view.next_hops.get(&backend.address), failed) {
            (Some(next_hop), _)
                if backend.forwarding == config::Forwarding::L2 && next_hop.gateway.is_some() =>
            {
                format!("{next_hop}: l2 reaches direct neighbours only")
            }
            (Some(next_hop), None) => next_hop.to_string(),
            (Some(next_hop), Some(reason)) => format!("{next_hop}, now {reason}"),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "not resolved yet".to_owned(),
        }
    }
}

/// What an earlier daemon knew of the world: it holds until somebody says otherwise.
fn remembered(config: &Config, applied: &Applied) -> View {
    let mut view = View::default();
    for service in &config.services {
        let Some(applied) = applied.service(&service.key()) else { continue };
        let entries = applied.entries();
        for backend in &service.backends {
            let Some(entry) = entries.get(&Address::from(backend.address)) else { continue };
            view.next_hops.extend(remembered_next_hop(entry).map(|next_hop| (backend.address, next_hop)));
            let health = match entry.health {
                health if health == EntryHealth::Up as u8 => Health::Up,
                health if health == EntryHealth::Down as u8 => Health::Down,
                _ => continue,
            };
            let Some(probe) = service.probe else { continue };
            let target = (backend.address, probe.port).into();
            let since = Duration::from_secs(u64::from(entry.health_since_s));
            view.health.insert(key(service, &backend.name), Verdict { target, health, since });
        }
    }
    view
}

/// The way that packets take, as far as an entry tells it. The kernel is asked for the rest soon.
fn remembered_next_hop(entry: &Entry) -> Option<NextHop> {
    (entry.forwarding != Forwarding::Unresolved as u8).then(|| NextHop {
        ifindex: entry.ifindex,
        interface: format!("interface {}", entry.ifindex),
        mac: entry.next_hop_mac,
        source_mac: entry.source_mac,
        source: entry.source.into(),
        mtu: entry.mtu,
        vlan: entry.vlan,
        gateway: None,
    })
}

fn key(service: &Service, backend: &str) -> TargetKey {
    TargetKey { service: service.name.clone(), backend: backend.to_owned() }
}

/// One line for each table that was published.
fn log_changes(before: &Applied, after: &Applied) {
    for (key, service) in after.services() {
        let generation = before.service(key).map_or(0, |service| service.entry.generation);
        if service.entry.generation != generation {
            let digest = format!("{:016x}", service.entry.digest);
            let generation = service.entry.generation;
            info!(
                service = service.name,
                generation,
                digest,
                moved_slots = service.moved_slots,
                "table published"
            );
        }
    }
}
