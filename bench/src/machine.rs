//! What was measured on, for whoever compares two reports.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

const UNKNOWN: &str = "unknown";

/// A machine, its kernel, and the state of the sources.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    /// As `git describe` says it; `-dirty` where files were changed since.
    commit: String,
}

impl Machine {
    /// The machine that this runs on. What cannot be found out is said to be unknown.
    pub(crate) fn this() -> Self {
        let system = rustix::system::uname();
        Self {
            processor: processor().unwrap_or_else(|| UNKNOWN.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: system.release().to_string_lossy().into_owned(),
            commit: commit().unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }
}

fn processor() -> Option<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpus.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> Option<String> {
    let arguments = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"];
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, kernel, commit } = self;
        write!(f, "{processor}, {cores} cores, Linux {kernel}, commit {commit}")
    }
}
