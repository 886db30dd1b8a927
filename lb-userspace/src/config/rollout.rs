//! `rollout`: which versions of a service's backends run side by side, and which of them new flows go to.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use toml::de::DeValue;
use utoipa::ToSchema;

use super::{schema, section::Entry};
use crate::version::{Version, number};

/// How a service goes from one version to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Which versions run side by side.
    pub compatible: Compatible,
    /// Which of them new flows go to.
    pub prefer: PreferVersion,
    /// What another of them gets of the new flows nevertheless.
    pub canary: Option<Canary>,
}

/// Which versions run side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compatible {
    /// Those that have their first two numbers in common.
    #[default]
    Patch,
    /// Those that have their first number in common.
    Minor,
    /// None but equal ones.
    Exact,
    /// Those that any of these match; others, only equal ones.
    Listed(Vec<Pattern>),
}

/// A version, or all that begin with some numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `1.0.2`.
    Exactly(Version),
    /// `1.0.*`.
    Numbers(Vec<u64>),
}

/// Which of the versions that run side by side new flows go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PreferVersion {
    /// The newest that takes flows
    Newest,
    /// The oldest that takes flows
    Oldest,
    /// All, by the weights of their backends
    #[default]
    Weight,
}

/// A share of new flows, in ten-thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Canary(u16);

const WHOLE: u16 = 10_000;

const CANARY: &str = "expected a share from \"0%\" to \"100%\", such as \"5%\" or \"0.25%\"";

/// Why a text is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share of new flows; {CANARY}")]
pub struct NoShare(String);

impl Compatible {
    /// Whether backends of both may be given new flows at a time.
    #[must_use]
    pub fn run_side_by_side(&self, one: &Version, other: &Version) -> bool {
        let in_common = |count| one.numbers(count) == other.numbers(count);
        one == other
            || match self {
                Self::Patch => in_common(2),
                Self::Minor => in_common(1),
                Self::Exact => false,
                Self::Listed(patterns) => {
                    let listed = |version| patterns.iter().any(|pattern| pattern.matches(version));
                    listed(one) && listed(other)
                }
            }
    }
}

impl Pattern {
    fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == version,
            Self::Numbers(numbers) => version.numbers(numbers.len()) == numbers,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        const MOST_NUMBERS: usize = 3;
        let Some(numbers) = text.strip_suffix(".*") else { return text.parse().ok().map(Self::Exactly) };
        let numbers: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
        (numbers.len() <= MOST_NUMBERS).then_some(Self::Numbers(numbers))
    }
}

impl Canary {
    /// Its part of the whole, 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl FromStr for Canary {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        let refused = || NoShare(text.to_owned());
        let percent = text.strip_suffix('%').map(str::trim_end).ok_or_else(refused)?;
        let (whole, parts) = percent.split_once('.').unwrap_or((percent, "0"));
        if parts.is_empty() || parts.len() > 2 || whole.is_empty() || whole.len() > 3 {
            return Err(refused());
        }
        let (whole, hundredths) = number(whole).zip(number(&format!("{parts:0<2}"))).ok_or_else(refused)?;
        let parts = u16::try_from(whole * 100 + hundredths).map_err(|_| refused())?;
        if parts > WHOLE { Err(refused()) } else { Ok(Self(parts)) }
    }
}

impl TryFrom<String> for Canary {
    type Error = NoShare;

    fn try_from(text: String) -> Result<Self, NoShare> {
        text.parse()
    }
}

impl From<Canary> for String {
    fn from(canary: Canary) -> Self {
        canary.to_string()
    }
}

impl Display for Canary {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match hundredths {
            0 => write!(out, "{whole}%"),
            tenths if tenths % 10 == 0 => write!(out, "{whole}.{}%", tenths / 10),
            hundredths => write!(out, "{whole}.{hundredths:02}%"),
        }
    }
}

impl Display for PreferVersion {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Weight => "weight",
        })
    }
}

impl Display for Compatible {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patch => out.write_str("patch"),
            Self::Minor => out.write_str("minor"),
            Self::Exact => out.write_str("exact"),
            Self::Listed(patterns) => {
                let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
                out.write_str(&patterns.join(" or "))
            }
        }
    }
}

impl Display for Pattern {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(version) => version.fmt(out),
            Self::Numbers(numbers) => {
                numbers.iter().try_for_each(|number| write!(out, "{number}."))?;
                out.write_str("*")
            }
        }
    }
}

/// A version, as a backend has it.
pub(super) fn version(entry: &Entry<'_>) -> Option<Version> {
    const EXPECTED: &str =
        "expected one to four numbers with dots between them, such as \"2.5.1\" or \"2.5.1-rc.1\"";
    let DeValue::String(text) = entry.value else {
        return entry.refuse_type(format!("{EXPECTED}, in quotes"));
    };
    match text.parse() {
        Ok(version) => Some(version),
        Err(_) => entry.refuse(format!("{} is not a version", entry.excerpt()), EXPECTED),
    }
}

/// A table with any of the keys.
pub(super) fn rollout(entry: &Entry<'_>) -> Option<Rollout> {
    const PREFERENCES: &[(&str, PreferVersion)] = &[
        ("newest", PreferVersion::Newest),
        ("oldest", PreferVersion::Oldest),
        ("weight", PreferVersion::Weight),
    ];
    if !entry.value.is_table() {
        return entry.refuse_type("expected a table such as { compatible = \"patch\", prefer = \"newest\" }");
    }
    let section = entry.section(&schema::ROLLOUT)?;
    let compatible = section.optional("compatible", compatible);
    let prefer = section.optional("prefer", |entry| entry.choice(PREFERENCES));
    let canary = section.optional("canary", canary);
    let default = Rollout::default();
    Some(Rollout {
        compatible: compatible.map_or(default.compatible, |compatible| compatible.value),
        prefer: prefer.map_or(default.prefer, |prefer| prefer.value),
        canary: canary.map(|canary| canary.value),
    })
}

fn compatible(entry: &Entry<'_>) -> Option<Compatible> {
    let word = match entry.value {
        DeValue::Array(_) => return patterns(entry).map(Compatible::Listed),
        DeValue::String(_) => entry.choice(&[("patch", 0), ("minor", 1), ("exact", 2)])?,
        _ => {
            return entry.refuse_type(
                "expected \"patch\", \"minor\", \"exact\" or a list such as [\"1.0.*\", \"1.1.*\"]",
            );
        }
    };
    Some(match word {
        0 => Compatible::Patch,
        1 => Compatible::Minor,
        _ => Compatible::Exact,
    })
}

fn patterns(entry: &Entry<'_>) -> Option<Vec<Pattern>> {
    const EXPECTED: &str = "expected a version, or the first numbers of one and a star, such as \"1.0.*\"";
    let entries = entry.list("versions")?;
    if entries.is_empty() {
        return entry
            .refuse("no version is listed", format!("{EXPECTED}; \"exact\" lets none run side by side"));
    }
    let pattern = |entry: Entry<'_>| match entry.value {
        DeValue::String(text) => Pattern::parse(text)
            .or_else(|| entry.refuse(format!("{} is not a version", entry.excerpt()), EXPECTED)),
        _ => entry.refuse_type(EXPECTED),
    };
    Some(entries.into_iter().filter_map(pattern).collect())
}

fn canary(entry: &Entry<'_>) -> Option<Canary> {
    let DeValue::String(text) = entry.value else { return entry.refuse_type(CANARY) };
    text.parse()
        .ok()
        .or_else(|| entry.refuse(format!("{} is no share of new flows", entry.excerpt()), CANARY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn listed(patterns: &[&str]) -> Compatible {
        Compatible::Listed(patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect())
    }

    #[test]
    fn versions_run_side_by_side_as_the_service_says() {
        use Compatible::{Exact, Minor, Patch};
        let list = listed(&["1.0.*", "1.1.0", "3.*"]);
        let table = [
            (&Patch, "1.0.1", "1.0.2", true),
            (&Patch, "1.0.1", "1.0.2-rc.1", true),
            (&Patch, "1.0.1", "1.1.1", false),
            (&Patch, "1.0.1", "2.0.1", false),
            (&Minor, "1.0.1", "1.9", true),
            (&Minor, "1.0.1", "2.0.1", false),
            (&Exact, "1.0", "1.0.0", true),
            (&Exact, "1.0.1", "1.0.1-rc.1", false),
            (&Exact, "1.0.1", "1.0.1+build.2", false),
            (&list, "1.0.1", "1.0.2", true),
            (&list, "1.0.1", "1.1.0", true),
            (&list, "1.0.1", "1.1.1", false),
            (&list, "3.1", "1.0.9", true),
            (&list, "2.0", "2.0", true),
            (&list, "2.0", "2.1", false),
        ];
        for (compatible, one, other, expected) in table {
            let (one, other) = (version(one), version(other));
            assert_eq!(compatible.run_side_by_side(&one, &other), expected, "{compatible:?}: {one}, {other}");
            assert_eq!(compatible.run_side_by_side(&other, &one), expected, "{compatible:?}: {other}, {one}");
        }
    }

    #[test]
    fn patterns_are_versions_or_begin_like_them() {
        for text in ["*", "1.*.2", "1*", ".*", "1.2.3.4.*", "latest", ""] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn shares_are_read_and_written() {
        for (text, parts, shown) in [
            ("5%", 500, "5%"),
            ("0%", 0, "0%"),
            ("100%", 10_000, "100%"),
            ("0.5%", 50, "0.5%"),
            ("12.25 %", 1_225, "12.25%"),
            ("1.05%", 105, "1.05%"),
        ] {
            let canary: Canary = text.parse().unwrap();
            assert_eq!((canary.0, canary.to_string().as_str()), (parts, shown), "{text}");
        }
        for text in ["5", "%", "101%", "-1%", "0.125%", "1.%", ".5%", "5 percent", "100.01%", "4000%"] {
            assert_eq!(text.parse::<Canary>(), Err(NoShare(text.to_owned())), "{text}");
        }
    }
}
