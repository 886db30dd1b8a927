//! The file being checked, and what was found in it so far.

use std::{
    cell::{OnceCell, RefCell},
    ops::Range,
};

use super::diagnostics::{Diagnostic, Diagnostics, Severity, Spot, Warning};

/// Text and findings of one file.
#[derive(Debug)]
pub(super) struct File<'a> {
    path: &'a str,
    text: &'a str,
    /// Looked for once something has to be said.
    line_starts: OnceCell<Vec<usize>>,
    errors: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<Diagnostic>>,
}

impl<'a> File<'a> {
    pub(super) fn new(path: &'a str, text: &'a str) -> Self {
        Self {
            path,
            text,
            line_starts: OnceCell::new(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    fn line_starts(&self) -> &[usize] {
        let line_ends = self.text.match_indices('\n').map(|(end, _)| end + 1);
        self.line_starts.get_or_init(|| std::iter::once(0).chain(line_ends).collect())
    }

    /// Starts an error about `place`; [`Self::report`] it.
    pub(super) fn error(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, place, message)
    }

    /// Starts a warning about `place`; [`Self::warn`] of it.
    pub(super) fn warning(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, place, message)
    }

    fn diagnostic(&self, severity: Severity, place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(severity, self.path, message).key(&place.key).at(self.spot(place))
    }

    pub(super) fn report(&self, error: Diagnostic) {
        self.errors.borrow_mut().push(error);
    }

    /// Reports that what is at `place` may be written only once, and was at `first`.
    pub(super) fn report_second(&self, place: &Place, first: &Place, message: String, expected: &str) {
        let error = self.error(place, message).expected(expected);
        self.report(error.related(self.spot(first), "the first one"));
    }

    pub(super) fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Where `place` is, for the reader.
    pub(super) fn spot(&self, place: &Place) -> Option<Spot> {
        let span = place.span.clone()?;
        let starts = self.line_starts();
        let line = starts.partition_point(|&start| start <= span.start);
        Some(Spot::new(line, starts[line - 1], self.text, span))
    }

    /// The first line of what is written at `place`, shortened.
    pub(super) fn excerpt(&self, place: &Place) -> String {
        const SHOWN_CHARS: usize = 48;
        let span = place.span.clone().unwrap_or_default();
        let line = self.text.get(span).and_then(|text| text.lines().next()).unwrap_or_default();
        let mut shown: String = line.chars().take(SHOWN_CHARS).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        shown
    }

    /// What the file comes to: `value` unless there were errors.
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<(T, Vec<Warning>), Diagnostics> {
        let errors = sorted(self.errors);
        match value {
            Some(value) if errors.is_empty() => {
                Ok((value, sorted(self.warnings).into_iter().map(Warning).collect()))
            }
            _ => Err(Diagnostics(errors)),
        }
    }
}

fn sorted(diagnostics: RefCell<Vec<Diagnostic>>) -> Vec<Diagnostic> {
    let mut diagnostics = diagnostics.into_inner();
    diagnostics.sort_by_key(Diagnostic::position);
    diagnostics
}

/// Where something is written, or would be.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Path of the key.
    pub(super) key: String,
    /// Bytes of the file; none for what is not there.
    pub(super) span: Option<Range<usize>>,
}

/// A value, and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}
