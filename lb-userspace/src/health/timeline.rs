//! Whose probe starts next, with a bounded number under way. Pure: moments are arguments.
//!
//! A target whose service has as many probes under way as it may waits in its service's own line, where it holds up nobody
//! else's.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::TargetKey;

/// Probes under way at once: half of the file descriptors that a process may open where nobody raised the limit.
pub(super) const CONCURRENCY: usize = 512;

/// The starts to come.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    starts: BTreeSet<(Instant, TargetKey)>,
    under_way: usize,
    services: HashMap<String, Line>,
}

#[derive(Debug, Default)]
struct Line {
    most: usize,
    under_way: usize,
    held: BTreeSet<(Instant, TargetKey)>,
}

impl Timeline {
    /// Forgets all starts; probes under way still count.
    pub(super) fn clear(&mut self) {
        self.starts.clear();
        self.services.retain(|_, line| line.under_way > 0);
        self.services.values_mut().for_each(|line| line.held.clear());
    }

    /// Lets `service` have at most that many under way.
    pub(super) fn limit(&mut self, service: &str, most: u32) {
        if let Some(line) = self.services.get_mut(service) {
            line.most = most as usize;
        } else {
            self.services.insert(service.to_owned(), Line { most: most as usize, ..Line::default() });
        }
    }

    /// Plans the start of a target that has none planned.
    pub(super) fn plan(&mut self, at: Instant, key: TargetKey) {
        self.starts.insert((at, key));
    }

    /// When to call [`Self::start`]; none while nothing waits, or no more probes may be under way.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = self.starts.first().map(|(at, _)| *at);
        next.filter(|_| self.under_way < CONCURRENCY)
    }

    /// Takes the next target, unless its service makes it wait.
    pub(super) fn start(&mut self) -> Option<TargetKey> {
        let (at, key) = self.starts.pop_first()?;
        let line = self.services.get_mut(&key.service)?;
        if line.under_way >= line.most {
            line.held.insert((at, key));
            return None;
        }
        line.under_way += 1;
        self.under_way += 1;
        Some(key)
    }

    /// A probe of `service` has ended: who has waited longest for that is next.
    pub(super) fn end(&mut self, service: &str) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(line) = self.services.get_mut(service) {
            line.under_way = line.under_way.saturating_sub(1);
            self.starts.extend(line.held.pop_first());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(service: &str, n: usize) -> TargetKey {
        TargetKey { service: service.to_owned(), backend: format!("b{n}") }
    }

    /// A timeline of services that may have so many under way, and when they are due.
    fn timeline(services: &[(&str, u32, usize)]) -> (Timeline, Instant) {
        let (mut timeline, begin) = (Timeline::default(), Instant::now());
        for (service, most, targets) in services {
            timeline.limit(service, *most);
            (0..*targets)
                .for_each(|n| timeline.plan(begin + Duration::from_millis(n as u64), key(service, n)));
        }
        (timeline, begin)
    }

    fn started(timeline: &mut Timeline) -> Vec<TargetKey> {
        let mut started = Vec::new();
        while timeline.next().is_some() {
            started.extend(timeline.start());
        }
        started
    }

    #[test]
    fn starts_are_in_order() {
        let (mut timeline, begin) = timeline(&[("web", 10, 3)]);
        assert_eq!(timeline.next(), Some(begin));
        assert_eq!(started(&mut timeline), [key("web", 0), key("web", 1), key("web", 2)]);
        assert_eq!(timeline.next(), None);
    }

    #[test]
    fn full_service_holds_up_nobody_else() {
        let (mut timeline, begin) = timeline(&[("a", 1, 3), ("b", 9, 2)]);
        assert_eq!(started(&mut timeline), [key("a", 0), key("b", 0), key("b", 1)]);
        timeline.end("b");
        assert_eq!(timeline.next(), None);
        timeline.end("a");
        assert_eq!(timeline.next(), Some(begin + Duration::from_millis(1)));
        assert_eq!(started(&mut timeline), [key("a", 1)]);
    }

    #[test]
    fn no_more_than_the_limit_is_under_way() {
        let (mut timeline, _) = timeline(&[("web", u32::MAX, CONCURRENCY + 2)]);
        assert_eq!(started(&mut timeline).len(), CONCURRENCY);
        timeline.end("web");
        assert_eq!(started(&mut timeline), [key("web", CONCURRENCY)]);
    }

    #[test]
    fn probes_under_way_count_after_everything_is_planned_anew() {
        let (mut timeline, begin) = timeline(&[("a", 1, 2), ("b", 1, 1)]);
        assert_eq!(started(&mut timeline), [key("a", 0), key("b", 0)]);
        timeline.end("b");
        timeline.clear();
        timeline.limit("a", 1);
        timeline.plan(begin, key("a", 1));
        assert_eq!(started(&mut timeline), []);
        timeline.end("a");
        assert_eq!(started(&mut timeline), [key("a", 1)]);
    }
}
