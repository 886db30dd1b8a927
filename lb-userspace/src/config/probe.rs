//! `[service.probe]` and `[defaults.probe]`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    Probe, Protocol,
    file::{File, Located},
    section::{Entry, Section},
};

const KINDS: &[(&str, Kind)] = &[("tcp", Kind::Tcp), ("none", Kind::None)];
const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;

/// Shorter ones measure the scheduler, longer ones leave a dead backend in the table for an hour.
const PERIODS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
const COUNTS: RangeInclusive<u32> = 1..=1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    None,
}

/// A probe as far as it is written down.
#[derive(Clone, Debug)]
pub(super) struct ProbePolicy {
    kind: Option<Located<Kind>>,
    interval: Option<Located<Duration>>,
    timeout: Option<Located<Duration>>,
    rise: Option<Located<u32>>,
    fall: Option<Located<u32>>,
    port: Option<Located<u16>>,
}

impl ProbePolicy {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            kind: section.optional("type", |entry| entry.choice(KINDS)),
            interval: section.optional("interval", |entry| entry.duration(&PERIODS)),
            timeout: section.optional("timeout", |entry| entry.duration(&PERIODS)),
            rise: section.optional("rise", |entry| entry.integer(&COUNTS)),
            fall: section.optional("fall", |entry| entry.integer(&COUNTS)),
            port: section.optional("port", port),
        }
    }

    /// This policy, with `defaults` where it says nothing.
    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            kind: self.kind.or(defaults.kind),
            interval: self.interval.or(defaults.interval),
            timeout: self.timeout.or(defaults.timeout),
            rise: self.rise.or(defaults.rise),
            fall: self.fall.or(defaults.fall),
            port: self.port.or(defaults.port),
        }
    }

    /// The probe of `service` on `port` (0: every port) of `protocol`.
    pub(super) fn resolve(&self, service: &Section<'_>, port: u16, protocol: Protocol) -> Option<Probe> {
        if self.kind.as_ref().is_some_and(|kind| kind.value == Kind::None) {
            return None;
        }
        let interval = self.interval.as_ref().map_or(DEFAULT_INTERVAL, |interval| interval.value);
        Some(Probe {
            interval,
            timeout: self.timeout_within(service.file, interval)?,
            rise: self.rise.as_ref().map_or(DEFAULT_RISE, |rise| rise.value),
            fall: self.fall.as_ref().map_or(DEFAULT_FALL, |fall| fall.value),
            port: self.port_for(service, port, protocol)?,
        })
    }

    fn timeout_within(&self, file: &File<'_>, interval: Duration) -> Option<Duration> {
        let Some(timeout) = &self.timeout else {
            return Some(DEFAULT_TIMEOUT.min(interval));
        };
        if timeout.value <= interval {
            return Some(timeout.value);
        }
        let shown = humantime::format_duration;
        let message = format!("{} is longer than the interval", shown(timeout.value));
        let error =
            file.error(&timeout.place, message).expected(format!("expected at most {}", shown(interval)));
        file.report(match &self.interval {
            Some(interval) => error.related(file.spot(&interval.place), "the interval"),
            None => error.help(format!("the interval is {} where nothing else is said", shown(interval))),
        });
        None
    }

    fn port_for(&self, service: &Section<'_>, service_port: u16, protocol: Protocol) -> Option<u16> {
        if let Some(port) = &self.port {
            return Some(port.value);
        }
        let kind = match (service_port, protocol) {
            (1.., Protocol::Tcp) => return Some(service_port),
            (0, _) => "a service on every port",
            (_, Protocol::Udp) => "a udp service",
            (_, Protocol::Quic) => "a quic service",
        };
        let message = format!("the probe of {kind} has no port to connect to");
        let error = service.file.error(&service.place_of("probe"), message);
        service.file.report(
            error
                .expected("expected a TCP port to probe, such as `port = 8080` under [service.probe]")
                .help("a service that is not to be probed says `type = \"none\"` there"),
        );
        None
    }
}

/// A port that can be connected to.
fn port(entry: &Entry<'_>) -> Option<u16> {
    entry.integer(&(1..=u32::from(u16::MAX))).map(|port| port as u16)
}
