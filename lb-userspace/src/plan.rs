//! What the data plane ought to hold: a pure function of configuration, wishes, health, next hops and the time.

pub(crate) mod advice;
mod entry;
pub mod guards;
mod policy;
pub mod rollout;
pub mod state;
#[cfg(test)]
pub(crate) mod tests;
mod versions;

use std::{
    collections::{HashMap, HashSet},
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
    version::Version,
    wishes::{Leaving, Wish, Wishes},
};
use advice::{advice, stricter, weights};
use entry::entry;
use state::Wanted;
use versions::{Standing, versions};

/// What is known about the world beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The probes' verdicts. One that is missing is not known yet.
    pub health: HashMap<TargetKey, Verdict>,
    /// The last known way to each backend address.
    pub next_hops: HashMap<IpAddr, NextHop>,
    /// Backend addresses that are this host's own.
    pub own: HashSet<IpAddr>,
    /// What the operator wants, beyond what the configuration says.
    pub wishes: Wishes,
    /// What backends say of themselves, where they are asked.
    pub advice: HashMap<TargetKey, Advised>,
    /// The backends that are held for changing their health too often, and until when.
    pub damped: HashMap<TargetKey, Duration>,
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
#[derive(Clone, Debug)]
pub struct Plan {
    /// The services, sorted by name.
    pub services: Vec<PlannedService>,
    /// When the plan changes by itself: a grace or a drain ends. On the monotonic clock.
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
    takes_new: Vec<bool>,
    table: Arc<Table>,
}

/// Computes the plan. `now` is on the monotonic clock; `tables` only saves work.
#[must_use]
pub fn plan(config: &Config, view: &View, tables: &mut Tables, now: Duration) -> Plan {
    let names: HashSet<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    tables.memo.retain(|name, _| names.contains(name.as_str()));
    let planned = config.services.iter().map(|service| plan_service(config, service, view, tables, now));
    let (services, changes): (Vec<_>, Vec<_>) = planned.unzip();
    Plan { services, next_change: changes.into_iter().flatten().min() }
}

fn plan_service(
    config: &Config,
    service: &Service,
    view: &View,
    tables: &mut Tables,
    now: Duration,
) -> (PlannedService, Option<Duration>) {
    let mut until: Option<Duration> = None;
    let mut entry_of = |backend: &Backend, wanted| {
        let planned = entry(service, backend, wanted, view, now);
        until = until.into_iter().chain(planned.until).min();
        planned.entry
    };
    let wanted: Vec<Wanted> = service
        .backends
        .iter()
        .map(|backend| stricter(wanted(service, backend, view), advice(service, backend, view)))
        .collect();
    let mut backends: Vec<Entry> =
        service.backends.iter().zip(&wanted).map(|(backend, &wanted)| entry_of(backend, wanted)).collect();
    let leaving = view.wishes.leaving_of(service.key());
    let leaving =
        leaving.map(|leaving| entry_of(&leaving.backend, wanted_of_leaving(service, leaving))).collect();
    let until_released = hold_damped(service, view, &mut backends);
    let mut weights = weights(service, view);
    let standings: Vec<_> = (0..backends.len())
        .map(|at| Standing {
            wanted: wanted[at],
            verdict: entry::verdict(service, &service.backends[at], view),
            takes_new: backends[at].takes_new != 0,
            weight: f64::from(weights[at]),
        })
        .collect();
    let decision = versions(service, view, &standings, now);
    if let Some(decision) = &decision {
        for ((entry, weight), part) in backends.iter_mut().zip(&mut weights).zip(&decision.parts) {
            if part.factor() <= 0.0 {
                entry.takes_new = 0;
            } else {
                *weight = (f64::from(*weight) * part.factor() * 10_000.0).round() as u32;
            }
        }
    }
    until = [until, until_released, decision.as_ref().and_then(|decision| decision.until)]
        .into_iter()
        .flatten()
        .min();
    let (runs, parts) = decision.map(|decision| (decision.runs.cloned(), decision.parts)).unwrap_or_default();
    let takes_new = backends.iter().map(|entry| entry.takes_new != 0).collect();
    let planned = PlannedService {
        name: service.name.clone(),
        key: service.key(),
        track: service.track,
        idle_timeout: service.idle_timeout,
        source_bits: service.source_bits,
        options: policy::options(service),
        policy: policy::policy(service),
        guards: guards::of_service(service),
        table: tables.table(config, service, weights, takes_new),
        backends,
        server_ids: policy::server_ids(service),
        runs,
        parts,
        leaving,
    };
    (planned, until)
}

/// Gives no new flows to backends that are held, if others of the service take flows. Until when the next one is.
fn hold_damped(service: &Service, view: &View, backends: &mut [Entry]) -> Option<Duration> {
    if view.damped.is_empty() {
        return None;
    }
    let until = |backend: &Backend| {
        view.damped.get(&TargetKey { service: service.name.clone(), backend: backend.name.clone() }).copied()
    };
    let held: Vec<_> = service.backends.iter().map(until).collect();
    let others_take = backends.iter().zip(&held).any(|(entry, held)| entry.takes_new != 0 && held.is_none());
    if others_take {
        backends
            .iter_mut()
            .zip(&held)
            .filter(|(_, held)| held.is_some())
            .for_each(|(entry, _)| entry.takes_new = 0);
    }
    held.into_iter().flatten().min()
}

/// A drain that nobody has noticed the beginning of.
const ENDLESS: Wanted = Wanted::Drain { ends: None, on_end: OldFlows::Keep };

/// What the operator wants of a backend that is in the file.
fn wanted(service: &Service, backend: &Backend, view: &View) -> Wanted {
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
    fn table(
        &mut self,
        config: &Config,
        service: &Service,
        weights: Vec<u32>,
        takes_new: Vec<bool>,
    ) -> Arc<Table> {
        let names = service.backends.iter().map(|backend| backend.name.clone());
        let members: Vec<_> = names.zip(weights).collect();
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
