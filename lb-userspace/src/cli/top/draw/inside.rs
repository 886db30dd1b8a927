//! One service alone: facts, backends, changes of its table and of the chosen backend.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Padding, Paragraph, Wrap},
};

use super::{Theme, lists, titled, words::percent};
use crate::{
    admin::status::{Change, Service, TableChange},
    cli::{history::moment, shares::shares, top::state::State},
};

/// Changes that are shown, where there is room.
const CHANGES: u16 = 10;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let Some(service) = state.service() else {
        let gone = Paragraph::new(" this service is gone from the configuration; Esc leads back")
            .style(theme.warning());
        return frame.render_widget(gone, area);
    };
    let facts = facts(service, theme);
    let height = u16::try_from(facts.len()).unwrap_or(u16::MAX).min(area.height / 3);
    let [upper, middle, lower] = Layout::vertical([
        Constraint::Length(height + 1),
        Constraint::Min(4),
        Constraint::Length((area.height / 3).min(CHANGES + 1)),
    ])
    .areas(area);
    let block = titled(&format!("{} · {}", service.name, lists::address(service)), false, theme);
    frame.render_widget(Paragraph::new(facts).block(block), upper);
    lists::backends(frame, middle, state, theme);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(1).areas(lower);
    let block = titled("changes of its table", false, theme).padding(Padding::left(1));
    let changes = service.tables.changes.iter().rev().map(|change| table_change(change, theme));
    frame.render_widget(
        Paragraph::new(changes.collect::<Vec<_>>()).wrap(Wrap { trim: false }).block(block),
        left,
    );
    if let Some(backend) = state.backend() {
        let block = titled(&format!("history of {}", backend.name), false, theme).padding(Padding::left(1));
        let changes = backend.history.iter().rev().map(|change| change_of_backend(change, theme));
        frame.render_widget(
            Paragraph::new(changes.collect::<Vec<_>>()).wrap(Wrap { trim: false }).block(block),
            right,
        );
    }
}

fn facts(service: &Service, theme: Theme) -> Vec<Line<'static>> {
    let Service { generation, digest, slots, moved_slots, .. } = service;
    let mut facts = vec![Line::from(format!(
        " generation {generation}, digest {digest}, {slots} slots, {moved_slots} of them moved"
    ))];
    if !service.available {
        facts.push(Line::styled(" not available", theme.bad()));
    }
    facts.extend(shares(service).into_iter().map(|line| Line::from(format!(" {line}"))));
    facts
}

fn table_change(change: &TableChange, theme: Theme) -> Line<'static> {
    let collateral = change.collateral_slots.filter(|slots| *slots > 0);
    let part = |slots: u32| percent(f64::from(slots) / f64::from(change.slots.max(1)));
    let beside = collateral.map(|slots| format!(", {} collateral", part(slots))).unwrap_or_default();
    let part = part(change.moved_slots);
    Line::from(vec![
        Span::styled(format!("{} ", time(change.at)), theme.dim()),
        Span::styled(format!("{part} moved{beside}"), theme.strong()),
        Span::raw(format!(": {}", change.cause)),
    ])
}

fn change_of_backend(change: &Change, theme: Theme) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{} ", time(change.at)), theme.dim()),
        Span::styled(format!("{} {}", change.what.name(), change.is), theme.strong()),
        Span::raw(format!(": {}", change.why)),
    ])
}

/// The time of day (UTC).
fn time(at: f64) -> String {
    moment(at).split(' ').next_back().unwrap_or_default().to_owned()
}
