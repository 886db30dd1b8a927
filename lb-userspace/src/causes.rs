//! An error and its causes as one line.
//!
//! Not what anyhow's `{:#}` prints: some libraries repeat in an error what its source says, and the line says it once.

use std::error::Error;

/// Joins `error` and its causes by colons, without those that the line holds already.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_cause_is_told_once() {
        let repeated = anyhow!("no memory").context("map error: no memory").context("cannot load");
        assert_eq!(with_causes(repeated.as_ref()), "cannot load: map error: no memory");
        let distinct = anyhow!("no memory").context("map error").context("cannot load");
        assert_eq!(with_causes(distinct.as_ref()), "cannot load: map error: no memory");
    }
}
