//! Timing of contenders in turn, so that a noisy moment of the machine hits all of them alike.

use std::hint::black_box;
use std::io::{IsTerminal as _, stderr};
use std::time::Instant;

/// One of the things that are compared.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'a str,
    run: Box<dyn FnMut() -> anyhow::Result<f64> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender whose result is computed for the clock alone.
    pub(crate) fn new<T>(name: &'a str, mut run: impl FnMut() -> T + 'a) -> Self {
        let timed = move || {
            let start = Instant::now();
            black_box(run());
            Ok(start.elapsed().as_secs_f64() * 1e9)
        };
        Self { name, run: Box::new(timed) }
    }

    /// A contender that says itself how many nanoseconds it took, or why there is nothing to measure.
    pub(crate) fn timed_by_itself(name: &'a str, run: impl FnMut() -> anyhow::Result<f64> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// What one contender took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

/// Runs every contender `rounds` times, one after the other in each round, after one round that is not counted.
pub(crate) fn race(contenders: &mut [Contender<'_>], rounds: usize) -> anyhow::Result<Vec<Times>> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..=rounds {
        show_progress(round, rounds);
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let time = (contender.run)()?;
            if round > 0 {
                samples.push(time);
            }
        }
    }
    Ok(samples.into_iter().map(summary).collect())
}

/// For whoever waits, not for whoever reads the result.
fn show_progress(round: usize, rounds: usize) {
    if stderr().is_terminal() {
        let end = if round == rounds { "\r\x1b[K" } else { "" };
        eprint!("\rround {round} of {rounds}{end}");
    }
}

fn summary(mut samples: Vec<f64>) -> Times {
    samples.sort_unstable_by(f64::total_cmp);
    Times { min: samples[0], median: samples[samples.len() / 2], max: samples[samples.len() - 1] }
}
