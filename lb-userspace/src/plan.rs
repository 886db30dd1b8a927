//! What the data plane ought to hold: a pure function of configuration, wishes, health, next hops and the time.

pub(crate) mod advice;
mod damped;
pub(crate) mod entry;
pub mod guards;
mod policy;
pub mod rollout;
pub mod shares;
pub mod state;
#[cfg(test)]
pub(crate) mod tests;
mod translation;
mod versions;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lb_common::{
    address::Address,
    backend::{Backend as Entry, OldFlows},
    maglev::{Base, Member, Table},
    policy::Policy,
    quic::ServerId,
    service::{ServiceKey, Track},
};

use crate::{
    config::{AdminState, Backend, Config, OnRemove, Service},
    health::{Health, TargetKey, agent::Advice},
    neighbours::NextHop,
    path_mtu::PathMtus,
    version::Version,
    wishes::{Leaving, Wish, Wishes},
};
use advice::{advice, percent, stricter};
use entry::{Decided, entry, is_reachable, verdict};
use shares::{Candidate, Shares, Started, Takers, Taking, WHOLE, shares};
use state::Wanted;
pub use translation::Translation;

/// What is known about the world beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The probes' verdicts. One that is missing is not known yet.
    pub health: HashMap<TargetKey, Verdict>,
    /// The last known way to each backend address.
    pub next_hops: HashMap<IpAddr, NextHop>,
    /// Backend addresses that are this host's own.
    pub own: HashSet<IpAddr>,
    /// What routers have said of the ways there.
    pub path_mtus: PathMtus,
    /// What the operator wants, beyond what the configuration says.
    pub wishes: Wishes,
    /// What backends say of themselves, where they are asked.
    pub advice: HashMap<TargetKey, Advised>,
    /// Addresses that flows were translated to when they were walked through last.
    pub translated: BTreeSet<IpAddr>,
    /// The backends that are held for changing their health too often, and until when.
    pub damped: HashMap<TargetKey, Duration>,
    /// When backends began to take flows.
    pub started: Started,
}

/// What a backend says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advised {
    /// What was asked. Of another target it says nothing.
    pub target: SocketAddr,
    /// What it said.
    pub advice: Advice,
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
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The services, sorted by name.
    pub services: Vec<PlannedService>,
    /// What flows are translated to.
    pub translation: Translation,
    /// When the plan changes by itself: a grace or a drain ends, a slow start goes on. On the monotonic clock.
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
    /// What it asks for beyond forwarding: `OPTION_*` of `lb_common::policy`.
    pub options: u8,
    /// How it has that.
    pub policy: Policy,
    /// What its lists and its backends' limits come to.
    pub guards: guards::ServiceGuards,
    /// Which part of the new flows each backend is to have, in the order of the configuration.
    pub shares: Shares,
    /// Which backend new flows get: indexes into `backends`.
    pub table: Arc<Table>,
    /// The backends' entries, in the order of the configuration.
    pub backends: Vec<Entry>,
    /// Which backends connection ids name, by address.
    pub server_ids: Vec<(Address, ServerId)>,
    /// The least version of the line that runs, where the service has a roll-out.
    pub runs: Option<Version>,
    /// What that means for each of `backends`; empty where it has none.
    pub parts: Vec<rollout::Part>,
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
    targets: Vec<u64>,
    table: Arc<Table>,
}

/// Computes the plan. `now` is on the monotonic clock; `tables` only saves work.
#[must_use]
pub fn plan(config: &Config, view: &View, tables: &mut Tables, now: Duration) -> Plan {
    let names: HashSet<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    tables.memo.retain(|name, _| names.contains(name.as_str()));
    let planned = config.services.iter().map(|service| plan_service(config, service, view, tables, now));
    let (services, changes): (Vec<_>, Vec<_>) = planned.unzip();
    let translation = Translation::of(config.balancer.nat.as_ref(), &view.translated);
    Plan { services, translation, next_change: changes.into_iter().flatten().min() }
}

fn plan_service(
    config: &Config,
    service: &Service,
    view: &View,
    tables: &mut Tables,
    now: Duration,
) -> (PlannedService, Option<Duration>) {
    let wanted: Vec<Wanted> = service.backends.iter().map(|backend| wanted(service, backend, view)).collect();
    let Considered { candidates, rollout, until } = consider(config, service, &wanted, view, now);
    let shares = shares(&service.sharing, &candidates, sweep(service), now);
    let mut until = shares.until.into_iter().chain(until).min();
    let (runs, parts) = rollout.map(|decision| (decision.runs.cloned(), decision.parts)).unwrap_or_default();
    let mut entry_of = |backend: &Backend, decided| {
        let planned = entry(service, backend, decided, view, now);
        until = until.into_iter().chain(planned.until).min();
        planned.entry
    };
    let follows_probes = shares.belief.follows_probes();
    let decided = wanted.into_iter().zip(&shares.targets);
    let decided = decided.map(|(wanted, &target)| Decided { wanted, takes_new: target > 0, follows_probes });
    let backends: Vec<Entry> =
        service.backends.iter().zip(decided).map(|(backend, decided)| entry_of(backend, decided)).collect();
    let leaving = view.wishes.leaving_of(service.key());
    let leaving = leaving.map(|leaving| {
        let wanted = wanted_of_leaving(service, leaving);
        entry_of(&leaving.backend, Decided { wanted, takes_new: false, follows_probes })
    });
    let leaving = leaving.collect();
    let planned = PlannedService {
        name: service.name.clone(),
        key: service.key(),
        track: service.track,
        idle_timeout: service.idle_timeout,
        source_bits: service.source_bits,
        options: policy::options(service),
        policy: policy::policy(service),
        guards: guards::of_service(service),
        table: tables.table(config, service, &shares.targets),
        shares,
        backends,
        server_ids: policy::server_ids(service),
        runs,
        parts,
        leaving,
    };
    (planned, until)
}

/// The backends of a service, with what damping and a roll-out make of them.
struct Considered<'a> {
    candidates: Vec<Candidate>,
    rollout: Option<rollout::Decision<'a>>,
    /// When either changes by itself.
    until: Option<Duration>,
}

fn consider<'a>(
    config: &Config,
    service: &'a Service,
    wanted: &[Wanted],
    view: &'a View,
    now: Duration,
) -> Considered<'a> {
    let mut candidates = candidates(config, service, wanted, view);
    let released = damped::hold(service, view, &mut candidates);
    let rollout = versions::roll_out(service, view, wanted, &mut candidates, now);
    let until = rollout.as_ref().and_then(|decision| decision.until).into_iter().chain(released).min();
    Considered { candidates, rollout, until }
}

/// The backends of a service, as far as their shares are concerned.
fn candidates(config: &Config, service: &Service, wanted: &[Wanted], view: &View) -> Vec<Candidate> {
    let backends = service.backends.iter().zip(wanted);
    let candidate = |(backend, wanted): (&Backend, &Wanted)| Candidate {
        weight: backend.weight,
        part: WHOLE,
        percent: percent(service, backend, view),
        ready: *wanted == Wanted::Ready,
        reachable: is_reachable(service, backend, view),
        health: verdict(service, backend, view).map(|verdict| (verdict.health, verdict.since)),
        priority: backend.priority,
        shared_labels: shared_labels(config, backend),
        started: started(service, backend, view),
    };
    backends.map(candidate).collect()
}

/// How near a backend is. One of which nobody has said where it is is as far away as can be.
fn shared_labels(config: &Config, backend: &Backend) -> usize {
    let places = (&config.balancer.location, &backend.location);
    if let (Some(own), Some(other)) = places { own.shared_with(other) } else { 0 }
}

fn started(service: &Service, backend: &Backend, view: &View) -> Option<Duration> {
    let starts_slowly = !service.sharing.slow_start.is_zero();
    let key = || TargetKey { service: service.name.clone(), backend: backend.name.clone() };
    starts_slowly.then(|| view.started.of(&key())).flatten()
}

/// Who takes flows, of the services whose backends start slowly.
#[must_use]
pub fn taking(config: &Config, view: &View, now: Duration) -> Taking {
    let slow = config.services.iter().filter(|service| !service.sharing.slow_start.is_zero());
    let of_service = |service: &Service| {
        let wanted: Vec<Wanted> =
            service.backends.iter().map(|backend| wanted(service, backend, view)).collect();
        let Considered { candidates, .. } = consider(config, service, &wanted, view, now);
        let taking = service.backends.iter().zip(candidates).filter(|(_, candidate)| candidate.takes());
        let names = taking.map(|(backend, _)| backend.name.clone()).collect();
        (service.name.clone(), Takers { slow_start: service.sharing.slow_start, names })
    };
    slow.map(of_service).collect()
}

/// Within which time a cause that all backends have in common is seen by all of their probes. Over a restart, moments are
/// known to the second.
fn sweep(service: &Service) -> Duration {
    const KEPT: Duration = Duration::from_secs(1);
    service.probe.as_ref().map_or(KEPT, |probe| probe.interval + probe.jitter + probe.timeout + KEPT)
}

/// A drain that nobody has noticed the beginning of.
const ENDLESS: Wanted = Wanted::Drain { ends: None, on_end: OldFlows::Keep };

/// What operator and backend want of a backend that is in the file.
fn wanted(service: &Service, backend: &Backend, view: &View) -> Wanted {
    stricter(wish_for(service, backend, view), advice(service, backend, view))
}

fn wish_for(service: &Service, backend: &Backend, view: &View) -> Wanted {
    let wish = view.wishes.of(&service.name, &backend.name);
    match wish.map_or(backend.admin, |wish| wish.state) {
        AdminState::Ready => Wanted::Ready,
        AdminState::Maintenance => Wanted::Maintenance,
        AdminState::Drain => wish.map_or(ENDLESS, |wish| drain(service, wish)),
    }
}

fn wanted_of_leaving(service: &Service, leaving: &Leaving) -> Wanted {
    if service.on_remove == OnRemove::Drop || leaving.wish.state == AdminState::Maintenance {
        return Wanted::Maintenance;
    }
    drain(service, &leaving.wish)
}

fn drain(service: &Service, wish: &Wish) -> Wanted {
    Wanted::Drain { ends: wish.ends(service), on_end: wish.on_deadline(service).into() }
}

impl Tables {
    fn table(&mut self, config: &Config, service: &Service, targets: &[u64]) -> Arc<Table> {
        let members = service.backends.iter().map(|backend| (backend.name.clone(), backend.weight));
        let members: Vec<_> = members.collect();
        if let Some(memo) = self.memo.get_mut(&service.name)
            && memo.members == members
            && memo.length == service.slots
        {
            memo.aim(targets);
            return Arc::clone(&memo.table);
        }
        let memo = Memo::build(config, members, service.slots, targets);
        let table = Arc::clone(&memo.table);
        self.memo.insert(service.name.clone(), memo);
        table
    }
}

impl Memo {
    fn build(config: &Config, members: Vec<(String, u32)>, length: u32, targets: &[u64]) -> Self {
        let of_base: Vec<_> = members.iter().map(|(name, weight)| Member { name, weight: *weight }).collect();
        let base = Base::build(&of_base, length, &config.fleet.seed)
            .expect("a checked configuration has a prime length, unique names and few enough backends");
        let table = Arc::new(base.with_targets(targets));
        Self { members, length, base, targets: targets.to_vec(), table }
    }

    fn aim(&mut self, targets: &[u64]) {
        if self.targets != targets {
            self.table = Arc::new(self.base.with_targets(targets));
            self.targets = targets.to_vec();
        }
    }
}
