//! Services, backends and drops, a line for each.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::{Modifier, Style},
    text::{Line, Text},
    widgets::{HighlightSpacing, Row, Table, TableState},
};

use super::{
    Theme, lively, pane_title,
    words::{is_bar, percent, short, short_count, sparkline},
};
use crate::{
    admin::status::{Backend, Service},
    cli::{
        state::cell,
        top::{
            rates::Of,
            state::{Pane, State},
        },
    },
};

/// From this width on there is room for what is looked at seldom.
const WIDE: u16 = 124;

/// The most columns that a sparkline takes.
const BARS: u16 = 40;

/// A column: its header, how wide it is, and to which side.
struct Column(&'static str, Constraint, Alignment);

const fn left(header: &'static str, width: Constraint) -> Column {
    Column(header, width, Alignment::Left)
}

const fn right(header: &'static str, width: u16) -> Column {
    Column(header, Constraint::Length(width), Alignment::Right)
}

/// What does not fit is cut off at its left end, which is the oldest.
const fn bars_column(width: Constraint) -> Column {
    Column("past", width, Alignment::Right)
}

pub(super) fn services(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let services = state.services();
    let filter =
        if state.filter().is_empty() { String::new() } else { format!(" · filter {:?}", state.filter()) };
    let title = format!("services · by {}{filter}", state.sort().name());
    let wide = area.width >= WIDE;
    let mut columns = vec![
        left("name", Constraint::Fill(1)),
        left("address", Constraint::Length(27)),
        right("up", 7),
        right("packets/s", 9),
        right("bit/s", 7),
        right("moved", 6),
        bars_column(Constraint::Fill(1)),
    ];
    if wide {
        columns.insert(5, right("new/s", 6));
    }
    let most = most(state, services.iter().map(|service| Of::Service(service.name.clone())));
    let rows = services.iter().map(|service| service_row(service, state, most, theme, wide)).collect();
    let chosen =
        services.iter().position(|one| state.service().is_some_and(|chosen| chosen.name == one.name));
    let block = pane_title(&title, Pane::Services, state, theme);
    let has_keys = state.pane() == Pane::Services;
    render(frame, area, &columns, rows, chosen, table_theme(theme, has_keys), block);
}

fn service_row(service: &Service, state: &State, most: f64, theme: Theme, wide: bool) -> Vec<Line<'static>> {
    let up = service.backends.iter().filter(|backend| backend.health == "up").count();
    let all = service.backends.len();
    let health = match (service.available, up == all) {
        (false, _) => theme.bad(),
        (true, false) => theme.warning(),
        (true, true) => theme.good(),
    };
    let of = Of::Service(service.name.clone());
    let mut row = vec![
        Line::styled(service.name.clone(), Style::new()),
        Line::styled(address(service), theme.dim()),
        Line::styled(format!("{up}/{all}"), lively(health, state, theme)),
        rate(state, &of, |rate| rate.packets),
        rate(state, &of, |rate| rate.bits),
        Line::styled(short_count(service.moved_slots.into()), Style::new()),
        bars(state, &of, most, theme),
    ];
    if wide {
        row.insert(5, opened(state, &of));
    }
    row
}

/// The VIP with port and protocol.
pub(super) fn address(service: &Service) -> String {
    let Service { address, port, protocol, .. } = service;
    let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    if *port == 0 { format!("{address}:any/{protocol}") } else { format!("{address}:{port}/{protocol}") }
}

pub(super) fn backends(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let backends = state.backends();
    let name = state.service().map(|service| service.name.clone()).unwrap_or_default();
    let wide = area.width >= WIDE;
    let mut columns = vec![left("name", Constraint::Fill(2)), left("state", Constraint::Fill(5))];
    if wide {
        columns.insert(1, left("address", Constraint::Length(16)));
        columns.push(left("way", Constraint::Length(5)));
        columns.push(right("weight", 6));
    }
    columns.extend([right("promised", 8), right("measured", 8), right("packets/s", 9), right("bit/s", 7)]);
    if wide {
        columns.push(right("new/s", 6));
    }
    columns.extend([right("flows", 6), bars_column(Constraint::Fill(2))]);
    let of = |backend: &Backend| Of::Backend(name.clone(), backend.name.clone());
    let most = most(state, backends.iter().map(|backend| of(backend)));
    let rows =
        backends.iter().map(|backend| backend_row(backend, &of(backend), state, most, theme, wide)).collect();
    let chosen =
        backends.iter().position(|one| state.backend().is_some_and(|chosen| chosen.name == one.name));
    let has_keys = state.pane() == Pane::Backends;
    let block = pane_title(&format!("backends of {name}"), Pane::Backends, state, theme);
    render(frame, area, &columns, rows, chosen, table_theme(theme, has_keys), block);
}

fn backend_row(
    backend: &Backend,
    of: &Of,
    state: &State,
    most: f64,
    theme: Theme,
    wide: bool,
) -> Vec<Line<'static>> {
    let mut row = vec![
        Line::from(backend.name.clone()),
        Line::styled(briefly(backend), lively(theme.state(backend), state, theme)),
    ];
    if wide {
        row.insert(1, Line::styled(backend.address.to_string(), theme.dim()));
        row.push(Line::styled(backend.forwarding.clone(), theme.dim()));
        row.push(Line::from(backend.weight.to_string()));
    }
    row.extend([
        Line::from(percent(backend.promised)),
        Line::from(backend.measured.map_or_else(|| "–".to_owned(), percent)),
        rate(state, of, |rate| rate.packets),
        rate(state, of, |rate| rate.bits),
    ]);
    if wide {
        row.push(opened(state, of));
    }
    row.extend([Line::from(short_count(backend.tracked_flows.into())), bars(state, of, most, theme)]);
    row
}

/// Its state without how many probes have failed, which the history tells: what failed comes first in a narrow column.
fn briefly(backend: &Backend) -> String {
    let (all, failed) = (cell(backend), " in a row failed: ");
    let Some((_, why)) = backend.reason.split_once(failed) else { return all };
    all.replacen(&backend.reason, why, 1)
}

pub(super) fn drops(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let drops = state.drops();
    let title = if drops.is_empty() { "drops · none" } else { "drops · all services" };
    let columns = [
        left("reason", Constraint::Fill(3)),
        right("packets/s", 9),
        right("packets", 8),
        right("bytes", 8),
        bars_column(Constraint::Fill(4)),
    ];
    let of = |reason: &str| Of::Reason(reason.to_owned());
    let most = most(state, drops.iter().map(|drops| of(drops.reason.name())));
    let row = |drops: &super::super::state::Drops| {
        let of = of(drops.reason.name());
        vec![
            Line::from(drops.reason.name()),
            rate(state, &of, |rate| rate.packets),
            Line::from(short_count(drops.traffic.packets)),
            Line::from(short_count(drops.traffic.bytes)),
            bars(state, &of, most, theme),
        ]
    };
    let rows = drops.iter().map(row).collect();
    let block = pane_title(title, Pane::Drops, state, theme);
    let has_keys = state.pane() == Pane::Drops;
    render(frame, area, &columns, rows, Some(state.drop_line()), table_theme(theme, has_keys), block);
}

/// How the header and the chosen line look.
fn table_theme(theme: Theme, has_keys: bool) -> (Style, Style) {
    (theme.dim(), theme.chosen(has_keys))
}

fn render(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: &[Column],
    rows: Vec<Vec<Line<'static>>>,
    chosen: Option<usize>,
    (header_style, chosen_style): (Style, Style),
    block: ratatui::widgets::Block<'static>,
) {
    let aligned = |line: Line<'static>, Column(_, _, side): &Column| Text::from(line.alignment(*side));
    let header = columns.iter().map(|column| aligned(Line::from(column.0), column));
    let header = Row::new(header.collect::<Vec<_>>()).style(header_style);
    let empty = rows.is_empty();
    let rows = rows.into_iter().map(|row| {
        Row::new(row.into_iter().zip(columns).map(|(line, column)| aligned(line, column)).collect::<Vec<_>>())
    });
    let table = Table::new(rows, columns.iter().map(|column| column.1))
        .header(header)
        .column_spacing(1)
        .highlight_spacing(HighlightSpacing::Always)
        .highlight_symbol("›")
        .row_highlight_style(chosen_style)
        .block(block);
    let mut chosen = TableState::default().with_selected(chosen.filter(|_| !empty));
    frame.render_stateful_widget(table, area, &mut chosen);
    for position in area.positions() {
        let cell = &mut frame.buffer_mut()[position];
        // Turned round, a high bar would be a low one.
        if cell.modifier.contains(Modifier::REVERSED) && is_bar(cell.symbol()) {
            cell.modifier.remove(Modifier::REVERSED);
        }
    }
}

fn rate(state: &State, of: &Of, part: impl Fn(super::super::rates::Rate) -> f64) -> Line<'static> {
    Line::from(state.rates().now(of).map_or_else(|| "–".to_owned(), |rate| short(part(rate))))
}

/// New flows a second, where they are counted.
fn opened(state: &State, of: &Of) -> Line<'static> {
    let opened = state.rates().now(of).and_then(|rate| rate.opened);
    Line::from(opened.map_or_else(|| "–".to_owned(), short))
}

/// The same scale for all rows of a list, so that they can be compared.
fn most(state: &State, all: impl Iterator<Item = Of>) -> f64 {
    all.flat_map(|of| state.rates().past(&of, usize::from(BARS))).fold(0.0, f64::max)
}

fn bars(state: &State, of: &Of, most: f64, theme: Theme) -> Line<'static> {
    let past = state.rates().past(of, usize::from(BARS));
    Line::styled(sparkline(&past, most), lively(theme.accent(), state, theme))
}
