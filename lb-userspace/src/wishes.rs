//! What the operator wants of backends, and since when.
//!
//! The file says it of every backend. A command may say otherwise while the daemon runs, and that holds until the file
//! itself says something else of that backend. A backend that is gone from the file is *leaving*: it is nobody's wish any
//! more that it takes flows, but it is kept in view until the data plane has let go of it.
//!
//! Pure: all moments are arguments, on the monotonic clock. [`mod@file`] keeps it over restarts.

pub mod file;
mod order;
mod rollout;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use lb_common::{backend::Backend as Entry, service::ServiceKey};

use crate::{
    config::{AdminState, Backend, BackendLimits, Config, Forwarding, OnDeadline, Protocol, Service},
    health::TargetKey,
};

pub use order::{Order, OrderError};
pub use rollout::{Go, RolloutError, RolloutOrder, RolloutWish};

/// What the operator wants of backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Those of which more is known than that the file says "ready".
    backends: BTreeMap<TargetKey, Wish>,
    /// Sorted by service.
    leaving: Vec<Leaving>,
    /// By service.
    rollouts: BTreeMap<String, RolloutWish>,
}

/// What the operator wants of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The state that it is to have.
    pub state: AdminState,
    /// What the file said when a command said this; none where the file itself says it.
    pub over: Option<AdminState>,
    /// Since when.
    pub since: Duration,
    /// How long a drain may last, counted from `since`; the service's where it has none of its own.
    pub deadline: Option<Duration>,
    /// What becomes of the flows that are left then; the service's where it has none of its own.
    pub on_deadline: Option<OnDeadline>,
}

/// A backend that is gone from the file, and whose old flows may live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The service that it is leaving.
    pub service: ServiceKey,
    /// As the file had it, but for a name that somebody else has by now.
    pub backend: Backend,
    /// A drain, or maintenance.
    pub wish: Wish,
}

impl Leaving {
    /// The name that it had, where another backend has that now.
    #[must_use]
    pub fn former_name(&self) -> Option<&str> {
        self.backend.name.strip_suffix(&format!("@{}", self.backend.address))
    }

    /// One whose name nobody here knows, so it is called by its address.
    fn found(service: ServiceKey, address: IpAddr, forwarding: Forwarding, now: Duration) -> Self {
        let backend = Backend::unlisted(address.to_string(), address, forwarding);
        Self { service, backend, wish: Wish::of_file(AdminState::Drain, now) }
    }
}

impl Wish {
    const fn of_file(state: AdminState, since: Duration) -> Self {
        Self { state, over: None, since, deadline: None, on_deadline: None }
    }

    /// When a drain ends.
    #[must_use]
    pub fn ends(&self, service: &Service) -> Option<Duration> {
        let deadline = self.deadline.or(service.drain_deadline)?;
        (self.state == AdminState::Drain).then(|| self.since.saturating_add(deadline))
    }

    /// How it ends. A service that is not tcp any more has no reset.
    #[must_use]
    pub fn on_deadline(&self, service: &Service) -> OnDeadline {
        match self.on_deadline {
            Some(OnDeadline::Reset) if service.protocol != Protocol::Tcp => OnDeadline::Move,
            own => own.unwrap_or(service.on_deadline),
        }
    }
}

impl Wishes {
    /// What is wanted of a backend; none where that is what the file says, from the start.
    #[must_use]
    pub fn of(&self, service: &str, backend: &str) -> Option<&Wish> {
        // Mostly nobody wants anything, and a key costs two allocations.
        if self.backends.is_empty() { None } else { self.backends.get(&TargetKey::new(service, backend)) }
    }

    /// The backends that are gone from the file.
    #[must_use]
    pub fn leaving(&self) -> &[Leaving] {
        &self.leaving
    }

    /// Those that are leaving `service`.
    pub fn leaving_of(&self, service: ServiceKey) -> impl Iterator<Item = &Leaving> {
        let begin = self.leaving.partition_point(|leaving| leaving.service < service);
        self.leaving[begin..].iter().take_while(move |leaving| leaving.service == service)
    }

    fn add_leaving(&mut self, added: impl IntoIterator<Item = Leaving>) {
        self.leaving.extend(added);
        self.leaving.sort_by_key(|leaving| leaving.service);
    }

    /// Takes the backends that `to` has not any more for leaving. A drain goes on where it was.
    pub fn release(&mut self, from: &Config, to: &Config, now: Duration) {
        let addresses = |service: &Service| service.backends.iter().map(|backend| backend.address).collect();
        let changes = || from.changes(to);
        let stay: HashMap<ServiceKey, HashSet<IpAddr>> = changes()
            .filter_map(|(_, after)| after)
            .map(|service| (service.key(), addresses(service)))
            .collect();
        let mut released = Vec::new();
        for service in changes().filter_map(|(before, _)| before) {
            let Some(stay) = stay.get(&service.key()) else { continue };
            for backend in service.backends.iter().filter(|backend| !stay.contains(&backend.address)) {
                let wish =
                    self.of(&service.name, &backend.name).filter(|wish| wish.state != AdminState::Ready);
                let drain = Wish::of_file(AdminState::Drain, now);
                let wish = Wish { over: None, ..wish.copied().unwrap_or(drain) };
                // What it had of new flows and what the file said of it is over.
                let limits = BackendLimits::default();
                let backend = Backend { weight: 0, admin: AdminState::Drain, limits, ..backend.clone() };
                released.push(Leaving { service: service.key(), backend, wish });
            }
        }
        self.add_leaving(released);
    }

    /// Takes backends for leaving that the data plane has and nobody knows of. Their names are in no map, so they are
    /// called by their addresses.
    pub fn find(
        &mut self,
        config: &Config,
        members: impl Iterator<Item = (ServiceKey, Entry)>,
        now: Duration,
    ) {
        let mut known: HashSet<(ServiceKey, IpAddr)> =
            self.leaving.iter().map(|leaving| (leaving.service, leaving.backend.address)).collect();
        for service in &config.services {
            known.extend(service.backends.iter().map(|backend| (service.key(), backend.address)));
        }
        let unknown = members.filter(|(key, entry)| !known.contains(&(*key, entry.address.into())));
        self.add_leaving(unknown.map(|(service, entry)| {
            let forwarding = Forwarding::of(entry.forwarding).unwrap_or(Forwarding::Ipip);
            Leaving::found(service, entry.address.into(), forwarding, now)
        }));
    }

    /// Takes a backend for leaving that other balancers still have, and the file has not. Whether it is new.
    pub fn take_in(
        &mut self,
        service: ServiceKey,
        address: IpAddr,
        forwarding: Forwarding,
        now: Duration,
    ) -> bool {
        let known = self.leaving_of(service).any(|leaving| leaving.backend.address == address);
        if !known {
            self.add_leaving([Leaving::found(service, address, forwarding, now)]);
        }
        !known
    }

    /// Follows the file to `config`, from the one that was followed `before`, if any was. What was said by command stays,
    /// unless the file says something else of that backend than it did then; the names of those are given.
    pub fn follow(&mut self, before: Option<&Config>, config: &Config, now: Duration) -> Vec<TargetKey> {
        let services: HashMap<ServiceKey, &Service> = match self.leaving.as_slice() {
            [] => HashMap::new(),
            _ => config.services.iter().map(|service| (service.key(), &**service)).collect(),
        };
        self.leaving.retain(|leaving| leaves(leaving, &services));
        self.rename_leaving(config);
        let services: Vec<&Arc<Service>> = match before {
            Some(before) => before.changes(config).filter_map(|(_, after)| after).collect(),
            None => config.services.iter().collect(),
        };
        let changed: HashSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let known = std::mem::take(&mut self.backends).into_iter();
        let known = known.filter(|(key, _)| config.service(&key.service).is_some());
        let (mut before, others): (BTreeMap<_, _>, _) =
            known.partition(|(key, _)| changed.contains(key.service.as_str()));
        self.backends = others;
        let mut overruled = Vec::new();
        let wished: HashSet<String> = before.keys().map(|key| key.service.clone()).collect();
        let backends =
            services.into_iter().flat_map(|service| service.backends.iter().map(move |b| (service, b)));
        // Mostly nobody wants anything, and a key costs two allocations.
        let matter = |(service, backend): &(&Arc<Service>, &Backend)| {
            backend.admin != AdminState::Ready || wished.contains(&service.name)
        };
        for (service, backend) in backends.filter(matter) {
            let key = TargetKey::new(&service.name, &backend.name);
            let wish = before.remove(&key);
            if wish.is_some_and(|wish| wish.over.is_some_and(|over| over != backend.admin)) {
                overruled.push(key.clone());
            }
            if let Some(wish) = followed(wish, backend.admin, now) {
                self.backends.insert(key, wish);
            }
        }
        overruled
    }

    /// A name is one backend's: the file's, where it has one.
    fn rename_leaving(&mut self, config: &Config) {
        if self.leaving.is_empty() {
            return;
        }
        let mut taken: HashSet<(ServiceKey, String)> = config
            .services
            .iter()
            .flat_map(|service| service.backends.iter().map(|backend| (service.key(), backend.name.clone())))
            .collect();
        for Leaving { service, backend, .. } in &mut self.leaving {
            if !taken.insert((*service, backend.name.clone())) {
                backend.name = format!("{}@{}", backend.name, backend.address);
                taken.insert((*service, backend.name.clone()));
            }
        }
    }

    /// Forgets leaving backends that are not `held` any more. Whether there were any.
    pub fn let_go(&mut self, held: impl Fn(&Leaving) -> bool) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(held);
        self.leaving.len() != before
    }
}

/// The wish of a backend of which the file says `file`.
fn followed(wish: Option<Wish>, file: AdminState, now: Duration) -> Option<Wish> {
    let stays = |wish: &Wish| wish.over.unwrap_or(wish.state) == file;
    let plain = (file != AdminState::Ready).then_some(Wish::of_file(file, now));
    match wish {
        Some(wish) if stays(&wish) => Some(wish),
        // The file has come to say what was said by command before: that has not begun anew.
        Some(wish) if wish.over.is_some() && wish.state == file => {
            plain.map(|plain| Wish { since: wish.since, ..plain })
        }
        _ => plain,
    }
}

/// Whether its service is there, and has it not.
fn leaves(leaving: &Leaving, services: &HashMap<ServiceKey, &Service>) -> bool {
    let service = services.get(&leaving.service);
    service.is_some_and(|service| service.backends.iter().all(|b| b.address != leaving.backend.address))
}
