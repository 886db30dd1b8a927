//! Versions of backends, and which of them come before which.
//!
//! Written as people do: `2.5.1`, `2.5`, `v1.0.2-rc.3`, `2026.01.07.2`. The numbers are more lenient than semver's (one to
//! four of them, with zeros in front); the suffix is semver's own, whose order of `rc.9` and `rc.10`, of digits and
//! letters, is nothing to invent again.

use std::{
    cmp::Ordering,
    fmt::{self, Display, Formatter},
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use semver::{BuildMetadata, Prerelease};
use serde::{Deserialize, Serialize};

/// The most numbers that a version has.
const MOST_NUMBERS: usize = 4;

/// A version. Two that differ in zeros alone (`1.0`, `1.0.0`) are the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Arc<Parts>);

/// A backend that has none pays for a pointer alone.
#[derive(Debug)]
struct Parts {
    /// As it was written.
    text: String,
    numbers: [u64; MOST_NUMBERS],
    before: Prerelease,
    build: BuildMetadata,
}

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a version; expected one to four numbers with dots between them, such as 2.5.1 or 2.5.1-rc.1"
)]
pub struct NoVersion(String);

impl Version {
    /// The first `count` numbers.
    #[must_use]
    pub fn numbers(&self, count: usize) -> &[u64] {
        &self.0.numbers[..count.min(MOST_NUMBERS)]
    }

    fn key(&self) -> (&[u64; MOST_NUMBERS], &Prerelease, &BuildMetadata) {
        let Parts { numbers, before, build, .. } = &*self.0;
        (numbers, before, build)
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        const MOST_BYTES: usize = 64;
        let refused = || NoVersion(text.to_owned());
        let (rest, build) = split(text, '+');
        let (numbers, before) = split(rest, '-');
        let numbers = numbers_of(numbers.strip_prefix('v').unwrap_or(numbers)).ok_or_else(refused)?;
        // Nothing behind the sign is no suffix either.
        if text.len() > MOST_BYTES || before == Some("") || build == Some("") {
            return Err(refused());
        }
        let before = Prerelease::new(before.unwrap_or_default()).map_err(|_| refused())?;
        let build = BuildMetadata::new(build.unwrap_or_default()).map_err(|_| refused())?;
        Ok(Self(Arc::new(Parts { text: text.to_owned(), numbers, before, build })))
    }
}

impl TryFrom<String> for Version {
    type Error = NoVersion;

    fn try_from(text: String) -> Result<Self, NoVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0.text.clone()
    }
}

fn split(text: &str, sign: char) -> (&str, Option<&str>) {
    text.split_once(sign).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn numbers_of(text: &str) -> Option<[u64; MOST_NUMBERS]> {
    let mut numbers = [0; MOST_NUMBERS];
    let mut places = numbers.iter_mut();
    for part in text.split('.') {
        *places.next()? = number(part)?;
    }
    Some(numbers)
}

/// A number of digits alone: no sign, no blank.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Display for Version {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.pad(&self.0.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_in_order() {
        let order = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-rc.9",
            "1.0.0-rc.10",
            "v1.0",
            "1.0.0+build.2",
            "1.0.1",
            "1.0.2",
            "1.0.10",
            "1.1",
            "2",
            "2.0.0.1",
            "2026.01.07.2",
            "2026.1.8",
        ];
        for pair in order.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn zeros_make_no_difference() {
        for (one, other) in [("1", "1.0.0"), ("v2.5", "2.5.0.0"), ("2026.01.07", "2026.1.7")] {
            assert_eq!(version(one), version(other));
        }
        assert_eq!(version("v2.5").to_string(), "v2.5", "it is shown as it was written");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let long = format!("1.0-{}", "a".repeat(64));
        for text in [
            "",
            "v",
            "latest",
            "1.",
            ".1",
            "1..2",
            "1.2.3.4.5",
            "1.x",
            "+1",
            "1.0-",
            "1.0+",
            "1.0-rc_1",
            "1 .0",
            &long,
        ] {
            assert_eq!(text.parse::<Version>(), Err(NoVersion(text.to_owned())), "{text}");
        }
        assert!(
            NoVersion("x".to_owned()).to_string().starts_with("\"x\" is not a version; expected one to four")
        );
    }
}
