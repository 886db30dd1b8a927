//! What the data plane ought to hold: a pure function of configuration, wishes, health, next hops and the time.

pub(crate) mod advice;
mod damped;
pub(crate) mod entry;
pub mod guards;
pub mod kept;
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
    config::{AdminState, Backend, Config, Location, OnRemove, Service},
    health::{Health, TargetKey, agent::Advice},
    neighbours::NextHop,
    path_mtu::PathMtus,
    version::Version,
    wishes::{Leaving, Wish, Wishes},
};
use advice::{advice, percent, stricter};
use entry::{Decided, entry, is_reachable, verdict};
use kept::Kept;
use shares::{Candidate, Shares, Started, Takers, Taking, WHOLE, shares};
use state::Wanted;
pub use translation::Translation;

/// What is known about the world beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The probes' verdicts. One that is missing is not known yet.
    pub health: HashMap<TargetKey, Verdict>,
    /// The last known way to each backend address. Those that are reached alike share it.
    pub next_hops: HashMap<IpAddr, Arc<NextHop>>,
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The services, sorted by name.
    pub services: Vec<Arc<PlannedService>>,
    /// Where the balancer was taken to be.
    pub location: Option<Location>,
    /// What flows are translated to.
    pub translation: Translation,
    /// When the plan changes by itself: a grace or a drain ends, a slow start goes on. On the monotonic clock.
    pub next_change: Option<Duration>,
}

impl Plan {
    /// The services that are not the very same in `after`, by what packets find them by: what they are here, where they are,
    /// and there.
    pub fn changes<'a>(
        &'a self,
        after: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a PlannedService>, &'a PlannedService)> {
        let before: HashMap<ServiceKey, &Arc<PlannedService>> =
            self.services.iter().map(|planned| (planned.key, planned)).collect();
        after.services.iter().filter_map(move |after| match before.get(&after.key) {
            Some(before) if Arc::ptr_eq(before, after) => None,
            before => Some((before.map(|before| &***before), &**after)),
        })
    }
}

/// A service as it ought to be.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedService {
    /// What it was planned from.
    pub source: Arc<Service>,
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
    /// When it changes by itself, on the monotonic clock.
    pub until: Option<Duration>,
}

/// Tables that were computed before. Building one costs milliseconds, and most events change none.
#[derive(Debug, Default)]
pub struct Tables {
    memo: HashMap<String, Memo>,
}

#[derive(Debug)]
struct Memo {
    source: Arc<Service>,
    base: Base,
    targets: Vec<u64>,
    table: Arc<Table>,
}

/// Computes the plan. `now` is on the monotonic clock; `tables` only saves work.
#[must_use]
pub fn plan(config: &Config, view: &View, tables: &mut Tables, now: Duration) -> Plan {
    plan_others(config, view, tables, &Kept::nothing(config), now)
}

/// The same, where some services stay as they were planned.
#[must_use]
pub fn plan_others(config: &Config, view: &View, tables: &mut Tables, kept: &Kept, now: Duration) -> Plan {
    let names: HashSet<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    tables.memo.retain(|name, _| names.contains(name.as_str()));
    let services = config.services.iter().zip(kept.services()).map(|(service, kept)| match kept {
        Some(planned) => Arc::clone(planned),
        None => Arc::new(plan_service(config, service, view, tables, now)),
    });
    let services: Vec<_> = services.collect();
    Plan {
        next_change: services.iter().filter_map(|planned| planned.until).min(),
        services,
        location: config.balancer.location.clone(),
        translation: Translation::of(config.balancer.nat.as_ref(), &view.translated),
    }
}

fn plan_service(
    config: &Config,
    service: &Arc<Service>,
    view: &View,
    tables: &mut Tables,
    now: Duration,
) -> PlannedService {
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
    PlannedService {
        source: Arc::clone(service),
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
        until,
    }
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

/// Who takes flows, of the services whose backends start slowly. Those of services that stay as they were planned are those
/// of before.
#[must_use]
pub fn taking(config: &Config, view: &View, kept: &Kept, now: Duration) -> Taking {
    let slow = config.services.iter().zip(kept.services());
    let slow = slow.filter(|(service, _)| !service.sharing.slow_start.is_zero());
    let of_service = |(service, kept): (&Arc<Service>, Option<&Arc<PlannedService>>)| {
        let before = kept.and_then(|_| view.started.takers(&service.name));
        (
            service.name.clone(),
            before.map_or_else(|| Arc::new(takers(config, service, view, now)), Arc::clone),
        )
    };
    slow.map(of_service).collect()
}

fn takers(config: &Config, service: &Service, view: &View, now: Duration) -> Takers {
    let wanted: Vec<Wanted> = service.backends.iter().map(|backend| wanted(service, backend, view)).collect();
    let Considered { candidates, .. } = consider(config, service, &wanted, view, now);
    let taking = service.backends.iter().zip(candidates).filter(|(_, candidate)| candidate.takes());
    let names = taking.map(|(backend, _)| backend.name.clone()).collect();
    Takers { slow_start: service.sharing.slow_start, names }
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
    fn table(&mut self, config: &Config, service: &Arc<Service>, targets: &[u64]) -> Arc<Table> {
        if let Some(memo) = self.memo.get_mut(&service.name).filter(|memo| memo.is_of(service)) {
            // The one of before may go.
            memo.source = Arc::clone(service);
            memo.aim(targets);
            return Arc::clone(&memo.table);
        }
        let memo = Memo::build(config, service, targets);
        let table = Arc::clone(&memo.table);
        self.memo.insert(service.name.clone(), memo);
        table
    }
}

/// What a table follows from, beside its length and the seed.
fn members(service: &Service) -> impl Iterator<Item = Member<'_>> {
    service.backends.iter().map(|backend| Member { name: &backend.name, weight: backend.weight })
}

impl Memo {
    fn build(config: &Config, service: &Arc<Service>, targets: &[u64]) -> Self {
        let members: Vec<_> = members(service).collect();
        let base = Base::build(&members, service.slots, &config.fleet.seed)
            .expect("a checked configuration has a prime length, unique names and few enough backends");
        let table = base.with_targets(targets);
        Self { source: Arc::clone(service), base, targets: targets.to_vec(), table }
    }

    fn is_of(&self, service: &Service) -> bool {
        self.source.slots == service.slots && members(&self.source).eq(members(service))
    }

    fn aim(&mut self, targets: &[u64]) {
        if self.targets != targets {
            self.table = self.base.with_targets(targets);
            self.targets = targets.to_vec();
        }
    }
}
