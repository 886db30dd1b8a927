//! The truth: configuration, what is known of the world, and what the data plane holds.

mod changes;
mod follow;
mod look;
mod names;
mod orders;
mod passive;
mod peers;
mod preview;
mod report;
mod roads;
mod rollouts;
mod tables;
mod verify;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use lb_common::{
    knobs::{
        FEATURE_AFFINITY, FEATURE_ANY_PORT, FEATURE_COOKIES, FEATURE_ECHO, FEATURE_FRAGMENTS, FEATURE_GUE,
        FEATURE_LIMITS, FEATURE_LISTS, FEATURE_MSS, FEATURE_NAT, FEATURE_NEXT, FEATURE_PASSIVE,
        FEATURE_PEERS, FEATURE_QUIC, FEATURE_RATES, FEATURE_RESET, FEATURE_STRICT, FEATURE_TRACKING,
    },
    service::Track,
};
use tracing::{info, warn};

use super::{Event, census::Census, now, record::Record, remember, since_epoch};
use crate::{
    admin::status,
    config::{Backend, Config, Forwarding, Protocol, Service},
    dataplane::{ebpf::EbpfDataPlane, load::Knobs, next::NextProgram, pins::Pins},
    health::{Health, HealthEvent, TargetKey},
    history::Aspect,
    home,
    interface::Netlink,
    metrics::Meters,
    neighbours::{Resolution, Unreachable},
    path_mtu::{self, TooBig},
    plan::{
        Advised, Plan, Tables, Verdict, View,
        kept::{Kept, Stale},
    },
    reconcile::{Applied, AppliedService},
    wishes::{Wishes, file::StateFile},
};
use orders::Pending;
use passive::Watch;
use peers::Peers;
use roads::Roads;
use rollouts::PendingRollout;
use tables::Published;
pub(super) use verify::Found;

/// The owner's state.
#[derive(Debug)]
pub(super) struct Truth {
    config: Arc<Config>,
    path: PathBuf,
    view: View,
    tables: Tables,
    plan: Plan,
    /// What has changed of the view since that plan was made.
    stale: Stale,
    applied: Applied,
    dataplane: EbpfDataPlane,
    features: u32,
    /// Why an address has no next hop, or not any more.
    unreachable: HashMap<IpAddr, String>,
    /// Why a backend's health is what it is.
    causes: BTreeMap<TargetKey, String>,
    interfaces: Vec<status::Interface>,
    /// What the last walk through the tables of flows has told, and when the next one is due.
    census: Census,
    next_look: Duration,
    state: StateFile,
    record: Record,
    /// When the monotonic clock began, since 1970.
    boot: Duration,
    /// Orders that are answered once the data plane follows.
    pending: Vec<Pending>,
    pending_rollouts: Vec<PendingRollout>,
    /// Whether the maps were empty at the start.
    is_new: bool,
    /// The ways of probes.
    roads: Roads,
    /// What clients' packets tell of backends.
    watch: Watch,
    /// The other balancers of the fleet, once there is something to tell.
    peers: Option<Peers>,
    /// What became of tables, and of backends' parts.
    published: Published,
    /// Whether the program is attached and has tables.
    forwards: bool,
    meters: Arc<Meters>,
}

/// The features that a configuration uses, as far as `services` of it go.
pub(super) fn features<'a>(config: &Config, services: impl IntoIterator<Item = &'a Arc<Service>>) -> u32 {
    let used = [
        (!config.fleet.peers.is_empty(), FEATURE_PEERS),
        (config.balancer.next_program.is_some(), FEATURE_NEXT),
        (config.balancer.nat.is_some(), FEATURE_NAT),
    ];
    services.into_iter().fold(all_of(used), |features, service| features | features_of(service))
}

fn features_of(service: &Service) -> u32 {
    all_of([
        (service.port == 0, FEATURE_ANY_PORT),
        (service.track != Track::Never, FEATURE_TRACKING),
        (service.source_bits != 0, FEATURE_AFFINITY),
        // Not only where the file says so: a command may ask for it at any time.
        (service.track != Track::Never && service.protocol == Protocol::Tcp, FEATURE_RESET),
        (service.guard.drops_malformed, FEATURE_STRICT),
        (service.guard.rules.is_some(), FEATURE_LISTS),
        (service.guard.has_rates(), FEATURE_RATES),
        (service.guard.syn_cookies.is_some(), FEATURE_COOKIES),
        (service.backends.iter().any(|backend| backend.limits.is_some()), FEATURE_LIMITS),
        (service.passive.is_some(), FEATURE_PASSIVE),
        (service.echo, FEATURE_ECHO),
        (service.backends.iter().any(is_behind_gue), FEATURE_GUE),
        (service.fragments, FEATURE_FRAGMENTS),
        (service.mss.is_some(), FEATURE_MSS),
        (service.protocol == Protocol::Quic, FEATURE_QUIC),
    ])
}

fn all_of<const N: usize>(used: [(bool, u32); N]) -> u32 {
    used.into_iter().filter(|(used, _)| *used).fold(0, |features, (_, feature)| features | feature)
}

fn is_behind_gue(backend: &Backend) -> bool {
    backend.forwarding == Forwarding::Gue
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
        ("balancer.probe_mark", from.balancer.probe_mark != to.balancer.probe_mark),
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
        let mut state = StateFile::new(config.balancer.state_path.clone());
        let boot = since_epoch().saturating_sub(now());
        let mut view = remember::view(&config, &applied, &mut state, boot);
        view.translated = applied.translated();
        let mut record = Record::open(state.path(), boot);
        record.begin(&config, &view.wishes);
        let causes = remember::causes(&view, record.histories());
        let is_new = applied.services().next().is_none();
        Self {
            config: Arc::new(config),
            path,
            view,
            tables: Tables::default(),
            plan: Plan::default(),
            stale: Stale::default(),
            applied,
            dataplane,
            features,
            unreachable: HashMap::new(),
            causes,
            interfaces: Vec::new(),
            census: Census::default(),
            next_look: now(),
            state,
            record,
            boot,
            pending: Vec::new(),
            pending_rollouts: Vec::new(),
            is_new,
            roads: Roads::new(),
            watch: Watch::default(),
            peers: None,
            published: Published::default(),
            forwards: false,
            meters: Arc::new(Meters::new(now())),
        }
    }

    pub(super) const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(super) fn wishes(&self) -> &Wishes {
        &self.view.wishes
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

    /// What the data plane holds of a service.
    pub(super) fn applied_of(&self, service: &str) -> Option<&AppliedService> {
        self.applied.services().map(|(_, applied)| applied).find(|applied| applied.name == service)
    }

    pub(super) const fn roads(&self) -> &Roads {
        &self.roads
    }

    pub(super) const fn roads_mut(&mut self) -> &mut Roads {
        &mut self.roads
    }

    /// Builds what probes of the configuration need.
    pub(super) async fn prepare_roads(&mut self, netlink: &Netlink, pins: &Pins) {
        self.roads.prepare(&self.config, netlink, pins).await;
    }

    /// Has probes go where packets are to go.
    pub(super) fn follow_roads(&mut self) {
        let kept = Kept::of(&self.plan, &self.config, &self.stale, now());
        self.roads.follow(&self.config, &self.view, &kept);
    }

    pub(super) fn set_interfaces(&mut self, interfaces: Vec<status::Interface>) {
        self.interfaces = interfaces;
    }

    /// What the daemon counts of its own work.
    pub(super) const fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// From now on packets are forwarded.
    pub(super) fn note_forwarding(&mut self) {
        self.forwards = true;
    }

    /// When the plan changes by itself.
    pub(super) fn next_change(&self) -> Option<Duration> {
        self.plan.next_change
    }

    /// How many of the first services there are of whose backends next hops and health have been heard, where that is known
    /// of so many.
    pub(super) fn known_services(&self, known: usize) -> usize {
        let others = self.config.services[known..].iter();
        known + others.take_while(|service| self.knows(service)).count()
    }

    fn knows(&self, service: &Service) -> bool {
        service.backends.iter().all(|backend| {
            let way = self.view.next_hops.contains_key(&backend.address)
                || self.view.own.contains(&backend.address)
                || self.unreachable.contains_key(&backend.address);
            way && self.has_been_probed(service, &backend.name)
        })
    }

    /// What an agent has said is in no map, so it has to say it again.
    fn has_been_probed(&self, service: &Service, backend: &str) -> bool {
        let Some(probe) = &service.probe else {
            return true;
        };
        let key = key(service, backend);
        self.view.health.get(&key).is_some_and(|verdict| {
            verdict.health == Health::Down || !probe.check.is_agent() || self.view.advice.contains_key(&key)
        })
    }

    /// Takes in what another task tells. Nothing is written until [`Self::converge`].
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::NextHop(address, resolution) => self.note_next_hop(address, resolution),
            Event::TooBig(told) => self.note_too_big(&told),
            Event::Health(event) => self.note_health(event),
            // Nobody waits any more where this fails.
            Event::Status(asked) => drop(asked.answer.send(self.status(asked.histories))),
            Event::Scene(asked) => drop(asked.send(self.scene())),
            Event::Order(order) => self.obey(order),
            Event::Rollout(order) => self.roll_out(order),
            Event::Metrics(answer) => drop(answer.send(self.snapshot())),
            Event::Config(answer) => drop(answer.send(Arc::clone(&self.config))),
            Event::Ready(answer) => drop(answer.send(self.forwards)),
            // What more than the truth is needed for is its owner's.
            Event::Reload(_)
            | Event::Peer(_)
            | Event::Plan(_)
            | Event::Apply(_)
            | Event::Edit(_)
            | Event::Said(_)
            | Event::Verify(_)
            | Event::Repair(_)
            | Event::BeginCapture(_)
            | Event::EndCapture(_) => {}
        }
    }

    fn note_next_hop(&mut self, address: IpAddr, resolution: Resolution) {
        self.stale.address(address);
        if matches!(&resolution, Resolution::Failed(reason) if **reason == Unreachable::Local) {
            return self.note_own(address);
        }
        if self.view.own.remove(&address) {
            info!(%address, "this host is the backend no more");
        }
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

    /// A backend's address is this host's own, so there is no way to it, nor need of one.
    fn note_own(&mut self, address: IpAddr) {
        if self.view.own.insert(address) {
            info!(%address, "this host is the backend: what is for it passes to the stack");
            self.tell_untranslated(address);
        }
        self.view.next_hops.remove(&address);
        self.unreachable.remove(&address);
    }

    /// What is for this host is not translated.
    fn tell_untranslated(&self, address: IpAddr) {
        for service in &self.config.services {
            for backend in service.backends.iter().filter(|backend| backend.address == address) {
                if let Some(remedy) = home::remedy(service, backend) {
                    warn!(service = service.name, backend = backend.name, "{remedy}");
                }
            }
        }
    }

    /// Anybody may send such a message, and often, so the data plane follows only what makes a difference.
    fn note_too_big(&mut self, told: &TooBig) {
        let is_ours = self.plan.services.iter().any(|service| {
            let mut backends = service.backends.iter().chain(&service.leaving);
            backends.any(|backend| path_mtu::is_sent(&service.key, backend, told))
        });
        let TooBig { destination: backend, mtu, .. } = *told;
        if is_ours && self.view.path_mtus.learn(backend, mtu, now()) {
            self.stale.address(backend);
            info!(%backend, mtu, "a router says what fits on the way to the backend");
            self.plan.next_change = Some(now());
        }
    }

    fn note_health(&mut self, event: HealthEvent) {
        let HealthEvent { service, backend, address, health, reason, advice } = event;
        let target = TargetKey { service, backend };
        if let Some(advice) = advice {
            self.note_advice(&target, Advised { target: address, advice });
        }
        if self.watch.keep(&target, Verdict { target: address, health, since: now() }, &reason) {
            return;
        }
        if self.known_health(&target, address) == Some(health) {
            // It has not changed: since when it is that way stays too.
            self.causes.entry(target).or_insert(reason);
            return;
        }
        self.change_health(target, Verdict { target: address, health, since: now() }, reason);
    }

    /// A backend's health becomes another one.
    fn change_health(&mut self, target: TargetKey, verdict: Verdict, reason: String) {
        let (TargetKey { service, backend }, health) = (&target, verdict.health);
        match health {
            Health::Up => info!(service, backend, "backend is up: {reason}"),
            Health::Down => warn!(service, backend, "backend is down: {reason}"),
        }
        let services = &self.config.services;
        let at = services.binary_search_by(|candidate| candidate.name.as_str().cmp(service)).ok();
        let flap = at.and_then(|at| services[at].flap);
        self.record.change_health(&target, health, &reason, flap);
        self.stale.service(service);
        self.causes.insert(target.clone(), reason);
        self.view.health.insert(target, verdict);
    }

    /// What backends need that are gone from the file and keep their flows, as packets need it.
    pub(super) fn features_of_leaving(&self) -> u32 {
        let any = |forwarding| {
            let leaving = self.config.services.iter().flat_map(|s| self.view.wishes.leaving_of(s.key()));
            leaving.into_iter().any(|leaving| leaving.backend.forwarding == forwarding)
        };
        let used = [(Forwarding::Gue, FEATURE_GUE), (Forwarding::Nat, FEATURE_NAT)];
        all_of(used.map(|(forwarding, feature)| (any(forwarding), feature)))
    }

    fn note_advice(&mut self, target: &TargetKey, advised: Advised) {
        if self.view.advice.get(target) == Some(&advised) {
            return;
        }
        let TargetKey { service, backend } = target;
        info!(service, backend, "backend says of itself: {}", advised.advice);
        self.stale.service(service);
        self.record.change(target, Aspect::Advice, advised.advice.to_string(), "the backend says so");
        self.view.advice.insert(target.clone(), advised);
    }

    /// Loads another program, where `features` need one. What passes goes on to `next`; gives the one before.
    pub(super) fn specialise(
        &mut self,
        features: u32,
        next: Option<NextProgram>,
        pin_path: &Path,
    ) -> Result<Option<NextProgram>> {
        if features & !self.features == 0 {
            return Ok(self.dataplane.replace_next(next)?);
        }
        let features = features | self.features;
        let former = self.dataplane.specialise(knobs(&self.config, features), next, pin_path)?;
        self.features = features;
        Ok(former)
    }
}

/// What a backend of a service is called among all.
pub(super) fn key(service: &Service, backend: &str) -> TargetKey {
    TargetKey::new(&service.name, backend)
}
