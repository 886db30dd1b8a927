//! A state as a frame.
//!
//! ```text
//!   head        what runs, and how much there is of everything
//!   services    ┐
//!   backends    ├ or, inside a service: facts, backends, changes of its table and of the chosen backend
//!   drops       ┘
//!   foot        what is wrong, what came of the last order, keys
//! ```

mod front;
mod head;
mod inside;
mod lists;
mod theme;
mod words;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::Line,
    widgets::{Block, Borders, Paragraph},
};

use super::state::{Mode, Pane, State};
pub(super) use theme::Theme;

/// Lines of a list that are not its rows: its title and its header.
const FRAME: u16 = 2;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, theme: Theme) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(4), Constraint::Length(2)])
            .areas(frame.area());
    head::draw(frame, head, state, theme);
    match state.status() {
        None => waiting(frame, body, state, theme),
        Some(_) if state.is_inside() => inside::draw(frame, body, state, theme),
        Some(_) => outside(frame, body, state, theme),
    }
    front::foot(frame, foot, state, theme);
    match state.mode() {
        Mode::Look | Mode::Filter => {}
        Mode::Ask(order) => front::question(frame, body, state, order, theme),
        Mode::Weigh(weighing) => front::weighing(frame, body, weighing, theme),
        Mode::Help => front::help(frame, body, theme),
    }
}

/// Drops have what they need up to a fifth, services up to a third, and backends the rest.
fn outside(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let needed = |rows: usize| u16::try_from(rows.max(1)).unwrap_or(u16::MAX).saturating_add(FRAME);
    let services = needed(state.services().len()).min((area.height / 3).max(FRAME + 1));
    let drops = needed(state.drops().len()).min((area.height / 5).max(FRAME + 2));
    let [services, backends, drops] = Layout::vertical([
        Constraint::Length(services),
        Constraint::Min(FRAME + 1),
        Constraint::Length(drops),
    ])
    .areas(area);
    lists::services(frame, services, state, theme);
    lists::backends(frame, backends, state, theme);
    lists::drops(frame, drops, state, theme);
}

fn waiting(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    if state.lost().is_none() {
        frame.render_widget(Paragraph::new(" asking the daemon …").style(theme.dim()), area);
    }
}

/// A rule with a title: what belongs together begins with one.
fn titled(title: &str, has_keys: bool, theme: Theme) -> Block<'static> {
    let (rule, style) = if has_keys {
        (theme.accent(), theme.accent().patch(theme.strong()))
    } else {
        (theme.dim(), theme.strong())
    };
    Block::new().borders(Borders::TOP).border_style(rule).title(Line::styled(format!(" {title} "), style))
}

fn pane_title(title: &str, pane: Pane, state: &State, theme: Theme) -> Block<'static> {
    titled(title, state.pane() == pane, theme)
}

/// Text with a style, or without one where the daemon is lost: nothing of it is of now.
fn lively(style: Style, state: &State, theme: Theme) -> Style {
    if state.lost().is_some() { theme.dim() } else { style }
}

#[cfg(test)]
mod tests;
