//! Counting probes and how long they take.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Job, Outcome, Prober};
use crate::metrics::{Ending, Meters};

/// A prober whose probes are counted.
#[derive(Clone, Debug)]
pub struct Metered<P> {
    prober: P,
    meters: Arc<Meters>,
}

/// A probe under way. One that is given up before it has ended has run out of time.
struct Underway<'a> {
    job: &'a Job,
    meters: &'a Meters,
    began: Instant,
    ending: Ending,
}

impl<P> Metered<P> {
    /// Counts the probes of `prober`.
    pub fn new(prober: P, meters: &Arc<Meters>) -> Self {
        Self { prober, meters: Arc::clone(meters) }
    }
}

impl<P: Prober> Prober for Metered<P> {
    async fn probe(&self, job: &Job) -> Outcome {
        let mut underway =
            Underway { job, meters: &self.meters, began: Instant::now(), ending: Ending::TimedOut };
        let outcome = self.prober.probe(job).await;
        underway.ending = match &outcome {
            Outcome::Passed | Outcome::Said(_) => Ending::Passed,
            Outcome::Failed(_) => Ending::Failed,
            Outcome::Inconclusive(_) => Ending::Inconclusive,
        };
        outcome
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Job { key, check, .. } = self.job;
        self.meters.note_probe(&key.service, check.name(), self.ending, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, future::pending, sync::OnceLock, time::Duration};

    use tokio::time::timeout;

    use super::*;
    use crate::{
        config::Check,
        health::{Stage, TargetKey},
    };

    /// Ends as it is told to, or never.
    #[derive(Clone)]
    struct Fake(Option<Outcome>);

    impl Prober for Fake {
        async fn probe(&self, _: &Job) -> Outcome {
            match &self.0 {
                Some(outcome) => outcome.clone(),
                None => pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn probes_are_counted_by_their_ending() {
        let meters = Arc::new(Meters::new(Duration::ZERO));
        let job = Job {
            key: TargetKey { service: "web".to_owned(), backend: "b1".to_owned() },
            address: "192.0.2.11:80".parse().unwrap(),
            check: Arc::new(Check::Tcp),
            timeout: Duration::from_secs(1),
            by_path: false,
            way: OnceLock::new(),
            stage: Stage::default(),
        };
        let outcomes = [
            Some(Outcome::Passed),
            Some(Outcome::Failed("refused".to_owned())),
            Some(Outcome::Failed("refused".to_owned())),
            None,
            Some(Outcome::Inconclusive("no descriptors".to_owned())),
        ];
        for outcome in outcomes {
            let prober = Metered::new(Fake(outcome), &meters);
            let _ = timeout(job.timeout, prober.probe(&job)).await;
        }
        let all = meters.probes(&BTreeSet::from(["web"]));
        let [(_, kind, probes)] = all.as_slice() else { panic!("{all:?}") };
        let ended: Vec<_> = probes.ended().map(|(ending, count)| (ending.name(), count)).collect();
        assert_eq!(*kind, "tcp");
        assert_eq!(ended, [("passed", 1), ("failed", 2), ("timed_out", 1), ("inconclusive", 1)]);
    }
}
