//! On what condition a change is made: the preconditions of HTTP (RFC 9110, section 13.1).

/// The condition of a change; by default there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What `If-Match` says: versions, or `*` for something that there is.
    pub matches: Option<String>,
    /// What `If-None-Match` says: `*` for something that there is not yet.
    pub none_matches: Option<String>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// It was meant for another version.
    #[error("the configuration is at version {is} by now, not at {expected}")]
    Stale {
        /// The version that is.
        is: String,
        /// What was meant.
        expected: String,
    },
    /// It was meant for something that there is.
    #[error("there is no such thing, which `If-Match: *` asks for")]
    Absent,
    /// It was meant for something new.
    #[error("there is one already, which `If-None-Match` rules out")]
    Present,
}

impl Condition {
    /// Whether it holds at `version`, of something that there is or is not. A version is one of everything, so what is new
    /// has one too.
    ///
    /// # Errors
    ///
    /// [`Unmet`].
    pub fn check(&self, version: &str, exists: bool) -> Result<(), Unmet> {
        match self.matches.as_deref().map(str::trim) {
            Some("*") if !exists => return Err(Unmet::Absent),
            Some(expected) if expected != "*" && !tags(expected).any(|tag| tag == version) => {
                return Err(Unmet::Stale { is: version.to_owned(), expected: expected.to_owned() });
            }
            _ => {}
        }
        match self.none_matches.as_deref().map(str::trim) {
            Some("*") if exists => Err(Unmet::Present),
            // Compared weakly, as the RFC has it.
            Some(ruled_out) if tags(&ruled_out.replace("W/", "")).any(|tag| tag == version) => {
                Err(Unmet::Present)
            }
            _ => Ok(()),
        }
    }
}

/// The strong tags of a list.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter_map(|tag| tag.trim().strip_prefix('"')?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IS: &str = "0123456789abcdef";

    fn check(matches: &str, none_matches: &str, exists: bool) -> Result<(), Unmet> {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Condition { matches: said(matches), none_matches: said(none_matches) }.check(IS, exists)
    }

    #[test]
    fn version_is_matched_as_http_says() {
        let is = format!("\"{IS}\"");
        for good in [&is, &format!("\"other\", {is}"), "*", ""] {
            assert_eq!(check(good, "", true), Ok(()), "{good}");
        }
        for bad in [&format!("W/{is}"), IS, "\"other\"", "\""] {
            assert!(matches!(check(bad, "", true), Err(Unmet::Stale { .. })), "{bad}");
        }
        let nothing = Condition { matches: Some(String::new()), none_matches: None };
        assert!(nothing.check(IS, true).is_err(), "an empty header is a condition too");
    }

    #[test]
    fn star_asks_whether_there_is_such_a_thing() {
        assert_eq!(check("*", "", false), Err(Unmet::Absent));
        assert_eq!(check("", "*", true), Err(Unmet::Present));
        assert_eq!(check("", "*", false), Ok(()));
        let is = format!("\"{IS}\"");
        assert_eq!(check(&is, "*", false), Ok(()), "something new, if nothing else was changed");
    }

    #[test]
    fn ruled_out_versions_are_compared_weakly() {
        assert_eq!(check("", &format!("W/\"{IS}\""), true), Err(Unmet::Present));
        assert_eq!(check("", "\"other\"", true), Ok(()));
    }
}
