//! Starts probes in time, a bounded number at once, and turns their results into events.
//!
//! One task. A target that waits costs an entry in a sorted set, not a task; a probe under way is a task in a set that
//! dies with the scheduler. The time of a probe counts from when it is started, so a balancer that is short of room
//! for probes makes them late, but does not take the wait for a timeout.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, Instant},
};
use tracing::warn;

use super::{Board, HealthEvent, Outcome, Prober, Status, Target, TargetKey, Targets, machine::Machine};

/// Probes under way at once: half of the file descriptors that a process may open where nobody raised the limit.
const CONCURRENCY: usize = 512;

/// The start of a probe varies by up to this part of its interval, so that probes of several balancers, or of one with
/// another daemon's, do not stay in step.
const JITTER_PART: u32 = 16;

/// Owns all probes.
pub struct Scheduler<P> {
    prober: P,
    events: mpsc::Sender<HealthEvent>,
    board: watch::Sender<Board>,
    entries: BTreeMap<TargetKey, Entry>,
    /// Start of the next probe of every target that has none under way.
    timeline: BTreeSet<(Instant, TargetKey)>,
    running: JoinSet<Ended>,
    /// Number of probes started, which tells a probe's result from one of an earlier target of the same name.
    serial: u64,
}

struct Entry {
    target: Target,
    machine: Machine,
    next: Next,
}

enum Next {
    At(Instant),
    /// Under way, as the probe of this number.
    Running(u64),
}

struct Ended {
    key: TargetKey,
    serial: u64,
    started: Instant,
    outcome: Outcome,
}

impl<P: Prober> Scheduler<P> {
    /// Creates a scheduler without targets. The receiver shows the status of every target at any time; it is replaced
    /// in place with each result, so a reader holds it only briefly.
    #[must_use]
    pub fn new(prober: P, events: mpsc::Sender<HealthEvent>) -> (Self, watch::Receiver<Board>) {
        let (board, status) = watch::channel(Board::new());
        let scheduler = Self {
            prober,
            events,
            board,
            entries: BTreeMap::new(),
            timeline: BTreeSet::new(),
            running: JoinSet::new(),
            serial: 0,
        };
        (scheduler, status)
    }

    /// Probes `targets`, as they change, until their sender or the events' receiver is dropped.
    ///
    /// An event is sent for a target's first result and for each change after that. A target keeps its health while its
    /// address stays the same, whatever else about it changes; with another address it starts anew, and what was said
    /// before is void. A removed target is not reported.
    ///
    /// # Panics
    /// If a prober does.
    pub async fn run(mut self, mut targets: watch::Receiver<Targets>) {
        self.replace(&targets.borrow_and_update());
        loop {
            let start = self.next_start();
            tokio::select! {
                changed = targets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.replace(&targets.borrow_and_update());
                }
                () = self.events.closed() => return,
                Some(ended) = self.running.join_next() => {
                    self.finish(ended.expect("no probe panics or is aborted")).await;
                }
                () = sleep_until(start) => self.start_next(),
            }
        }
    }

    /// None while nothing waits, or no more probes may be under way.
    fn next_start(&self) -> Option<Instant> {
        let next = self.timeline.first().map(|(start, _)| *start);
        next.filter(|_| self.running.len() < CONCURRENCY)
    }

    fn replace(&mut self, targets: &Targets) {
        self.entries.retain(|key, _| targets.contains_key(key));
        for (key, target) in targets {
            match self.entries.get_mut(key) {
                Some(entry) if entry.target.address == target.address => entry.retarget(key, target),
                _ => {
                    self.entries.insert(key.clone(), Entry::new(key, target));
                }
            }
        }
        self.timeline =
            self.entries.iter().filter_map(|(key, entry)| Some((entry.next.at()?, key.clone()))).collect();
        let known =
            |key: &TargetKey| self.entries.get(key).is_some_and(|entry| entry.machine.health().is_some());
        self.board.send_modify(|board| {
            board.retain(|key, _| known(key));
            for key in targets.keys() {
                board.entry(key.clone()).or_default();
            }
        });
    }

    fn start_next(&mut self) {
        let Some((_, key)) = self.timeline.pop_first() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        self.serial += 1;
        entry.next = Next::Running(self.serial);
        let (prober, serial, started) = (self.prober.clone(), self.serial, Instant::now());
        let (address, timeout) = (entry.target.address, entry.target.probe.timeout);
        self.running.spawn(async move {
            let outcome = limited(&prober, address, timeout).await;
            Ended { key, serial, started, outcome }
        });
    }

    async fn finish(&mut self, ended: Ended) {
        let Ended { key, serial, started, outcome } = ended;
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.next.is(serial)) else {
            return;
        };
        let next = (started + jittered(&key, serial, entry.target.probe.interval)).max(Instant::now());
        entry.next = Next::At(next);
        self.timeline.insert((next, key.clone()));
        match outcome {
            Outcome::Passed => self.observe(key, None).await,
            Outcome::Failed(failure) => self.observe(key, Some(failure)).await,
            Outcome::Inconclusive(problem) => {
                warn!(service = key.service, backend = key.backend, problem, "probe says nothing");
            }
        }
    }

    async fn observe(&mut self, key: TargetKey, failure: Option<String>) {
        let Some(Entry { machine, target, .. }) = self.entries.get_mut(&key) else {
            return;
        };
        let address = target.address;
        let health = machine.observe(failure.is_none());
        let reason = machine.reason(failure.as_deref());
        self.board.send_modify(|board| {
            let status = board.entry(key.clone()).or_default();
            if health.is_some() {
                *status = Status {
                    health,
                    since: Some(SystemTime::now()),
                    reason: reason.clone(),
                    ..Status::default()
                };
            }
            status.last_failure = failure;
            status.streak = machine.streak();
        });
        if let Some(health) = health {
            let TargetKey { service, backend } = key;
            // A receiver that is gone ends the task at the next turn.
            let _ = self.events.send(HealthEvent { service, backend, address, health, reason }).await;
        }
    }
}

impl Entry {
    /// The first probes of all targets are spread over their interval, each at the same place after every start.
    fn new(key: &TargetKey, target: &Target) -> Self {
        let probe = &target.probe;
        let phase = fraction(key, 0, probe.interval);
        Self {
            target: target.clone(),
            machine: Machine::resumed(probe.rise, probe.fall, target.known),
            next: Next::At(Instant::now() + phase),
        }
    }

    fn retarget(&mut self, key: &TargetKey, target: &Target) {
        self.machine.set_thresholds(target.probe.rise, target.probe.fall);
        if let Next::At(at) = &mut self.next
            && self.target.probe.interval != target.probe.interval
        {
            *at = (*at).min(Instant::now() + fraction(key, 0, target.probe.interval));
        }
        self.target = target.clone();
    }
}

impl Next {
    const fn at(&self) -> Option<Instant> {
        match self {
            Self::At(at) => Some(*at),
            Self::Running(_) => None,
        }
    }

    fn is(&self, probe: u64) -> bool {
        matches!(self, Self::Running(serial) if *serial == probe)
    }
}

async fn sleep_until(start: Option<Instant>) {
    match start {
        Some(start) => time::sleep_until(start).await,
        None => std::future::pending().await,
    }
}

async fn limited<P: Prober>(prober: &P, address: SocketAddr, timeout: Duration) -> Outcome {
    time::timeout(timeout, prober.probe(address)).await.unwrap_or_else(|_| {
        Outcome::Failed(format!("timed out after {}", humantime::format_duration(timeout)))
    })
}

/// `interval`, give or take half of its jitter.
fn jittered(key: &TargetKey, serial: u64, interval: Duration) -> Duration {
    let jitter = interval / JITTER_PART;
    interval.saturating_sub(jitter / 2) + fraction(key, serial, jitter)
}

/// A part of `whole` that depends on `key` and `n` alone, evenly spread over both.
fn fraction(key: &TargetKey, n: u64, whole: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (key, n).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX);
    whole.mul_f64(f64::from(part) / f64::from(u32::MAX))
}
