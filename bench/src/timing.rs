//! Timing of contenders in turn, so that a noisy moment of the machine hits all of them alike.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One of the things that are compared.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender whose result is computed for the clock alone.
    pub(crate) fn new<T>(name: &'static str, mut run: impl FnMut() -> T + 'a) -> Self {
        let run = Box::new(move || {
            black_box(run());
        });
        Self { name, run }
    }
}

/// What one contender took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) min: Duration,
    pub(crate) median: Duration,
    pub(crate) max: Duration,
}

/// Runs every contender `rounds` times, one after the other in each round, after one round that is not counted.
pub(crate) fn race(contenders: &mut [Contender<'_>], rounds: usize) -> Vec<Times> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            (contender.run)();
            if round > 0 {
                samples.push(start.elapsed());
            }
        }
    }
    samples.into_iter().map(summary).collect()
}

fn summary(mut samples: Vec<Duration>) -> Times {
    samples.sort_unstable();
    Times { min: samples[0], median: samples[samples.len() / 2], max: samples[samples.len() - 1] }
}
