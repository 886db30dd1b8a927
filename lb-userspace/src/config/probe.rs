//! `[service.probe]` and `[defaults.probe]`: when backends are probed. What is done then is read by `details`.

mod details;
mod kind;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use super::{
    Check, Protocol,
    file::{File, Located},
    section::{Entry, Section},
};
use details::Details;
use kind::{KINDS, Kind};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;

/// Probes of several balancers do not stay in step where each start is late by up to this part of the interval.
const DEFAULT_JITTER_PART: u32 = 16;

/// Shorter ones measure the scheduler, longer ones leave a dead backend in the table for an hour.
const PERIODS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
pub(super) const COUNTS: RangeInclusive<u32> = 1..=1000;

/// How many probes of a service may be under way at once.
pub(super) const CONCURRENCIES: RangeInclusive<u32> = 1..=65_535;

/// The statuses that HTTP has.
pub(super) const STATUSES: RangeInclusive<u32> = 100..=599;

const VIAS: &[(&str, Via)] = &[(Via::Path.name(), Via::Path), (Via::Direct.name(), Via::Direct)];

/// Which way probes take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// That of clients' packets: to the VIP, by the way that the backend is reached.
    Path,
    /// To the backend's own address.
    Direct,
}

impl Via {
    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Direct => "direct",
        }
    }
}

/// How backends are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Time between the starts of two probes.
    pub interval: Duration,
    /// The same while results speak against what the health is; at most `interval`.
    pub fast_interval: Duration,
    /// Each start is late by up to this, differently each time; at most `interval`.
    pub jitter: Duration,
    /// Time after which a probe has failed; at most `interval`.
    pub timeout: Duration,
    /// Consecutive successes until a backend is up.
    pub rise: u32,
    /// Consecutive failures until a backend is down.
    pub fall: u32,
    /// How long failures of a backend of which nothing is known say nothing, from its first probe.
    pub grace: Duration,
    /// Probes of the service under way at once.
    pub concurrency: u32,
    /// Port that is probed; the service's where the file has none.
    pub port: u16,
    /// Whether a backend's own port takes its place: the file has none.
    pub follows_backend: bool,
    /// Which way it takes to backends that are reached without a change of the packet.
    pub via: Via,
    /// What is done.
    pub check: Arc<Check>,
}

/// A probe as far as it is written down.
#[derive(Clone, Debug)]
pub(super) struct ProbePolicy {
    kind: Option<Located<Kind>>,
    interval: Option<Located<Duration>>,
    fast_interval: Option<Located<Duration>>,
    jitter: Option<Located<Duration>>,
    timeout: Option<Located<Duration>>,
    rise: Option<Located<u32>>,
    fall: Option<Located<u32>>,
    grace: Option<Located<Duration>>,
    concurrency: Option<Located<u32>>,
    port: Option<Located<u16>>,
    via: Option<Located<Via>>,
    /// What depends on the type; a service says it for itself.
    details: Option<Details>,
}

impl ProbePolicy {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let delays = Duration::ZERO..=*PERIODS.end();
        Self {
            kind: section.optional("type", |entry| entry.choice(KINDS)),
            interval: section.optional("interval", |entry| entry.duration(&PERIODS)),
            fast_interval: section.optional("fast_interval", |entry| entry.duration(&PERIODS)),
            jitter: section.optional("jitter", |entry| entry.duration(&delays)),
            timeout: section.optional("timeout", |entry| entry.duration(&PERIODS)),
            rise: section.optional("rise", |entry| entry.integer(&COUNTS)),
            fall: section.optional("fall", |entry| entry.integer(&COUNTS)),
            grace: section.optional("grace", |entry| entry.duration(&delays)),
            concurrency: section.optional("concurrency", |entry| entry.integer(&CONCURRENCIES)),
            port: section.optional("port", port),
            via: section.optional("via", |entry| entry.choice(VIAS)),
            details: Details::read(section),
        }
    }

    /// This policy, with `defaults` where it says nothing.
    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            kind: self.kind.or(defaults.kind),
            interval: self.interval.or(defaults.interval),
            fast_interval: self.fast_interval.or(defaults.fast_interval),
            jitter: self.jitter.or(defaults.jitter),
            timeout: self.timeout.or(defaults.timeout),
            rise: self.rise.or(defaults.rise),
            fall: self.fall.or(defaults.fall),
            grace: self.grace.or(defaults.grace),
            concurrency: self.concurrency.or(defaults.concurrency),
            port: self.port.or(defaults.port),
            via: self.via.or(defaults.via),
            details: self.details,
        }
    }

    /// Whether nothing is to be probed.
    pub(super) fn is_off(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind.value == Kind::None)
    }

    /// The probe of `service` on `port` (0: every port) of `protocol`.
    pub(super) fn resolve(&self, service: &Section<'_>, port: u16, protocol: Protocol) -> Option<Probe> {
        let kind = self.kind.as_ref().map_or(Kind::Tcp, |kind| kind.value);
        if kind == Kind::None {
            return None;
        }
        let file = service.file;
        let interval = value_or(self.interval.as_ref(), DEFAULT_INTERVAL);
        let check = self.check(kind, service);
        let timeout = self.within(file, self.timeout.as_ref(), interval);
        let fast_interval = self.within(file, self.fast_interval.as_ref(), interval);
        let jitter = self.within(file, self.jitter.as_ref(), interval);
        let port = self.port_for(kind, service, (port, protocol));
        let via = self.via_of(kind, service);
        let check = check?;
        Some(Probe {
            interval,
            fast_interval: fast_interval?.unwrap_or(interval),
            jitter: jitter?.unwrap_or(interval / DEFAULT_JITTER_PART),
            timeout: timeout?.unwrap_or(DEFAULT_TIMEOUT.min(interval)),
            rise: value_or(self.rise.as_ref(), DEFAULT_RISE),
            fall: value_or(self.fall.as_ref(), DEFAULT_FALL),
            grace: value_or(self.grace.as_ref(), Duration::ZERO),
            concurrency: value_or(self.concurrency.as_ref(), check.concurrency()),
            port: port?,
            follows_backend: self.port.is_none(),
            via: via?,
            check: Arc::new(check),
        })
    }

    fn check(&self, kind: Kind, service: &Section<'_>) -> Option<Check> {
        let nothing = Details::default();
        self.details.as_ref().unwrap_or(&nothing).check(kind, service)
    }

    /// A part of the interval, which cannot be longer; none where that has been reported.
    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn within(
        &self,
        file: &File<'_>,
        part: Option<&Located<Duration>>,
        interval: Duration,
    ) -> Option<Option<Duration>> {
        let Some(part) = part else {
            return Some(None);
        };
        if part.value <= interval {
            return Some(Some(part.value));
        }
        let shown = humantime::format_duration;
        let message = format!("{} is longer than the interval", shown(part.value));
        let error =
            file.error(&part.place, message).expected(format!("expected at most {}", shown(interval)));
        file.report(match &self.interval {
            Some(interval) => error.related(file.spot(&interval.place), "the interval"),
            None => error.help(format!("the interval is {} where nothing else is said", shown(interval))),
        });
        None
    }

    /// The way of clients' packets, for the types that can take it. [defaults] mean no others.
    fn via_of(&self, kind: Kind, service: &Section<'_>) -> Option<Via> {
        let said = self.via.as_ref();
        if kind.goes_by_path() {
            return Some(said.map_or(Via::Path, |via| via.value));
        }
        if let Some(via) = said.filter(|via| via.value == Via::Path && via.place.key.starts_with("service")) {
            let message = format!("a probe of type {} cannot take the way of clients' packets", kind.name());
            let error = service.file.error(&via.place, message);
            service.file.report(error.expected("expected `via = \"direct\"`, or the key to be taken out"));
            return None;
        }
        Some(Via::Direct)
    }

    fn port_for(
        &self,
        kind: Kind,
        service: &Section<'_>,
        (service_port, protocol): (u16, Protocol),
    ) -> Option<u16> {
        if let Some(port) = &self.port {
            return Some(port.value);
        }
        let Some(transport) = kind.transport() else {
            return Some(service_port);
        };
        let whose = match (service_port, protocol) {
            (1.., _) if protocol.number() == transport.number() && kind != Kind::Agent => {
                return Some(service_port);
            }
            _ if kind == Kind::Agent => "the agent",
            (0, _) => "a service on every port",
            (_, Protocol::Udp) => "a udp service",
            (_, Protocol::Tcp) => "a tcp service",
            (_, Protocol::Quic) => "a quic service",
        };
        let (verb, name) = match transport {
            Protocol::Tcp => ("connect to", "TCP"),
            Protocol::Udp | Protocol::Quic => ("send to", "UDP"),
        };
        let message = format!("the probe of {whose} has no port to {verb}");
        let error = service.file.error(&service.place_of("probe"), message);
        service.file.report(
            error
                .expected(format!(
                    "expected a {name} port to probe, such as `port = 8080` under [service.probe]"
                ))
                .help("a service that is not to be probed says `type = \"none\"` there"),
        );
        None
    }
}

fn value_or<T: Copy>(located: Option<&Located<T>>, default: T) -> T {
    located.map_or(default, |located| located.value)
}

/// A port that can be connected to.
fn port(entry: &Entry<'_>) -> Option<u16> {
    entry.integer(&(1..=u32::from(u16::MAX))).map(|port| port as u16)
}
