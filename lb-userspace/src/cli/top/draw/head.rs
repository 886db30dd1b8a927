//! What runs, and how much there is of everything.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    Theme, lively,
    words::{percent, short, short_count, sparkline},
};
use crate::{
    admin::status::Status,
    cli::top::{rates::Of, state::State},
};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let Some(status) = state.status() else {
        return frame.render_widget(Paragraph::new(Line::styled(" sluice top", theme.strong())), area);
    };
    let interfaces: Vec<_> = status.interfaces.iter().map(|i| format!("{} ({})", i.name, i.mode)).collect();
    let about = format!("  {}  on {}", status.config, interfaces.join(", "));
    let first = Line::from(vec![
        Span::styled(format!(" sluice {}", status.version), theme.strong()),
        Span::styled(about, theme.dim()),
    ]);
    let second = Line::from(amounts(state, status, theme));
    let [upper, lower] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    frame.render_widget(Paragraph::new(first), upper);
    let free = usize::from(lower.width).saturating_sub(second.width() + 2);
    let past = state.rates().past(&Of::All, free.min(60));
    let bars = sparkline(&past, past.iter().copied().fold(0.0, f64::max));
    frame.render_widget(Paragraph::new(second), lower);
    let bars = Line::styled(format!("{bars} "), lively(theme.accent(), state, theme)).right_aligned();
    let [_, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width(free))]).areas(lower);
    frame.render_widget(Paragraph::new(bars), right);
}

fn width(columns: usize) -> u16 {
    u16::try_from(columns).unwrap_or(u16::MAX)
}

#[expect(clippy::cast_lossless, reason = "a fraction of two counts of slots")]
fn amounts(state: &State, status: &Status, theme: Theme) -> Vec<Span<'static>> {
    let rate = state.rates().now(&Of::All);
    let shown = |number: Option<f64>| number.map_or_else(|| "–".to_owned(), short);
    let flows = u64::from(status.tracking.connections) + u64::from(status.tracking.openings);
    let mut amounts = vec![
        (shown(rate.map(|rate| rate.packets)), "packets/s"),
        (shown(rate.map(|rate| rate.bits)), "bit/s"),
        (short_count(flows), "flows remembered"),
        (percent(status.arena.used as f64 / status.arena.slots.max(1) as f64), "of arena"),
    ];
    let refused = status.tracking.refused.connections + status.tracking.refused.openings;
    if refused > 0 {
        amounts.push((short_count(refused), "refused"));
    }
    let spans = amounts.into_iter().flat_map(|(number, unit)| {
        let number = Span::styled(format!(" {number}"), lively(theme.strong(), state, theme));
        [number, Span::styled(format!(" {unit}  "), theme.dim())]
    });
    spans.collect()
}
