//! `flap`: when a backend changes its health too often to be given flows.

use std::{ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use super::{schema, section::Entry};

/// More changes than a backend's history has room for could not be counted after a restart.
pub(super) const CHANGES: RangeInclusive<u32> = 2..=15;
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const HOLD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// When a backend changes its health too often to be given flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// More changes than this
    pub changes: u32,
    /// within this time.
    pub within: Duration,
    /// How long its health has to stay the same until it is given flows again.
    pub hold: Duration,
}

/// What is written down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damping {
    /// The service does without, whatever `[defaults]` say.
    Off,
    By(Flap),
}

impl Damping {
    pub(super) const fn rule(self) -> Option<Flap> {
        match self {
            Self::Off => None,
            Self::By(flap) => Some(flap),
        }
    }
}

/// A table with all of its keys, or a word.
pub(super) fn flap(entry: &Entry<'_>) -> Option<Damping> {
    const EXPECTED: &str = "expected { changes = 6, within = \"5m\", hold = \"10m\" } or \"off\"";
    match entry.value {
        DeValue::Table(_) => {}
        DeValue::String(text) if text == "off" => return Some(Damping::Off),
        DeValue::String(_) => {
            return entry.refuse(format!("{} is not a value of this key", entry.excerpt()), EXPECTED);
        }
        _ => return entry.refuse_type(EXPECTED),
    }
    let section = entry.section(&schema::FLAP)?;
    let changes = section.required("changes", "changes = 6", |entry| entry.integer(&CHANGES));
    let within = section.required("within", "within = \"5m\"", |entry| entry.duration(&WITHIN));
    let hold = section.required("hold", "hold = \"10m\"", |entry| entry.duration(&HOLD));
    Some(Damping::By(Flap { changes: changes?.value, within: within?.value, hold: hold?.value }))
}
