//! How things are, for whoever asks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::{backend::Backend as Entry, budget::Kind, counter::Reason, guard::Refusal, service::Track};

use super::{Truth, key};
use crate::{
    admin::status::{self, Status},
    budget,
    config::{self, AdminState, Backend, Protocol, Service, Via},
    daemon::{QUEUE, now},
    dataplane::{DataPlane as _, next::NextProgram},
    health::{Health, TargetKey, way::Way},
    history::Change,
    metrics::Snapshot,
    plan::{
        PlannedService,
        advice::advice,
        shares::{Availability, Belief, STEPS, Shares},
    },
    reconcile::AppliedService,
    wishes::Wish,
};

/// Why nobody is probed by the path of traffic before it is known.
const NO_WAY: &str = "no next hop is known yet";

/// Who a report is about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    service: &'a Service,
    backend: &'a Backend,
    wish: Option<&'a Wish>,
    /// Its place in the service's table; none where it is leaving.
    at: Option<usize>,
    /// Its number and entry in the data plane, if it has one.
    applied: Option<(u32, Entry)>,
}

impl Truth {
    pub(super) fn status(&self, histories: bool) -> Status {
        let (used, slots) = self.applied.arena_use();
        let reasons = Reason::ALL.iter().zip(self.dataplane.reasons());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.path.display().to_string(),
            interfaces: self.interfaces.clone(),
            next_program: self.dataplane.next().map(next_program),
            arena: status::Arena { used, slots },
            tracking: self.dataplane.tracking().into(),
            nat: self.nat_status(),
            fleet: self.fleet_status(),
            services: self
                .config
                .services
                .iter()
                .map(|service| self.service_status(service, histories))
                .collect(),
            reasons: reasons
                .map(|(reason, traffic)| (reason.name().to_owned(), status::Traffic::from(traffic)))
                .collect(),
        }
    }

    /// Everything that there are metrics of. Which events wait is for the one to say who has sent this one.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            status: self.status(false),
            limits: self.config.limits,
            meters: Arc::clone(&self.meters),
            boot: self.boot,
            forwards: self.forwards,
            events: (0, QUEUE),
        }
    }

    /// How things are, in one line for the service manager.
    pub(in crate::daemon) fn summary(&self) -> String {
        let services = self.config.services.len();
        let all: usize = self.config.services.iter().map(|service| service.backends.len()).sum();
        let downs = self.view.health.iter().filter(|(_, verdict)| verdict.health == Health::Down);
        let down = downs.filter(|(target, _)| self.config.has(target)).count();
        let available =
            |planned: &&Arc<PlannedService>| planned.shares.availability == Availability::Available;
        let unavailable = services - self.plan.services.iter().filter(available).count();
        format!("forwarding {services} services, {unavailable} not available; {all} backends, {down} down")
    }

    fn nat_status(&self) -> Option<status::Nat> {
        let found = self.dataplane.translated();
        let configured = self.config.balancer.nat.iter().flat_map(|nat| &nat.addresses);
        let mut addresses: BTreeMap<_, _> = configured.map(|&address| (address, 0)).collect();
        addresses.extend(found.addresses.iter().map(|(&address, &flows)| (address, flows)));
        (!addresses.is_empty()).then(|| status::Nat {
            sessions: found.sessions,
            most_sessions: self.config.limits.nat_sessions,
            openings: found.openings,
            most_openings: self.config.limits.nat_openings,
            refused: self.dataplane.tracking().refused[Kind::Sessions as usize],
            addresses,
        })
    }

    fn service_status(&self, service: &Service, histories: bool) -> status::Service {
        let applied = self.applied.service(&service.key());
        let shares = self.planned(service).map(|planned| &planned.shares);
        let availability = shares.map(|shares| shares.availability);
        let unavailable = match availability {
            Some(Availability::Available) => None,
            Some(reason) => Some(reason.to_string()),
            None => Some("it has no table yet".to_owned()),
        };
        let backend = |subject: Subject<'_>| {
            let history = histories.then(|| self.history(&key(subject.service, &subject.backend.name)));
            status::Backend { history: history.unwrap_or_default(), ..self.backend_status(subject) }
        };
        let mut backends: Vec<_> = self.subjects(service).map(backend).collect();
        self.measure(service, &mut backends);
        let largest_packet = backends.iter().filter_map(|backend| backend.largest_packet).min();
        status::Service {
            name: service.name.clone(),
            address: service.address,
            port: service.port,
            protocol: service.protocol.name().to_owned(),
            digest: format!("{:016x}", applied.map_or(0, |applied| applied.entry.digest)),
            generation: applied.map_or(0, |applied| applied.entry.generation),
            slots: service.slots,
            moved_slots: applied.map_or(0, |applied| applied.moved_slots),
            tracked_flows: backends.iter().map(|backend| backend.tracked_flows).sum(),
            available: unavailable.is_none(),
            unavailable,
            probes: shares.map_or(Belief::Probes, |shares| shares.belief).name().to_owned(),
            levels: shares.map(levels).unwrap_or_default(),
            prefixes: service.guard.rules.as_ref().map(|rules| rules.entries().len() as u32),
            largest_packet,
            size_warning: largest_packet.and_then(|largest| budget::remedy(&service.key(), largest)),
            refused: self.refused(applied),
            tables: self.tables_status(service, histories),
            rollout: self.rollout_status(service),
            opened_flows: tells_openings(service)
                .then(|| applied.map_or(0, |applied| self.dataplane.service_opened(applied.id))),
            traffic: applied
                .map(|applied| self.dataplane.service_traffic(applied.id))
                .unwrap_or_default()
                .into(),
            backends,
        }
    }

    /// A service's packets that were turned away.
    fn refused(&self, applied: Option<&AppliedService>) -> BTreeMap<String, u64> {
        let packets = applied.map(|applied| self.dataplane.refusals(applied.id)).unwrap_or_default();
        Refusal::ALL
            .iter()
            .zip(packets)
            .map(|(refusal, packets)| (refusal.name().to_owned(), packets))
            .collect()
    }

    /// The limits of a backend, with what it has of them.
    fn limits(&self, backend: &Backend, id: Option<u32>) -> Option<status::Limits> {
        let config::BackendLimits { max_new_per_sec, max_connections } = backend.limits;
        let connections = id.map_or(0, |id| self.dataplane.backend_flows(id));
        backend.limits.is_some().then_some(status::Limits { max_new_per_sec, max_connections, connections })
    }

    /// How one backend is.
    pub(super) fn report_on(&self, service: &str, backend: &str) -> Option<status::Backend> {
        let service = self.config.services.iter().find(|candidate| candidate.name == service)?;
        let subject = self.subjects(service).find(|subject| subject.backend.name == backend)?;
        Some(self.backend_status(subject))
    }

    /// The backends of a service, those that are leaving last.
    fn subjects<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = Subject<'a>> {
        let configured = service.backends.len();
        let entries = self.applied.service(&service.key()).map(AppliedService::entries).unwrap_or_default();
        let backends = (0..).zip(self.with_wishes(service));
        backends.map(move |(at, (backend, wish))| Subject {
            service,
            backend,
            wish,
            at: (at < configured).then_some(at),
            applied: entries.get(&backend.address.into()).copied(),
        })
    }

    fn backend_status(&self, subject: Subject<'_>) -> status::Backend {
        let Subject { service, backend, wish, applied, .. } = subject;
        let target = key(service, &backend.name);
        let health = self.view.health.get(&target).map(|verdict| verdict.health.to_string());
        let draining = wish.filter(|wish| wish.state != AdminState::Ready);
        status::Backend {
            name: backend.name.clone(),
            address: backend.address,
            forwarding: self.forwarding(backend).to_owned(),
            weight: backend.weight,
            version: backend.version.as_ref().map(ToString::to_string),
            admin: admin(subject).to_owned(),
            by_command: wish.is_some_and(|wish| wish.over.is_some()),
            health: health
                .unwrap_or_else(|| if service.probe.is_some() { "unknown" } else { "up" }.to_owned()),
            reason: self.causes.get(&target).cloned().unwrap_or_default(),
            probe: self.probe_status(service, backend),
            says: advice(service, backend, &self.view).map(ToString::to_string),
            held_back: self.held_back(service, subject.at, &target),
            last_change: self.record.histories().of(&target).next_back().map(|change| self.told(change)),
            history: Vec::new(),
            next_hop: self.next_hop_status(backend),
            share: self.share(subject),
            promised: self.of_shares(subject, Shares::promised).unwrap_or(0.0),
            measured: None,
            priority: backend.priority,
            location: backend.location.as_ref().map(ToString::to_string),
            slow_start: self.of_shares(subject, slow_start).flatten(),
            tracked_flows: self.census.of(service.key(), backend.address.into()).flows,
            empty: self.is_empty(
                service.key(),
                backend.address,
                applied.as_ref().map(|(_, entry)| entry),
                wish,
            ),
            draining_since: draining.map(|wish| (self.boot + wish.since).as_secs()),
            last_packet_ago: draining.and_then(|wish| self.last_packet_ago(service, backend, wish)),
            deadline_left: draining
                .and_then(|wish| wish.ends(service))
                .map(|ends| ends.saturating_sub(now()).as_secs_f64()),
            largest_packet: applied.as_ref().and_then(|(_, entry)| budget::largest(entry)),
            limits: self.limits(backend, applied.map(|(id, _)| id)),
            opened_flows: tells_openings(service)
                .then(|| applied.map_or(0, |(id, _)| self.dataplane.backend_opened(id))),
            traffic: applied.map(|(id, _)| self.dataplane.backend_traffic(id)).unwrap_or_default().into(),
        }
    }

    /// How it is probed, if it is.
    fn probe_status(&self, service: &Service, backend: &Backend) -> Option<status::Probe> {
        let (probe, target) = (service.probe.as_ref()?, service.probe_target(backend)?);
        let (way, detour) = self.roads.of(&key(service, &backend.name));
        let is_by_path = service.is_probed_by_path(backend);
        let (via, destination, problem) = match way.filter(|_| is_by_path) {
            Some(way @ Way::Path(_)) => (Via::Path, way.destination(target), None),
            None if is_by_path => {
                (Via::Path, (service.address, target.port()).into(), Some(NO_WAY.to_owned()))
            }
            _ => (Via::Direct, target, detour.map(ToString::to_string)),
        };
        let has_port = probe.check.has_port();
        let target = if has_port { destination.to_string() } else { destination.ip().to_string() };
        let (kind, via) = (probe.check.name().to_owned(), via.name().to_owned());
        Some(status::Probe { kind, via, target, problem })
    }

    pub(super) fn planned(&self, service: &Service) -> Option<&PlannedService> {
        let key = service.key();
        self.plan.services.iter().map(AsRef::as_ref).find(|planned: &&PlannedService| planned.key == key)
    }

    /// What was decided about a backend's part of the new flows, unless it is leaving.
    fn of_shares<T>(&self, subject: Subject<'_>, of: impl FnOnce(&Shares, usize) -> T) -> Option<T> {
        let at = subject.at?;
        Some(of(&self.planned(subject.service)?.shares, at))
    }

    /// How it is forwarded to, which is not for the file alone to say.
    fn forwarding(&self, backend: &Backend) -> &'static str {
        if self.view.own.contains(&backend.address) { status::LOCAL } else { backend.forwarding.name() }
    }

    fn history(&self, key: &TargetKey) -> Vec<status::Change> {
        self.record.histories().of(key).map(|change| self.told(change)).collect()
    }

    fn told(&self, change: &Change) -> status::Change {
        let Change { at, aspect: what, is, why } = change.clone();
        let (is, why) = (is.into_owned(), why.into_owned());
        status::Change { at: (self.boot + at).as_secs_f64(), what, is, why }
    }

    fn share(&self, subject: Subject<'_>) -> f64 {
        let planned = self.planned(subject.service);
        let slots = subject.at.and_then(|at| planned?.table.shares().get(at).copied()).unwrap_or(0);
        f64::from(slots) / f64::from(subject.service.slots.max(1))
    }

    /// How long ago the last packet of an old flow came, if one came since the drain began.
    fn last_packet_ago(&self, service: &Service, backend: &Backend, wish: &Wish) -> Option<f64> {
        let last = self.census.of(service.key(), backend.address.into()).last_packet?;
        let ago: Duration = now().saturating_sub(last);
        (last >= wish.since).then_some(ago.as_secs_f64())
    }

    pub(super) fn next_hop_status(&self, backend: &Backend) -> String {
        if self.view.own.contains(&backend.address) {
            return "this host".to_owned();
        }
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

/// Whether it is known which packets open a flow of a service.
fn tells_openings(service: &Service) -> bool {
    service.protocol != Protocol::Udp || service.track == Track::Always
}

fn levels(shares: &Shares) -> Vec<status::Level> {
    shares.levels.iter().map(|(&priority, &part)| status::Level { priority, part }).collect()
}

fn slow_start(shares: &Shares, at: usize) -> Option<status::SlowStart> {
    let step = shares.steps.get(at).copied().flatten()?;
    Some(status::SlowStart { step, steps: STEPS })
}

fn next_program(next: &NextProgram) -> status::NextProgram {
    let (name, id) = next.name_and_id();
    status::NextProgram { path: next.path().display().to_string(), name, id }
}

fn admin(subject: Subject<'_>) -> &'static str {
    match subject {
        Subject { at: None, .. } => status::LEAVING,
        Subject { backend, wish, .. } => status::admin(wish.map_or(backend.admin, |wish| wish.state)),
    }
}
