//! What is wrong with a configuration, where, and what would be right.
//!
//! A diagnostic carries the one source line that it points at, so it outlives the file's text. Rendering is plain
//! unless styles are asked for: whether there is a terminal is the caller's to know.

use std::{fmt, ops::Range};

use annotate_snippets::{
    Annotation, AnnotationKind, Level, Origin, Renderer, Snippet, level, normalize_untrusted_str as printable,
};

/// Everything that is wrong with one file, in the file's order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(.0, Diagnostic::to_string))]
pub struct Diagnostics(pub(super) Vec<Diagnostic>);

impl Diagnostics {
    /// The single diagnostics.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Renders all with terminal colours; `to_string` renders them without.
    #[must_use]
    pub fn styled(&self) -> String {
        joined(&self.0, Diagnostic::styled)
    }

    /// Renders without the word "error", for a log that has its own.
    #[must_use]
    pub fn unnamed(&self) -> String {
        joined(&self.0, Diagnostic::unnamed)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Something that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub(super) Diagnostic);

impl Warning {
    /// What it says, and where.
    #[must_use]
    pub const fn diagnostic(&self) -> &Diagnostic {
        &self.0
    }

    /// Renders with terminal colours; `to_string` renders without.
    #[must_use]
    pub fn styled(&self) -> String {
        self.0.styled()
    }

    /// Renders without the word "warning", for a log that has its own.
    #[must_use]
    pub fn unnamed(&self) -> String {
        self.0.unnamed()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One statement about one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    file: String,
    key: String,
    message: String,
    expected: Option<String>,
    spot: Option<Spot>,
    related: Vec<(Spot, String)>,
    help: Option<String>,
}

impl Diagnostic {
    pub(super) fn new(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            key: String::new(),
            message: message.into(),
            expected: None,
            spot: None,
            related: Vec::new(),
            help: None,
        }
    }

    pub(super) fn key(mut self, path: &str) -> Self {
        path.clone_into(&mut self.key);
        self
    }

    pub(super) fn at(mut self, spot: Option<Spot>) -> Self {
        self.spot = spot;
        self
    }

    /// What would be right, said at the caret.
    pub(super) fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(text.into());
        self
    }

    /// Another place that has a part in it.
    pub(super) fn related(mut self, spot: Option<Spot>, text: impl Into<String>) -> Self {
        self.related.extend(spot.map(|spot| (spot, text.into())));
        self
    }

    /// What to do about it, said below the source.
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Hides the text under the caret.
    pub(super) fn secret(mut self) -> Self {
        if let Some(spot) = &mut self.spot {
            let stars = "*".repeat(spot.range.len());
            spot.text.replace_range(spot.range.clone(), &stars);
        }
        self
    }

    /// Path of the key that it is about, such as `service[2].backend[0].weight`; empty where it is about the file.
    #[must_use]
    pub fn key_path(&self) -> &str {
        &self.key
    }

    /// What is wrong, without place or remedy.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right, or what to do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.expected.as_deref().or(self.help.as_deref())
    }

    /// Line and column, from 1, columns in characters; none where it is about the file as a whole.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        self.spot.as_ref().map(|spot| (spot.line, spot.column()))
    }

    /// Renders with terminal colours; `to_string` renders without.
    #[must_use]
    pub fn styled(&self) -> String {
        self.render(self.severity.level(), &Renderer::styled())
    }

    fn unnamed(&self) -> String {
        self.render(self.severity.level().no_name(), &Renderer::plain())
    }

    fn render(&self, level: Level<'_>, renderer: &Renderer) -> String {
        let title = level.primary_title(self.title());
        let mut group = match &self.spot {
            Some(spot) => {
                title.element(spot.snippet(&self.file, AnnotationKind::Primary, self.expected.as_deref()))
            }
            None => title.element(Origin::path(&*self.file)),
        };
        for (spot, label) in &self.related {
            group = group.element(spot.snippet(&self.file, AnnotationKind::Context, Some(label)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    fn title(&self) -> String {
        let separator = if self.key.is_empty() { "" } else { ": " };
        printable(&format!("{}{separator}{}", self.key, self.message))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(self.severity.level(), &Renderer::plain()))
    }
}

/// Whether the file can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
}

impl Severity {
    const fn level(self) -> Level<'static> {
        match self {
            Self::Error => level::ERROR,
            Self::Warning => level::WARNING,
        }
    }
}

/// A stretch of one line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Number of the line, from 1.
    line: usize,
    /// The line, without its end.
    text: String,
    /// Bytes of `text`.
    range: Range<usize>,
}

impl Spot {
    /// The part of `span` that lies in its first line, widened to whole characters.
    pub(super) fn new(line: usize, line_start: usize, text: &str, span: Range<usize>) -> Self {
        let line_text = text[line_start..].lines().next().unwrap_or_default();
        let start = line_text.floor_char_boundary(span.start - line_start);
        let end = line_text.ceil_char_boundary(span.end - line_start).max(start);
        Self { line, text: line_text.to_owned(), range: start..end }
    }

    fn column(&self) -> usize {
        self.text[..self.range.start].chars().count() + 1
    }

    fn snippet<'a>(
        &'a self,
        file: &'a str,
        kind: AnnotationKind,
        label: Option<&str>,
    ) -> Snippet<'a, Annotation<'a>> {
        let annotation = kind.span(self.range.clone()).label(label.map(printable));
        Snippet::source(&*self.text).line_start(self.line).path(file).annotation(annotation)
    }
}

fn joined(diagnostics: &[Diagnostic], render: impl Fn(&Diagnostic) -> String) -> String {
    diagnostics.iter().map(render).collect::<Vec<_>>().join("\n\n")
}
