//! Fuzzers: of the balancer's program, run by the kernel on bytes that nobody would send, and of the configuration.
//!
//! No coverage of a BPF program reaches user space, so what guides the search is what can be seen from outside: an
//! input is kept if it ends in a way that none before it did. That takes no instrumented build and no nightly
//! compiler, and every run is one system call.

pub mod corpus;
#[expect(dead_code, reason = "each user of the harness uses its part of it")]
#[path = "../../tests/suites/program/harness.rs"]
mod harness;
pub mod packets;
pub mod toml;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How long to search, and where things lie.
#[derive(Clone, Debug)]
pub struct Options {
    /// When to stop, if not by `runs` before.
    pub time: Duration,
    /// When to stop, if not by `time` before.
    pub runs: u64,
    /// What all choices are drawn from.
    pub seed: u64,
    /// How many search at a time.
    pub threads: usize,
    /// Where corpora are.
    pub corpus: PathBuf,
    /// Where inputs that fail are written to.
    pub failures: PathBuf,
    /// Whether what is new is added to the corpus.
    pub keep: bool,
}

/// What a search has come to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The target.
    pub target: &'static str,
    /// Inputs tried.
    pub runs: u64,
    /// How long that took.
    pub time: Duration,
    /// How they ended, and how many of them.
    pub ends: Vec<(String, u64)>,
    /// Inputs in the corpus at the end, and how many of them are new.
    pub corpus: (usize, usize),
    /// What each failure was, and where its input is.
    pub failures: Vec<(String, PathBuf)>,
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, seconds) = (self.runs, self.time.as_secs_f64());
        writeln!(f, "{}: {runs} runs in {seconds:.1} s, {:.0} a second", self.target, runs as f64 / seconds)?;
        for (end, count) in &self.ends {
            writeln!(f, "  {end:<22}{count:>14}")?;
        }
        let (entries, new) = self.corpus;
        writeln!(f, "  corpus: {entries} inputs, {new} of them new")?;
        for (what, path) in &self.failures {
            writeln!(f, "  FAILED: {what}\n    replay with `cargo xtask fuzz --replay {}`", path.display())?;
        }
        write!(f, "  {} failures", self.failures.len())
    }
}

/// When a search ends.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    runs: u64,
}

impl Deadline {
    /// Of one of the threads.
    fn of(options: &Options) -> Self {
        Self { at: Instant::now() + options.time, runs: options.runs.div_ceil(options.threads as u64) }
    }

    fn has_passed(&self, runs: u64) -> bool {
        runs >= self.runs || Instant::now() >= self.at
    }
}

/// Writes an input that fails to a file of its own.
fn write_failure(options: &Options, name: &str, input: &str) -> Result<PathBuf> {
    fs::create_dir_all(&options.failures)
        .with_context(|| format!("cannot make {}", options.failures.display()))?;
    let path = options.failures.join(name);
    fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Runs the input in `path` again, and says what is wrong with what becomes of it.
///
/// # Errors
///
/// The file cannot be read, or is no input of a target.
pub fn replay(path: &Path) -> Result<Option<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Ok(toml::judge(&text).err());
    }
    packets::replay(&text)
}
