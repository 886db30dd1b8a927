//! `passive`: when backends are taken for down by how connections open with them.

use std::{ops::RangeInclusive, time::Duration};

use lb_common::service::Track;

use super::{Protocol, probe::ProbePolicy, schema, section::Entry, service::Reading};

pub(super) const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_mins(10);
const HOLDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// When a backend is taken for down by how connections open with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    /// Per cent of the connections that had to be opened again.
    pub share: u32,
    /// How many have to be opened within the window for a judgement.
    pub connections: u32,
    /// How long is looked back.
    pub window: Duration,
    /// How long such a backend stays down.
    pub hold: Duration,
}

impl Default for Passive {
    fn default() -> Self {
        Self { share: 50, connections: 10, window: Duration::from_secs(10), hold: Duration::from_secs(30) }
    }
}

/// A table with any of its keys, or none.
pub(super) fn passive(entry: &Entry<'_>) -> Option<Passive> {
    let section = entry.section(&schema::PASSIVE)?;
    let share = section.optional("share", Entry::percent);
    let connections = section.optional("connections", |entry| entry.integer(&CONNECTIONS));
    let window = section.optional("window", |entry| entry.duration(&WINDOWS));
    let hold = section.optional("hold", |entry| entry.duration(&HOLDS));
    let default = Passive::default();
    Some(Passive {
        share: share.map_or(default.share, |share| share.value),
        connections: connections.map_or(default.connections, |connections| connections.value),
        window: window.map_or(default.window, |window| window.value),
        hold: hold.map_or(default.hold, |hold| hold.value),
    })
}

impl Reading<'_> {
    /// Reports a service whose backends cannot be judged so.
    pub(super) fn check_passive(&self) {
        let (Some(passive), file) = (&self.passive, self.section.file) else { return };
        let refuse = |message: &str, expected: &str| {
            file.report(file.error(&passive.place, message).expected(expected));
        };
        if self.protocol.is_some_and(|protocol| protocol != Protocol::Tcp) {
            refuse("only TCP tells that a client opens a connection again", "expected `protocol = \"tcp\"`");
        }
        if self.policy.probe.as_ref().is_none_or(ProbePolicy::is_off) {
            refuse("the backends are not probed", "expected a [service.probe]: what is passive is beside it");
        }
        if self.policy.track.as_ref().is_some_and(|track| track.value != Track::Always) {
            refuse(
                "connections that open again are found where every one is remembered",
                "expected `track = \"always\"`, or no `track` here",
            );
        }
    }
}
