//! Timing of contenders in turn, so that a noisy moment of the machine hits all of them alike.

use std::hint::black_box;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lb_tests::interrupt;
use serde::{Deserialize, Serialize};

/// One of the things that are compared.
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    run: Box<dyn FnMut() -> anyhow::Result<f64> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender whose result is computed for the clock alone.
    pub(crate) fn new<T>(name: &str, mut run: impl FnMut() -> T + 'a) -> Self {
        let timed = move || {
            let start = Instant::now();
            black_box(run());
            Ok(start.elapsed().as_secs_f64() * 1e9)
        };
        Self { name: name.to_owned(), run: Box::new(timed) }
    }

    /// A contender that says itself how many nanoseconds it took, or why there is nothing to measure.
    pub(crate) fn timed_by_itself(name: String, run: impl FnMut() -> anyhow::Result<f64> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// How far figures of one thing lie apart. Of a contender they are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The figures in another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }

    /// Rates out of times: how many fit into `time`.
    pub(crate) fn rate_in(self, time: f64) -> Self {
        Self { min: time / self.max, median: time / self.median, max: time / self.min }
    }

    /// One figure that does not vary.
    pub(crate) const fn exactly(figure: f64) -> Self {
        Self { min: figure, median: figure, max: figure }
    }
}

/// Runs every contender `rounds` times, one after the other in each round, after one round that is not counted.
pub(crate) fn race(contenders: &mut [Contender<'_>], rounds: usize) -> anyhow::Result<Vec<Spread>> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    let mut progress = Progress::new("round", rounds);
    for round in 0..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            interrupt::check()?;
            progress.tell(round, &contender.name);
            let time = (contender.run)().with_context(|| contender.name.clone())?;
            if round > 0 {
                samples.push(time);
            }
        }
    }
    Ok(samples.into_iter().map(spread).collect())
}

/// For whoever waits, not for whoever reads the result: which of many steps it is now, on stderr.
pub(crate) struct Progress {
    /// What a step is.
    what: &'static str,
    all: usize,
    is_terminal: bool,
    told_at: Option<Instant>,
}

impl Progress {
    /// How often it is said where every saying is a line of its own.
    const PACE: Duration = Duration::from_secs(10);

    pub(crate) fn new(what: &'static str, all: usize) -> Self {
        Self { what, all, is_terminal: stderr().is_terminal(), told_at: None }
    }

    /// Says that step `now` has come to `case`: at once on a terminal, whose line is written anew; elsewhere the first
    /// time, and then every few seconds.
    pub(crate) fn tell(&mut self, now: usize, case: &str) {
        let Self { what, all, .. } = self;
        if self.is_terminal {
            eprint!("\r\x1b[K{case}: {what} {now} of {all}");
        } else if self.told_at.is_none_or(|at| at.elapsed() >= Self::PACE) {
            eprintln!("{case}: {what} {now} of {all}");
            self.told_at = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// The spread of at least one figure.
pub(crate) fn spread(mut samples: Vec<f64>) -> Spread {
    samples.sort_unstable_by(f64::total_cmp);
    Spread { min: samples[0], median: samples[samples.len() / 2], max: samples[samples.len() - 1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_is_the_lowest_rate() {
        let rates = spread(vec![100.0, 400.0, 200.0]).rate_in(1000.0);
        assert_eq!(rates, Spread { min: 2.5, median: 5.0, max: 10.0 });
    }
}
