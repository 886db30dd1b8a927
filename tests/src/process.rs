//! Child processes with a guard, and waiting for conditions.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::{interrupt, netns::Netns, temporary};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A child process in a namespace. Dropping it kills it; if the test is failing, its log is printed first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Process {
    /// Starts `command` in `netns` as its own process group, so that a terminal's Ctrl-C reaches only the caller, which
    /// ends its children in order. What it prints goes to a log.
    ///
    /// # Errors
    ///
    /// The command cannot be started.
    pub fn spawn(netns: &Netns, name: &str, command: &mut Command) -> Result<Self> {
        let log = temporary::file("log").context("cannot create a log file")?;
        let handle = || -> Result<Stdio> { Ok(File::options().append(true).open(log.path())?.into()) };
        command.stdin(Stdio::null()).stdout(handle()?).stderr(handle()?).process_group(0);
        let child = netns.spawn(command)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It still runs after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let mut status = None;
        // Not cut short by a request to end: this is how one is carried out.
        poll(deadline, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.with_context(|| format!("{} still runs after {deadline:?}", self.name))
    }

    /// Fails with its log where it has ended.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn check(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        bail!("{} ended early; it printed:\n{}", self.name, self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the child has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of {}\n{}---", self.name, self.log());
        }
    }
}

/// Runs `command` to its end and gives its standard output.
///
/// # Errors
///
/// It cannot be started, or ends with a failure; the error holds what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    bail!("{command:?} failed ({}):\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// `command` as a line for a shell. Words with spaces are quoted; other characters that a shell minds do not occur.
#[must_use]
pub fn shell_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        if word.contains(' ') { format!("'{word}'") } else { word.into_owned() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Waits until `condition` holds.
///
/// # Errors
///
/// It does not hold after `deadline`, or the process was asked to end.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let mut held = false;
    poll(deadline, || {
        held = condition();
        held || interrupt::requested()
    });
    interrupt::check()?;
    if !held {
        bail!("waited {deadline:?} in vain for {what}");
    }
    Ok(())
}

/// Looks at `finished` until it holds or the deadline has passed.
fn poll(deadline: Duration, mut finished: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !finished() && Instant::now() < end {
        thread::sleep(POLL);
    }
}
