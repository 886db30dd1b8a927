//! The target `packets`: bytes for the real program, with every feature on.
//!
//! What a run was counted under is read once for a batch of runs, since reading it costs more than a run. Only where a
//! batch shows a reason that is rare, and now and then, its inputs are looked at one by one.

mod judge;
mod make;
mod mutate;
mod scene;

use std::{cmp::Ordering, fmt::Write as _, thread};

use anyhow::{Context as _, Result, bail};
use lb_common::counter::{Fate, Reason};
use lb_tests::random::Random;

use crate::{
    Deadline, Options, Report,
    corpus::Corpus,
    harness::{self, Harness},
    write_failure,
};
use make::Maker;

/// Runs between two looks at the counters.
const BATCH: usize = 512;

/// A reason that was seen less often than this is rare.
const RARE: u64 = 400;

/// Every so many batches, all inputs are looked at.
const SAMPLE: u64 = 1024;

type Reasons = [u64; Reason::COUNT];

/// What one thread has found.
struct Finding {
    runs: u64,
    reasons: Reasons,
    corpus: Corpus,
    failures: Vec<(String, Vec<Vec<u8>>)>,
}

/// Searches until the time or the runs are over.
///
/// # Errors
///
/// The program cannot be loaded, or a file cannot be read or written.
///
/// # Panics
///
/// Where a thread does.
pub fn fuzz(options: &Options) -> Result<Report> {
    let mut corpus = Corpus::read(options.corpus.join("packets.txt"))?;
    let start = std::time::Instant::now();
    let findings: Vec<Finding> = thread::scope(|scope| {
        let search = |number| {
            let corpus = corpus.clone();
            scope.spawn(move || Search::new(options, number, corpus).run(Deadline::of(options)))
        };
        let threads: Vec<_> = (0..options.threads as u64).map(search).collect();
        threads.into_iter().map(|thread| thread.join().expect("a search does not panic")).collect()
    });
    let mut report = Report { target: "packets", time: start.elapsed(), ..Report::default() };
    let mut reasons = [0; Reason::COUNT];
    for finding in &findings {
        report.runs += finding.runs;
        reasons.iter_mut().zip(finding.reasons).for_each(|(sum, seen)| *sum += seen);
        corpus.merge(&finding.corpus);
        for (what, frames) in &finding.failures {
            let name = format!("packets-{}.txt", report.failures.len());
            report.failures.push((what.clone(), write_failure(options, &name, &text(frames))?));
        }
    }
    let seen = Reason::ALL.into_iter().zip(reasons).filter(|(_, count)| *count > 0);
    report.ends = seen.map(|(reason, count)| (reason.name().to_owned(), count)).collect();
    report.corpus = corpus.sizes();
    if options.keep {
        corpus.write()?;
    }
    Ok(report)
}

/// Runs the frames of a failure again, and says what is wrong, if anything is.
///
/// # Errors
///
/// The text holds something else than frames.
pub fn replay(text: &str) -> Result<Option<String>> {
    let frames = frames(text)?;
    let mut balancer = scene::balancer();
    Ok(frames.iter().find_map(|frame| one(&mut balancer, frame).err()))
}

/// One thread's search.
struct Search {
    balancer: Harness,
    maker: Maker,
    finding: Finding,
}

impl Search {
    fn new(options: &Options, number: u64, corpus: Corpus) -> Self {
        // Far from the other threads' seeds, whatever the first one is.
        let random = Random::new(options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let known = corpus.inputs().filter_map(|input| frames(input).ok()).flatten().collect();
        let finding = Finding { runs: 0, reasons: [0; Reason::COUNT], corpus, failures: Vec::new() };
        Self { balancer: scene::balancer(), maker: Maker::new(random, known), finding }
    }

    fn run(mut self, deadline: Deadline) -> Finding {
        let mut batches = 0;
        while !deadline.has_passed(self.finding.runs) && self.finding.failures.is_empty() {
            let batch: Vec<Vec<u8>> = (0..BATCH).map(|_| self.maker.frame()).collect();
            let rare = match self.batch(&batch) {
                Ok(rare) => rare,
                Err(what) => {
                    self.fail(what, &batch);
                    break;
                }
            };
            if rare || batches % SAMPLE == 0 {
                self.look_at(&batch);
            }
            batches += 1;
        }
        self.finding
    }

    /// Runs a batch; says whether something rare was in it.
    fn batch(&mut self, batch: &[Vec<u8>]) -> Result<bool, String> {
        let before = reasons(&self.balancer);
        let mut actions = [0; judge::ACTIONS];
        for frame in batch {
            let (action, out) = run(&mut self.balancer, frame);
            judge::judge(frame, action, &out)?;
            actions[action as usize] += 1;
        }
        let after = reasons(&self.balancer);
        let grown: Reasons = std::array::from_fn(|reason| after[reason] - before[reason]);
        judge::counts(&grown, actions)?;
        self.finding.runs += batch.len() as u64;
        let is_rare = |(seen, grown): (&u64, &u64)| *grown > 0 && *seen < RARE;
        let rare = self.finding.reasons.iter().zip(&grown).any(is_rare);
        self.finding.reasons.iter_mut().zip(grown).for_each(|(sum, grown)| *sum += grown);
        Ok(rare)
    }

    /// Runs the frames of a batch again, one by one, and keeps what ends as none before.
    fn look_at(&mut self, batch: &[Vec<u8>]) {
        for frame in batch {
            match one(&mut self.balancer, frame) {
                Ok(end) => {
                    let known = self.finding.corpus.sizes().0;
                    self.finding.corpus.offer(&end, &hex(frame));
                    if self.finding.corpus.sizes().0 > known {
                        self.maker.know(frame.clone());
                    }
                }
                Err(what) => return self.fail(what, batch),
            }
        }
    }

    /// Notes a failure: the one frame that is enough, or all that led to it.
    fn fail(&mut self, what: String, batch: &[Vec<u8>]) {
        let alone = batch.iter().find(|frame| one(&mut scene::balancer(), frame).is_err());
        let frames = alone.map_or_else(|| batch.to_vec(), |frame| vec![frame.clone()]);
        self.finding.failures.push((what, frames));
    }
}

/// Runs one frame with everything that is asked of it; tells how it ended.
fn one(balancer: &mut Harness, frame: &[u8]) -> Result<String, String> {
    let before = reasons(balancer);
    let (action, out) = run(balancer, frame);
    let after = reasons(balancer);
    judge::judge(frame, action, &out)?;
    let grown: Reasons = std::array::from_fn(|reason| after[reason] - before[reason]);
    let mut actions = [0; judge::ACTIONS];
    actions[action as usize] = 1;
    judge::counts(&grown, actions)?;
    let reason = Reason::ALL.into_iter().zip(grown).find(|(_, grown)| *grown == 1);
    let (reason, _) = reason.ok_or_else(|| "no reason is counted".to_owned())?;
    let length = match out.len().cmp(&frame.len()) {
        _ if reason.fate() == Fate::Drop => "gone",
        Ordering::Less => "shorter",
        Ordering::Equal => "as long",
        Ordering::Greater => "longer",
    };
    Ok(format!("{} {} {length}", reason.name(), judge::shape(frame)))
}

fn run(balancer: &mut Harness, frame: &[u8]) -> (u32, Vec<u8>) {
    let program = balancer.dataplane.program().unwrap_or_else(|error| panic!("{error}"));
    harness::run(program, frame)
}

fn reasons(balancer: &Harness) -> Reasons {
    use sluice::dataplane::DataPlane as _;
    balancer.dataplane.reasons().map(|traffic| traffic.packets)
}

/// Frames as lines of hexadecimal digits.
fn text(frames: &[Vec<u8>]) -> String {
    frames.iter().map(|frame| hex(frame) + "\n").collect()
}

fn hex(frame: &[u8]) -> String {
    frame.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn frames(text: &str) -> Result<Vec<Vec<u8>>> {
    text.lines().map(frame).collect()
}

fn frame(line: &str) -> Result<Vec<u8>> {
    let digits = line.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() < 28 {
        bail!("`{line}` is no frame");
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair)?, 16).context("hexadecimal digits");
    digits.chunks(2).map(byte).collect()
}
