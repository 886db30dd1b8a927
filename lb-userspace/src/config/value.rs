//! Single values: type, range, spelling. What they mean together is checked where they are used.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use humantime::{DurationError, format_duration, parse_duration};
use toml::de::{DeInteger, DeValue};

use super::{section::Entry, suggest::closest};

impl<'a> Entry<'a> {
    /// A string; `expected` says of what kind.
    pub(super) fn string(&self, expected: &str) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.refuse_type(format!("expected {expected} in quotes")),
        }
    }

    /// An integer within `range`.
    pub(super) fn integer(&self, range: &RangeInclusive<u32>) -> Option<u32> {
        let expected = format!("expected an integer from {} to {}", range.start(), range.end());
        match self.value {
            DeValue::Integer(integer) => match in_range(integer, range) {
                None => self.refuse(format!("{} is out of range", self.excerpt()), expected),
                value => value,
            },
            DeValue::String(text) if text.parse::<u32>().is_ok_and(|value| range.contains(&value)) => {
                self.refuse_type(format!("expected an integer: write {text} without quotes"))
            }
            _ => self.refuse_type(expected),
        }
    }

    /// Yes or no.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) if ["true", "false"].contains(&text.as_ref()) => {
                self.refuse_type(format!("expected true or false: write {text} without quotes"))
            }
            _ => self.refuse_type("expected true or false"),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let expected = format!("expected one of \"{}\"", names.join("\", \""));
        let DeValue::String(text) = self.value else {
            return self.refuse_type(expected);
        };
        let known = words.iter().find(|(name, _)| name == text).map(|(_, value)| *value);
        known.or_else(|| match closest(text, &names) {
            Some(meant) => self.refuse(
                format!("{} is not a value of this key", self.excerpt()),
                format!("did you mean \"{meant}\"?"),
            ),
            None => self.refuse(format!("{} is not a value of this key", self.excerpt()), expected),
        })
    }

    /// A duration within `range`.
    pub(super) fn duration(&self, range: &RangeInclusive<Duration>) -> Option<Duration> {
        let text = match self.value {
            DeValue::Integer(integer) => return self.refuse_unitless(integer.as_str()),
            _ => self.string("a duration such as \"5s\"")?,
        };
        match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(duration) => self.refuse_length(duration, range),
            Err(DurationError::UnknownUnit { unit, value, .. }) if unit.is_empty() => {
                self.refuse_unitless(&value.to_string())
            }
            Err(_) => self.refuse(
                format!("{} is not a duration", self.excerpt()),
                "expected a number with its unit: ms, s, m, h or d, such as \"5s\"",
            ),
        }
    }

    fn refuse_unitless<T>(&self, number: &str) -> Option<T> {
        self.refuse(
            format!("{} is not a duration", self.excerpt()),
            format!("expected a unit: \"{number}s\" for seconds, \"{number}ms\" for milliseconds"),
        )
    }

    fn refuse_length<T>(&self, duration: Duration, range: &RangeInclusive<Duration>) -> Option<T> {
        let bound = if duration < *range.start() { "short" } else { "long" };
        self.refuse(
            format!("{} is too {bound}", self.excerpt()),
            format!("expected {} to {}", format_duration(*range.start()), format_duration(*range.end())),
        )
    }

    /// A part of a whole, in whole per cent.
    pub(super) fn percent(&self) -> Option<u32> {
        const EXPECTED: &str = "expected \"0%\" to \"100%\", such as \"50%\"";
        let number = match self.value {
            DeValue::String(text) => text.strip_suffix('%'),
            DeValue::Integer(integer) => {
                let written = format!("expected a part of a whole: write \"{}%\"", integer.as_str());
                return self.refuse_type(written);
            }
            _ => return self.refuse_type(EXPECTED),
        };
        let percent = number.and_then(|number| number.parse().ok()).filter(|percent| *percent <= 100);
        percent.or_else(|| self.refuse(format!("{} is not a part of a whole", self.excerpt()), EXPECTED))
    }

    /// The elements of a list of `what`.
    pub(super) fn list(&self, what: &str) -> Option<Vec<Self>> {
        match self.value {
            DeValue::Array(array) => {
                Some((0..).zip(array.iter()).map(|(index, value)| self.element(index, value)).collect())
            }
            DeValue::String(_) => {
                self.refuse_type(format!("expected a list of {what}: write [{}]", self.excerpt()))
            }
            _ => self.refuse_type(format!("expected a list of {what}")),
        }
    }

    /// A name that is fit for a table's cell, a metric's label and a path of the admin API.
    pub(super) fn name(&self) -> Option<String> {
        const MAX_BYTES: usize = 64;
        let name = self.string("a name")?;
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if (1..=MAX_BYTES).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(is_fit)
        {
            return Some(name.to_owned());
        }
        self.refuse(
            format!("{} is not a name", self.excerpt()),
            format!(
                "expected a letter or digit, then letters, digits and `-_.:`, at most {MAX_BYTES} in all"
            ),
        )
    }

    /// An absolute path.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.string("an absolute path")?;
        let path = PathBuf::from(text);
        if path.is_absolute() && !text.contains("/..") && !text.contains('\0') {
            return Some(path);
        }
        self.refuse(
            format!("{} is not an absolute path", self.excerpt()),
            "expected a path that starts with `/` and has no `..` in it",
        )
    }
}

/// The value of `integer` if it lies in `range`.
pub(super) fn in_range(integer: &DeInteger<'_>, range: &RangeInclusive<u32>) -> Option<u32> {
    let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    u32::try_from(value).ok().filter(|value| range.contains(value))
}
