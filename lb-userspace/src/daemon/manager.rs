//! What the service manager is told (`sd_notify(3)`): nothing where there is none.

use std::{io, time::Duration};

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tracing::debug;

use super::now;

/// Pings for each time that the watchdog waits: one may be late.
const PINGS: u32 = 3;

/// See the module. It belongs to the task that owns the truth, so that a watchdog sees when that one is stuck.
#[derive(Debug)]
pub(super) struct Manager {
    /// How often it waits for a sign of life.
    every: Option<Duration>,
    next_ping: Option<Duration>,
    /// What it was told last of how things are.
    status: String,
}

impl Manager {
    /// The one that has started this process.
    pub(super) fn of_this_process() -> Self {
        let every = watchdog_enabled().filter(|wait| !wait.is_zero()).map(|wait| wait / PINGS);
        Self { every, next_ping: None, status: String::new() }
    }

    /// Packets are forwarded, or are again after a reload.
    pub(super) fn ready(&mut self, status: String) {
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
        self.next_ping = self.every.map(|_| now());
    }

    /// The configuration is about to be read again.
    pub(super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(since) => tell(&[NotifyState::Reloading, since]),
            Err(error) => debug!("cannot read the clock: {error}"),
        }
    }

    /// The daemon is about to end.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// How things are, if that is something else than it was.
    pub(super) fn status(&mut self, status: String) {
        if self.status != status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// When the next sign of life is due.
    pub(super) const fn next_ping(&self) -> Option<Duration> {
        self.next_ping
    }

    /// Gives a sign of life.
    pub(super) fn ping(&mut self) {
        tell(&[NotifyState::Watchdog]);
        self.next_ping = self.every.map(|every| now() + every);
    }
}

/// A manager that does not hear is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    let told: io::Result<()> = notify(states);
    if let Err(error) = told {
        debug!("the service manager does not hear: {error}");
    }
}
