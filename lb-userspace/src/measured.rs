//! Which part of a service's packets each backend has got lately: what its share has come to.
//!
//! Counters are read now and then, and two readings give the part. Packets are counted and not flows, since whether a packet
//! opens a flow is of no concern to a settled slot: a few flows with many packets make the two differ.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

/// How far back is looked.
pub const WINDOW: Duration = Duration::from_mins(1);

/// How often counters are read.
pub const EVERY: Duration = Duration::from_secs(10);

/// The last readings, the oldest first.
#[derive(Clone, Debug)]
pub struct Readings<Service, Backend: Hash + Eq> {
    last: VecDeque<Reading<Service, Backend>>,
}

#[derive(Clone, Debug)]
struct Reading<Service, Backend: Hash + Eq> {
    at: Duration,
    packets: HashMap<Service, Arc<Packets<Backend>>>,
}

/// What a service and its backends were sent. Readings share it where nothing was sent between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packets<Backend: Hash + Eq> {
    /// The service's packets.
    pub all: u64,
    /// Those of each backend.
    pub of: HashMap<Backend, u64>,
}

impl<Service, Backend: Hash + Eq> Default for Readings<Service, Backend> {
    fn default() -> Self {
        Self { last: VecDeque::new() }
    }
}

impl<Service: Hash + Eq + Copy, Backend: Hash + Eq + Copy> Readings<Service, Backend> {
    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Duration {
        self.last.back().map_or(Duration::ZERO, |reading| reading.at + EVERY)
    }

    /// Adds a reading of all counters, and lets go of those that are older than the window needs.
    pub fn add(&mut self, at: Duration, packets: HashMap<Service, Arc<Packets<Backend>>>) {
        self.last.push_back(Reading { at, packets });
        while self.last.get(1).is_some_and(|second| second.at + WINDOW <= at) {
            self.last.pop_front();
        }
    }

    /// The last reading of a service.
    #[must_use]
    pub fn last_of(&self, service: &Service) -> Option<&Arc<Packets<Backend>>> {
        self.last.back()?.packets.get(service)
    }

    /// The part of a service's packets that each of its backends got between the first reading and the last one, 0 to 1;
    /// nothing where there were no packets.
    #[must_use]
    pub fn parts_of(&self, service: &Service) -> HashMap<Backend, f64> {
        let (Some(first), Some(last)) = (self.last.front(), self.last.back()) else { return HashMap::new() };
        if self.last.len() < 2 {
            return HashMap::new();
        }
        let (Some(before), Some(after)) = (first.packets.get(service), last.packets.get(service)) else {
            return HashMap::new();
        };
        let counted = after.of.iter().map(|(backend, &packets)| {
            let before = before.of.get(backend).copied().unwrap_or(0);
            // One that has begun anew has counted all of its packets since.
            (*backend, packets.checked_sub(before).unwrap_or(packets))
        });
        let counted: Vec<_> = counted.collect();
        let total: u64 = counted.iter().map(|(_, packets)| packets).sum();
        if total == 0 {
            return HashMap::new();
        }
        counted.into_iter().map(|(backend, packets)| (backend, ratio(packets, total))).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a part has fewer digits than that")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    type Example = Readings<char, u8>;

    fn add(readings: &mut Example, second: u64, packets: &[(u8, u64)]) {
        let all = packets.iter().map(|(_, packets)| packets).sum();
        let packets = Packets { all, of: packets.iter().copied().collect() };
        readings.add(Duration::from_secs(second), HashMap::from([('s', Arc::new(packets))]));
    }

    #[test]
    fn parts_are_of_the_packets_between_readings() {
        let mut readings = Example::default();
        add(&mut readings, 0, &[(1, 100), (2, 100)]);
        assert!(readings.parts_of(&'s').is_empty(), "one reading tells nothing");
        add(&mut readings, 10, &[(1, 100), (2, 100)]);
        assert!(readings.parts_of(&'s').is_empty(), "nor do readings without packets between them");
        add(&mut readings, 20, &[(1, 130), (2, 110)]);
        assert_eq!(readings.parts_of(&'s'), HashMap::from([(1, 0.75), (2, 0.25)]));
        assert!(readings.parts_of(&'t').is_empty());
    }

    #[test]
    fn counter_that_began_anew_counts_from_there() {
        let mut readings = Example::default();
        add(&mut readings, 0, &[(1, 100), (2, 100)]);
        add(&mut readings, 10, &[(1, 10), (2, 130), (3, 0)]);
        assert_eq!(readings.parts_of(&'s'), HashMap::from([(1, 0.25), (2, 0.75), (3, 0.0)]));
    }

    #[test]
    fn readings_before_the_window_are_let_go() {
        let mut readings = Example::default();
        for step in 0..20 {
            add(&mut readings, step * 10, &[(1, step)]);
        }
        assert_eq!(readings.last.front().unwrap().at, Duration::from_secs(130));
        assert_eq!(readings.next(), Duration::from_secs(200));
    }
}
