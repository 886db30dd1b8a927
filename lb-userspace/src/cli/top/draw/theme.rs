//! What stands out, and how. Everything that a colour says is said by a word too.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

use crate::admin::status::{Backend, LEAVING};

/// With colours, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Theme {
    /// The terminal's own colours, which its owner has chosen for its background.
    Coloured,
    /// Bold and reversed alone.
    Plain,
}

impl Theme {
    /// As the variable `NO_COLOR` wants it.
    pub(in super::super) fn of(no_color: Option<&OsStr>) -> Self {
        if no_color.is_some_and(|value| !value.is_empty()) { Self::Plain } else { Self::Coloured }
    }

    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(super) fn warning(self) -> Style {
        self.colour(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn accent(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(super) fn dim(self) -> Style {
        self.colour(Color::DarkGray)
    }

    #[expect(clippy::unused_self, reason = "asked for as the others are")]
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The chosen line of a list.
    #[expect(clippy::unused_self, reason = "asked for as the others are")]
    pub(super) fn chosen(self, has_keys: bool) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        // Turned round, a colour of a word would be a patch.
        if has_keys { style.fg(Color::Reset).add_modifier(Modifier::REVERSED) } else { style }
    }

    /// What the state of a backend calls for.
    pub(super) fn state(self, backend: &Backend) -> Style {
        match (backend.health.as_str(), backend.admin.as_str()) {
            ("down", _) => self.bad(),
            (_, "drain" | "maintenance" | LEAVING) => self.warning(),
            ("up", _) if backend.held_back.is_some() => self.warning(),
            ("up", _) => self.good(),
            _ => self.dim(),
        }
    }

    fn colour(self, colour: Color) -> Style {
        match self {
            Self::Coloured => Style::new().fg(colour),
            Self::Plain => Style::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        assert_eq!(Theme::of(Some(OsStr::new("1"))), Theme::Plain);
        assert_eq!(Theme::of(Some(OsStr::new(""))), Theme::Coloured, "as no-color.org has it");
        assert_eq!(Theme::of(None), Theme::Coloured);
        assert_eq!(Theme::Plain.good(), Style::new());
    }
}
