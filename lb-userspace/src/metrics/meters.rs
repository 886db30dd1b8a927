//! What the daemon counts of its own work: shared by the tasks that do it and by whoever asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::metrics::histogram::Histogram;

use super::leases::Leases;

/// Bounds of what a daemon does, in seconds: from what is over at once to what holds everything up.
const WORK: [f64; 9] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// Bounds of probes, in seconds: from a host in the same rack to the longest timeout that makes sense.
const PROBE: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// How a probe has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The backend answered as it should.
    Passed,
    /// It did not.
    Failed,
    /// Its time ran out.
    TimedOut,
    /// This host kept it from being made.
    Inconclusive,
}

impl Ending {
    const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::TimedOut, Self::Inconclusive];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The probes of one type of one service. Not of each backend: ten thousand of those would be as many histograms, and who
/// answers slowly is seen by who is down.
#[derive(Clone, Debug)]
pub struct Probes {
    /// How long they took.
    pub took: Histogram,
    ended: [u64; Ending::ALL.len()],
}

/// See the module.
#[derive(Debug)]
pub struct Meters {
    /// Deciding what the data plane ought to hold.
    pub plan: Histogram,
    /// Making it hold that.
    pub apply: Histogram,
    /// Walking through the tables of flows.
    pub walk: Histogram,
    failures: AtomicU64,
    reloads: [AtomicU64; 2],
    reload_failed: AtomicBool,
    /// When the configuration that runs was read, on the monotonic clock, in milliseconds.
    read_at: AtomicU64,
    probes: Mutex<BTreeMap<(String, &'static str), Probes>>,
    /// Leases of backends.
    pub leases: Leases,
}

impl Meters {
    /// Of a daemon that has read its configuration at `now`, on the monotonic clock.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            plan: Histogram::new(WORK),
            apply: Histogram::new(WORK),
            walk: Histogram::new(WORK),
            failures: AtomicU64::new(0),
            reloads: Default::default(),
            reload_failed: AtomicBool::new(false),
            read_at: AtomicU64::new(now.as_millis() as u64),
            probes: Mutex::default(),
            leases: Leases::default(),
        }
    }

    /// The data plane could not be made to follow.
    pub fn note_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// How often that was so.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// The configuration was read again at `now`, or could not be followed.
    pub fn note_reload(&self, is_ok: bool, now: Duration) {
        self.reloads[usize::from(is_ok)].fetch_add(1, Relaxed);
        self.reload_failed.store(!is_ok, Relaxed);
        if is_ok {
            self.read_at.store(now.as_millis() as u64, Relaxed);
        }
    }

    /// How many reloads were followed, or were not.
    #[must_use]
    pub fn reloads(&self, is_ok: bool) -> u64 {
        self.reloads[usize::from(is_ok)].load(Relaxed)
    }

    /// Whether the last reload could not be followed.
    #[must_use]
    pub fn has_reload_failed(&self) -> bool {
        self.reload_failed.load(Relaxed)
    }

    /// When the configuration that runs was read, on the monotonic clock.
    #[must_use]
    pub fn read_at(&self) -> Duration {
        Duration::from_millis(self.read_at.load(Relaxed))
    }

    /// A probe has ended after `took`.
    pub fn note_probe(&self, service: &str, kind: &'static str, ending: Ending, took: Duration) {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let of = probes.entry((service.to_owned(), kind)).or_insert_with(Probes::new);
        of.ended[ending as usize] += 1;
        of.took.observe(took.as_secs_f64());
    }

    /// The probes of `services`, by service and type. Those of others are forgotten.
    #[must_use]
    pub fn probes(&self, services: &BTreeSet<&str>) -> Vec<(String, &'static str, Probes)> {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.retain(|(service, _), _| services.contains(service.as_str()));
        probes.iter().map(|((service, kind), probes)| (service.clone(), *kind, probes.clone())).collect()
    }
}

impl Probes {
    fn new() -> Self {
        Self { took: Histogram::new(PROBE), ended: [0; Ending::ALL.len()] }
    }

    /// How many have ended in which way.
    pub fn ended(&self) -> impl Iterator<Item = (Ending, u64)> {
        Ending::ALL.into_iter().zip(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_counted_by_service_type_and_ending() {
        let meters = Meters::new(Duration::ZERO);
        let took = Duration::from_millis(3);
        meters.note_probe("web", "tcp", Ending::Passed, took);
        meters.note_probe("web", "tcp", Ending::Passed, took);
        meters.note_probe("web", "tcp", Ending::TimedOut, took);
        meters.note_probe("dns", "udp", Ending::Failed, took);
        let all = meters.probes(&BTreeSet::from(["dns", "web"]));
        let counted: Vec<_> =
            all.iter().map(|(service, kind, probes)| (service.as_str(), *kind, probes.ended)).collect();
        assert_eq!(counted, [("dns", "udp", [0, 1, 0, 0]), ("web", "tcp", [2, 0, 1, 0])]);
    }

    #[test]
    fn probes_of_services_that_are_gone_are_forgotten() {
        let meters = Meters::new(Duration::ZERO);
        meters.note_probe("web", "tcp", Ending::Passed, Duration::ZERO);
        assert_eq!(meters.probes(&BTreeSet::new()).len(), 0);
        assert_eq!(meters.probes(&BTreeSet::from(["web"])).len(), 0);
    }

    #[test]
    fn failed_reload_leaves_the_time_of_the_last_good_one() {
        let meters = Meters::new(Duration::from_secs(1));
        meters.note_reload(true, Duration::from_secs(2));
        meters.note_reload(false, Duration::from_secs(3));
        assert_eq!((meters.reloads(true), meters.reloads(false)), (1, 1));
        assert_eq!((meters.read_at(), meters.has_reload_failed()), (Duration::from_secs(2), true));
    }
}
