//! Rates and their past, from the differences of counters.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::admin::status::{Status, Traffic};

/// How many past rates are kept.
const KEPT: usize = 120;

/// Whose counters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// All packets that were forwarded.
    All,
    /// A service's.
    Service(String),
    /// A backend's, after its service's name.
    Backend(String, String),
    /// A reason's.
    Reason(String),
}

/// How much there was in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) packets: f64,
    pub(super) bits: f64,
    /// New flows, where they are counted.
    pub(super) opened: Option<f64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    traffic: Traffic,
    opened: Option<u64>,
}

impl From<Traffic> for Counters {
    fn from(traffic: Traffic) -> Self {
        Self { traffic, opened: None }
    }
}

/// The rates, and those of before.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last: Option<(Duration, BTreeMap<Of, Counters>)>,
    past: BTreeMap<Of, VecDeque<Rate>>,
}

impl Rates {
    /// Takes in a status as of `at`. A counter that has gone back has begun anew, and has no rate this time.
    pub(super) fn add(&mut self, at: Duration, status: &Status) {
        let counters = counters(status);
        if let Some((before, old)) = &self.last {
            let seconds = at.saturating_sub(*before).as_secs_f64();
            let rate = |of: &Of, now: &Counters| Some(rate(*old.get(of)?, *now, seconds));
            let rates: BTreeMap<_, _> =
                counters.iter().filter_map(|(of, now)| Some((of.clone(), rate(of, now)??))).collect();
            self.past.retain(|of, _| counters.contains_key(of));
            for (of, rate) in rates {
                let past = self.past.entry(of).or_default();
                past.push_back(rate);
                if past.len() > KEPT {
                    past.pop_front();
                }
            }
        }
        self.last = Some((at, counters));
    }

    /// The last rate; none before there were two looks.
    pub(super) fn now(&self, of: &Of) -> Option<Rate> {
        self.past.get(of)?.back().copied()
    }

    /// The last rates of packets, at most `count` of them, the latest last.
    pub(super) fn past(&self, of: &Of, count: usize) -> Vec<f64> {
        let Some(past) = self.past.get(of) else { return Vec::new() };
        past.iter().skip(past.len().saturating_sub(count)).map(|rate| rate.packets).collect()
    }

    /// Forgets the counters, but not the past: what comes next may be another daemon's.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
    }
}

fn counters(status: &Status) -> BTreeMap<Of, Counters> {
    let mut counters = BTreeMap::new();
    let mut all = Traffic::default();
    for service in &status.services {
        all = Traffic {
            packets: all.packets + service.traffic.packets,
            bytes: all.bytes + service.traffic.bytes,
        };
        let of_service = Counters { traffic: service.traffic, opened: service.opened_flows };
        counters.insert(Of::Service(service.name.clone()), of_service);
        for backend in &service.backends {
            let of_backend = Counters { traffic: backend.traffic, opened: backend.opened_flows };
            counters.insert(Of::Backend(service.name.clone(), backend.name.clone()), of_backend);
        }
    }
    counters.insert(Of::All, all.into());
    counters
        .extend(status.reasons.iter().map(|(name, traffic)| (Of::Reason(name.clone()), (*traffic).into())));
    counters
}

#[expect(clippy::cast_precision_loss, reason = "differences of a few seconds are far below 2^53")]
fn rate(before: Counters, now: Counters, seconds: f64) -> Option<Rate> {
    let packets = now.traffic.packets.checked_sub(before.traffic.packets)? as f64;
    let bytes = now.traffic.bytes.checked_sub(before.traffic.bytes)? as f64;
    let opened = before.opened.zip(now.opened).and_then(|(before, now)| now.checked_sub(before));
    (seconds > 0.0).then(|| Rate {
        packets: packets / seconds,
        bits: bytes * 8.0 / seconds,
        opened: opened.map(|opened| opened as f64 / seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::status::Backend,
        cli::tests::{backend, service, status},
    };

    fn counted(packets: u64) -> Status {
        let traffic = Traffic { packets, bytes: packets * 100 };
        let backend = Backend { traffic, opened_flows: Some(packets / 10), ..backend("b1") };
        status(vec![crate::admin::status::Service {
            traffic,
            opened_flows: None,
            ..service("web", vec![backend])
        }])
    }

    #[test]
    fn rate_is_the_difference_by_the_time_between() {
        let mut rates = Rates::default();
        let b1 = Of::Backend("web".to_owned(), "b1".to_owned());
        rates.add(Duration::from_secs(1), &counted(10));
        assert_eq!(rates.now(&b1), None);
        rates.add(Duration::from_secs(3), &counted(50));
        assert_eq!(rates.now(&b1), Some(Rate { packets: 20.0, bits: 16_000.0, opened: Some(2.0) }));
        assert_eq!(rates.now(&Of::All), Some(Rate { packets: 20.0, bits: 16_000.0, opened: None }));
        rates.add(Duration::from_secs(4), &counted(50));
        assert_eq!(rates.past(&b1, 5), [20.0, 0.0]);
        assert_eq!(rates.past(&b1, 1), [0.0]);
    }

    #[test]
    fn counter_that_begins_anew_is_no_rate() {
        let mut rates = Rates::default();
        let web = Of::Service("web".to_owned());
        for (second, packets) in [(1, 100), (2, 130), (3, 5), (4, 15)] {
            rates.add(Duration::from_secs(second), &counted(packets));
        }
        assert_eq!(rates.past(&web, 9), [30.0, 10.0]);
        rates.interrupt();
        rates.add(Duration::from_secs(9), &counted(900));
        assert_eq!(rates.past(&web, 9), [30.0, 10.0], "nobody knows what was between");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut rates = Rates::default();
        rates.add(Duration::from_secs(1), &counted(1));
        rates.add(Duration::from_secs(2), &counted(2));
        rates.add(Duration::from_secs(3), &status(Vec::new()));
        assert_eq!(rates.now(&Of::Service("web".to_owned())), None);
    }
}
