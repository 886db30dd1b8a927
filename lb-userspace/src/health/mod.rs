//! Health: whether a backend answers its probes.
//!
//! One task, [`Scheduler::run`], owns all probes: it starts them in time (`spread`, `timeline`), feeds each result to the
//! backend's rise/fall state machine (`machine`) and sends an event when that changes its mind. How a probe is made
//! is a [`Prober`]: [`check::Network`], with one module for each type. What a backend says of itself is read by `agent`.
//!
//! A backend of which nothing is known yet has no health, which is neither up nor down: whoever builds tables treats it
//! as usable, so that a daemon that starts moves no flow before it has seen a reason.

pub mod agent;
pub mod check;
pub mod damping;
pub mod machine;
mod metered;
pub mod passive;
pub mod scheduler;
pub mod spread;
mod timeline;
pub mod way;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

pub use metered::Metered;
pub use scheduler::Scheduler;

use crate::config::{Check, Probe};
use agent::{Advice, Remark};
use way::{Path, Way};

/// Whether a backend answers its probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Up,
    /// It does not.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// Names a backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey {
    /// Name of the service.
    pub service: String,
    /// Name of the backend within it.
    pub backend: String,
}

impl TargetKey {
    /// That of a backend by these names.
    #[must_use]
    pub fn new(service: &str, backend: &str) -> Self {
        Self { service: service.to_owned(), backend: backend.to_owned() }
    }
}

/// What is probed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The backend's address and the probe's port.
    pub address: SocketAddr,
    /// How often, how long, how many.
    pub probe: Probe,
    /// Whether its way is to be asked for, since it may be that of clients' packets.
    pub by_path: bool,
    /// What an earlier daemon's probes have said; its own start from there. It matters only for a target that is new.
    pub known: Option<Health>,
}

/// Everything that is to be probed.
pub type Targets = BTreeMap<TargetKey, Target>;

/// A backend's health is known for the first time, or has changed; or what it says of itself has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// Name of the service.
    pub service: String,
    /// Name of the backend within it.
    pub backend: String,
    /// What was probed.
    pub address: SocketAddr,
    /// What it is now.
    pub health: Health,
    /// Why, for people.
    pub reason: String,
    /// What it says of itself, where it is asked.
    pub advice: Option<Advice>,
}

/// What is known of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// None until the first probe has ended.
    pub health: Option<Health>,
    /// When `health` last changed.
    pub since: Option<SystemTime>,
    /// Why `health` is what it is.
    pub reason: String,
    /// How the last probe ended: its failure, or nothing where it passed.
    pub last_failure: Option<String>,
    /// How many probes in a row ended like the last one.
    pub streak: u32,
}

/// The status of every target.
pub type Board = BTreeMap<TargetKey, Status>;

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered.
    Passed,
    /// It did not, and why.
    Failed(String),
    /// It has said itself how it is.
    Said(Remark),
    /// Something on this host kept the probe from being made, which says nothing about the backend.
    Inconclusive(String),
}

/// One probe to be made.
#[derive(Debug)]
pub struct Job {
    /// Of whom.
    pub key: TargetKey,
    /// The backend's address and the probe's port.
    pub address: SocketAddr,
    /// What is done.
    pub check: Arc<Check>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether its way is to be asked for.
    pub by_path: bool,
    /// Its way, once it is known.
    pub way: OnceLock<Way>,
    /// How far it has come.
    pub stage: Stage,
}

impl Job {
    /// The next probe of a target.
    #[must_use]
    pub fn new(key: TargetKey, target: &Target) -> Self {
        let Probe { check, timeout, .. } = &target.probe;
        Self {
            key,
            address: target.address,
            check: Arc::clone(check),
            timeout: *timeout,
            by_path: target.by_path,
            way: OnceLock::new(),
            stage: Stage::default(),
        }
    }

    /// Whom the probe talks to.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.way.get().map_or(self.address, |way| way.destination(self.address))
    }

    /// What its sockets have to have, if it takes the way of clients' packets.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        match self.way.get() {
            Some(Way::Path(path)) => Some(*path),
            _ => None,
        }
    }
}

/// How far a probe has come, for the reason of one that runs out of time.
#[derive(Debug, Default)]
pub struct Stage(Mutex<&'static str>);

impl Stage {
    /// Notes what is being waited for, such as "the answer".
    pub fn waits_for(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What was waited for, as the end of a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            "" => String::new(),
            what => format!(", waiting for {what}"),
        }
    }
}

/// Makes one probe. The scheduler limits its time.
pub trait Prober: Clone + Send + Sync + 'static {
    /// Probes. May be dropped at any time.
    fn probe(&self, job: &Job) -> impl Future<Output = Outcome> + Send;
}
