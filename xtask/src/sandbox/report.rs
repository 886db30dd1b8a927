//! Who answered how often, beside what the lookup table promises.

use std::fmt;

use lb_tests::{
    client::Answers,
    status::{Backend, Service},
};

/// Standard deviations that a count may be off: a fair table exceeds it once in a million runs.
const TOLERANCE: f64 = 5.0;

/// Answers to requests to one service.
pub(crate) struct Distribution<'a> {
    /// The service, as the daemon describes it.
    pub(crate) promised: &'a Service,
    /// What the client saw.
    pub(crate) answers: &'a Answers,
    /// How many requests there were.
    pub(crate) requests: usize,
}

impl Distribution<'_> {
    /// What is not as it should be.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(first) = self.answers.failures.first() {
            problems
                .push(format!("{} requests failed, the first with: {first}", self.answers.failures.len()));
        }
        // Connections in a row get different source ports; few of them would mean that they were reused.
        if self.answers.ports.len() * 10 < self.requests * 9 {
            problems.push(format!("{} requests used only {} ports", self.requests, self.answers.ports.len()));
        }
        problems.extend(self.promised.backends.iter().filter_map(|backend| self.deviation(backend)));
        problems
    }

    fn deviation(&self, backend: &Backend) -> Option<String> {
        let (name, count) = (&backend.name, self.answers.of(&backend.name));
        if count == 0 {
            return Some(format!("{name} answered nothing"));
        }
        let requests = float(self.requests);
        let expected = requests * backend.share;
        let deviation = (expected * (1.0 - backend.share)).sqrt();
        let off = (float(count) - expected).abs();
        let message = || format!("{name} answered {count} times, where the table promises {expected:.0}");
        (off > TOLERANCE * deviation).then(message)
    }
}

impl fmt::Display for Distribution<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "    {:<10}{:<14}{:>8}{:>10}{:>10}",
            "backend", "forwarding", "answers", "share", "promised"
        )?;
        for backend in &self.promised.backends {
            let count = self.answers.of(&backend.name);
            let share = 100.0 * float(count) / float(self.requests);
            let Backend { name, forwarding, share: promised, .. } = backend;
            let promised = 100.0 * promised;
            writeln!(out, "    {name:<10}{forwarding:<14}{count:>8}{share:>8.1} %{promised:>8.1} %")?;
        }
        let (answered, ports) = (self.answers.answered(), self.answers.ports.len());
        writeln!(out, "    {answered} of {} answered, from {ports} source ports", self.requests)
    }
}

/// A count as a number to reckon with; counts here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised(shares: [f64; 2]) -> Service {
        let backends = ["b1", "b2"].into_iter().zip(shares).map(|(name, share)| Backend {
            name: name.to_owned(),
            weight: 1,
            admin: "ready".to_owned(),
            forwarding: "l2".to_owned(),
            health: "up".to_owned(),
            reason: String::new(),
            probe: None,
            says: None,
            held_back: None,
            share,
            promised: share,
            slow_start: None,
            packets: 0,
            opened_flows: None,
            tracked_flows: 0,
            empty: false,
            last_packet_ago: None,
        });
        Service {
            name: "web4".to_owned(),
            digest: String::new(),
            generation: 1,
            moved_slots: 0,
            available: true,
            unavailable: None,
            probes: "followed".to_owned(),
            packets: 0,
            opened_flows: None,
            backends: backends.collect(),
        }
    }

    /// Problems of 400 requests that `counts` of `b1` and `b2` answered, by a table of `shares`.
    fn problems(counts: [usize; 2], shares: [f64; 2]) -> Vec<String> {
        let by_backend = [("b1".to_owned(), counts[0]), ("b2".to_owned(), counts[1])];
        let answers = Answers { by_backend: by_backend.into(), failures: vec![], ports: (1..=400).collect() };
        Distribution { promised: &promised(shares), answers: &answers, requests: 400 }.problems()
    }

    #[test]
    fn counts_near_the_promise_are_fine() {
        assert_eq!(problems([215, 185], [0.5, 0.5]), Vec::<String>::new());
        assert_eq!(problems([95, 305], [0.25, 0.75]), Vec::<String>::new());
    }

    #[test]
    fn counts_far_from_the_promise_are_told() {
        assert_eq!(problems([260, 140], [0.5, 0.5]).len(), 2);
        assert_eq!(problems([400, 0], [0.75, 0.25]).len(), 2);
    }
}
