//! Where a host is: labels with dots between them, from the largest to the smallest, such as `eu.ams.dc2.rack7`.

use std::{fmt, sync::Arc};

use super::section::Entry;

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Arc<str>);

impl Location {
    const MAX_BYTES: usize = 255;

    /// The place that `text` names, if it names one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let is_label = |label: &str| !label.is_empty() && label.chars().all(is_fit);
        (text.len() <= Self::MAX_BYTES && text.split('.').all(is_label)).then(|| Self(text.into()))
    }

    /// Its labels, the largest place first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// How many leading labels it has in common with another place.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> usize {
        self.labels().zip(other.labels()).take_while(|(own, other)| own == other).count()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Reads a location.
pub(super) fn location(entry: &Entry<'_>) -> Option<Location> {
    let text = entry.string("a location such as \"eu.ams.dc2\"")?;
    Location::parse(text).or_else(|| {
        entry.refuse(
            format!("{} is not a location", entry.excerpt()),
            "expected labels of lower-case letters, digits, `-` and `_` with dots between them, the largest place \
             first, such as \"eu.ams.dc2.rack7\"",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_is_labels_with_dots_between_them() {
        for good in ["eu", "eu.ams.dc2.rack7", "a_1.b-2"] {
            assert_eq!(Location::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", ".", "eu.", ".eu", "eu..ams", "EU", "eu ams", &"a.".repeat(200)] {
            assert_eq!(Location::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn shared_labels_are_the_leading_ones() {
        let table = [
            ("eu.ams.dc2.rack7", "eu.ams.dc2.rack7", 4),
            ("eu.ams.dc2.rack7", "eu.ams.dc2", 3),
            ("eu.ams.dc2", "eu.ams.dc1", 2),
            ("eu.ams.dc2", "us.ams.dc2", 0),
            ("eu", "europe", 0),
        ];
        for (one, other, shared) in table {
            let parse = |text| Location::parse(text).unwrap();
            assert_eq!(parse(one).shared_with(&parse(other)), shared, "{one}, {other}");
            assert_eq!(parse(other).shared_with(&parse(one)), shared, "{other}, {one}");
        }
    }
}
