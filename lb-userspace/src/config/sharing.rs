//! Who gets how much of a service's new flows, as far as the file says it.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    file::Located,
    section::{Entry, Section},
    service::Reading,
};

const SCOPES: &[(&str, Scope)] =
    &[("global", Scope::Global), ("region", Scope::Region), ("datacentre", Scope::Datacentre)];
const PREFERENCES: &[(&str, Prefer)] = &[("near", Prefer::Near), ("none", Prefer::None)];
const PANICS: &[(&str, Panic)] = &[("all", Panic::All), ("none", Panic::None)];
const ALL_DOWN: &[(&str, AllDown)] = &[("open", AllDown::Open), ("closed", AllDown::Closed)];

/// A level that can carry no more than its part, and one that can carry all of its flows with a tenth of its backends.
pub(super) const OVERPROVISIONING: (u32, u32) = (100, 1_000);

/// The most backends that can be asked to be healthy.
pub(super) const MAX_BACKENDS: u32 = 65_535;

const MAX_SLOW_START: Duration = Duration::from_hours(1);

/// Which backends count, and which of them get how much of the new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Which backends count at all.
    pub scope: Scope,
    /// Which of them come first.
    pub prefer: Prefer,
    /// How much more than its part a level can carry, in per cent of it: 140 is Envoy's 1.4.
    pub overprovisioning: u32,
    /// Per cent of healthy weight below which probes are not followed any more; 0: they always are.
    pub panic_threshold: u32,
    /// What is done then.
    pub panic: Panic,
    /// What is done where all fail their probes at once.
    pub all_down: AllDown,
    /// What it takes for the service to be available, beyond one healthy backend.
    pub min_healthy: Option<MinHealthy>,
    /// How long a backend that comes up takes until it has its whole share; zero: no time.
    pub slow_start: Duration,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            prefer: Prefer::default(),
            overprovisioning: 140,
            panic_threshold: 0,
            panic: Panic::default(),
            all_down: AllDown::default(),
            min_healthy: None,
            slow_start: Duration::ZERO,
        }
    }
}

/// Which backends of a service count, by their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All.
    #[default]
    Global,
    /// Those in the balancer's region: the first label is the same.
    Region,
    /// Those in the balancer's data centre: the first three labels are the same.
    Datacentre,
}

impl Scope {
    /// How many leading labels have to be the same.
    #[must_use]
    pub const fn labels(self) -> usize {
        match self {
            Self::Global => 0,
            Self::Region => 1,
            Self::Datacentre => DATACENTRE_LABELS,
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Region => "region",
            Self::Datacentre => "datacentre",
        }
    }
}

/// Leading labels that name a data centre. What follows (rows, racks) makes nobody nearer.
pub const DATACENTRE_LABELS: usize = 3;

/// Which backends come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// None of them: place does not matter.
    #[default]
    None,
    /// The nearer ones, as far as they can carry it.
    Near,
}

/// What is done where too few backends are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panic {
    /// All get their weight's share, healthy or not.
    #[default]
    All,
    /// None gets new flows.
    None,
}

/// What is done where all backends fail their probes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllDown {
    /// Probes are not believed: all get flows as if they were healthy.
    #[default]
    Open,
    /// Probes are believed: none gets new flows.
    Closed,
}

/// How much has to be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinHealthy {
    /// So many backends.
    Backends(u32),
    /// So many per cent of the weight.
    Percent(u32),
}

impl MinHealthy {
    /// No more backends than there are: what `[defaults]` say is for services of all sizes.
    fn at_most(self, backends: u32) -> Self {
        match self {
            Self::Backends(least) => Self::Backends(least.min(backends)),
            Self::Percent(_) => self,
        }
    }
}

/// The same, as far as it is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct SharingPolicy {
    pub(super) scope: Option<Located<Scope>>,
    pub(super) prefer: Option<Located<Prefer>>,
    overprovisioning: Option<Located<u32>>,
    panic_threshold: Option<Located<u32>>,
    panic: Option<Located<Panic>>,
    all_down: Option<Located<AllDown>>,
    min_healthy: Option<Located<MinHealthy>>,
    /// What `[defaults]` say of it.
    usual_min_healthy: Option<Located<MinHealthy>>,
    slow_start: Option<Located<Duration>>,
}

impl SharingPolicy {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let slow_starts = Duration::ZERO..=MAX_SLOW_START;
        Self {
            scope: section.optional("scope", |entry| entry.choice(SCOPES)),
            prefer: section.optional("prefer", |entry| entry.choice(PREFERENCES)),
            overprovisioning: section.optional("overprovisioning", overprovisioning),
            panic_threshold: section.optional("panic_threshold", Entry::percent),
            panic: section.optional("panic", |entry| entry.choice(PANICS)),
            all_down: section.optional("all_down", |entry| entry.choice(ALL_DOWN)),
            min_healthy: section.optional("min_healthy", min_healthy),
            usual_min_healthy: None,
            slow_start: section.optional("slow_start", |entry| entry.duration(&slow_starts)),
        }
    }

    /// This policy, with `defaults` where it says nothing.
    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            scope: self.scope.or(defaults.scope),
            prefer: self.prefer.or(defaults.prefer),
            overprovisioning: self.overprovisioning.or(defaults.overprovisioning),
            panic_threshold: self.panic_threshold.or(defaults.panic_threshold),
            panic: self.panic.or(defaults.panic),
            all_down: self.all_down.or(defaults.all_down),
            min_healthy: self.min_healthy,
            usual_min_healthy: defaults.min_healthy,
            slow_start: self.slow_start.or(defaults.slow_start),
        }
    }

    /// What that comes to for a service with so many backends.
    pub(super) fn resolve(self, backends: u32) -> Sharing {
        fn or<T>(written: Option<Located<T>>, default: T) -> T {
            written.map_or(default, |written| written.value)
        }
        let default = Sharing::default();
        Sharing {
            scope: or(self.scope, default.scope),
            prefer: or(self.prefer, default.prefer),
            overprovisioning: or(self.overprovisioning, default.overprovisioning),
            panic_threshold: or(self.panic_threshold, default.panic_threshold),
            panic: or(self.panic, default.panic),
            all_down: or(self.all_down, default.all_down),
            min_healthy: match self.min_healthy {
                Some(own) => Some(own.value),
                None => self.usual_min_healthy.map(|usual| usual.value.at_most(backends)),
            },
            slow_start: or(self.slow_start, default.slow_start),
        }
    }
}

impl Reading<'_> {
    /// Reports what can never be, and what says nothing.
    pub(super) fn check_sharing(&self) {
        let SharingPolicy { min_healthy, panic, panic_threshold, .. } = &self.policy.sharing;
        let file = self.section.file;
        let written = self.backends.written;
        if let Some(Located { value: MinHealthy::Backends(least), place }) = min_healthy
            && *least as usize > written
        {
            let message =
                format!("{least} backends cannot be healthy in {}, which has {written}", self.label());
            let expected = "expected at most as many as there are, or a part of the weight, such as \"50%\"";
            file.report(file.error(place, message).expected(expected));
        }
        let threshold = panic_threshold.as_ref().map_or(0, |threshold| threshold.value);
        if let Some(panic) = panic.as_ref().filter(|_| threshold == 0) {
            let warning = file.warning(&panic.place, format!("{} never panics", self.label()));
            file.warn(warning.expected("expected a `panic_threshold` too, such as \"30%\""));
        }
    }
}

/// A factor, in per cent.
fn overprovisioning(entry: &Entry<'_>) -> Option<u32> {
    const EXPECTED: &str = "expected a factor from 1.0 to 10.0, such as 1.4";
    let factor: f64 = match entry.value {
        DeValue::Float(float) => float.as_str().parse().ok()?,
        DeValue::Integer(integer) => integer.as_str().parse().ok()?,
        _ => return entry.refuse_type(EXPECTED),
    };
    let (least, most) = OVERPROVISIONING;
    let percent = u32::try_from((factor * 100.0).round() as i64).ok();
    percent
        .filter(|percent| (least..=most).contains(percent))
        .or_else(|| entry.refuse(format!("{} is out of range", entry.excerpt()), EXPECTED))
}

/// A number of backends, or a part of the weight.
fn min_healthy(entry: &Entry<'_>) -> Option<MinHealthy> {
    match entry.value {
        DeValue::Integer(_) => entry.integer(&(0..=MAX_BACKENDS)).map(MinHealthy::Backends),
        DeValue::String(text) if text.ends_with('%') => entry.percent().map(MinHealthy::Percent),
        DeValue::String(_) => entry.refuse(
            format!("{} is not a part of the weight", entry.excerpt()),
            "expected a number of backends without quotes, or a part of the weight such as \"50%\"",
        ),
        _ => entry.refuse_type("expected a number of backends, or a part of the weight such as \"50%\""),
    }
}
