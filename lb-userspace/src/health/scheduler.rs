//! Starts probes in time, a bounded number at once, and turns their results into events.
//!
//! One task. A target that waits costs an entry in a sorted set, not a task; a probe under way is a task in a set that
//! dies with the scheduler. The time of a probe counts from when it is started, so a balancer that is short of room
//! for probes makes them late, but does not take the wait for a timeout.

mod entry;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, Instant},
};
use tracing::warn;

use super::{Board, HealthEvent, Job, Outcome, Prober, Status, TargetKey, Targets, timeline::Timeline};
use entry::{Entry, Next, Observed};

/// Owns all probes.
pub struct Scheduler<P> {
    prober: P,
    events: mpsc::Sender<HealthEvent>,
    board: watch::Sender<Board>,
    entries: BTreeMap<TargetKey, Entry>,
    /// Start of the next probe of every target that has none under way.
    timeline: Timeline,
    running: JoinSet<Ended>,
    /// Number of probes started, which tells a probe's result from one of an earlier target of the same name.
    serial: u64,
    /// Number of targets so far, which gives each its place in its interval.
    numbers: u64,
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
            timeline: Timeline::default(),
            running: JoinSet::new(),
            serial: 0,
            numbers: 0,
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
            let start = self.timeline.next();
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

    fn replace(&mut self, targets: &Targets) {
        let now = Instant::now();
        self.entries.retain(|key, _| targets.contains_key(key));
        for (key, target) in targets {
            match self.entries.get_mut(key) {
                Some(entry) if entry.target.address == target.address => entry.retarget(target, now),
                _ => {
                    self.entries.insert(key.clone(), Entry::new(self.numbers, target, now));
                    self.numbers += 1;
                }
            }
        }
        self.timeline.clear();
        for (key, entry) in &self.entries {
            self.timeline.limit(&key.service, entry.target.probe.concurrency);
            if let Next::At(at) = entry.next {
                self.timeline.plan(at, key.clone());
            }
        }
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
        let Some(key) = self.timeline.start() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        self.serial += 1;
        let started = Instant::now();
        entry.start(self.serial, started);
        let (prober, serial) = (self.prober.clone(), self.serial);
        let job = Job::new(key, &entry.target);
        self.running.spawn(async move {
            let outcome = limited(&prober, &job).await;
            Ended { key: job.key, serial, started, outcome }
        });
    }

    async fn finish(&mut self, ended: Ended) {
        let Ended { key, serial, started, outcome } = ended;
        self.timeline.end(&key.service);
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_running(serial)) else {
            return;
        };
        let now = Instant::now();
        let observed = match outcome {
            Outcome::Passed => entry.observe(Ok(()), now),
            Outcome::Failed(failure) => entry.observe(Err(failure), now),
            Outcome::Said(remark) => entry.listen(&remark, now),
            Outcome::Inconclusive(problem) => {
                warn!(service = key.service, backend = key.backend, problem, "probe says nothing");
                Observed::default()
            }
        };
        self.timeline.plan(entry.schedule(started, now), key.clone());
        self.tell(key, observed).await;
    }

    async fn tell(&mut self, key: TargetKey, observed: Observed) {
        let (Some(entry), Some(result)) = (self.entries.get(&key), observed.result) else {
            return;
        };
        let reason = entry.reason.clone();
        self.board.send_modify(|board| {
            let status = board.entry(key.clone()).or_default();
            if let Some(health) = observed.changed {
                let (health, since) = (Some(health), Some(SystemTime::now()));
                *status = Status { health, since, reason: reason.clone(), ..Status::default() };
            }
            status.last_failure = result.err();
            status.streak = entry.machine.streak();
        });
        let Some(health) = entry.machine.health().filter(|_| observed.changed.is_some() || observed.advised)
        else {
            return;
        };
        let TargetKey { service, backend } = key;
        let (address, advice) = (entry.target.address, entry.advice);
        // A receiver that is gone ends the task at the next turn.
        let _ = self.events.send(HealthEvent { service, backend, address, health, reason, advice }).await;
    }
}

async fn sleep_until(start: Option<Instant>) {
    match start {
        Some(start) => time::sleep_until(start).await,
        None => std::future::pending().await,
    }
}

async fn limited<P: Prober>(prober: &P, job: &Job) -> Outcome {
    let timeout: Duration = job.timeout;
    time::timeout(timeout, prober.probe(job)).await.unwrap_or_else(|_| {
        Outcome::Failed(format!(
            "timed out after {}{}",
            humantime::format_duration(timeout),
            job.stage.said()
        ))
    })
}
