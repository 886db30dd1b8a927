//! What is in front of the lists, or below them: questions, help, what is wrong, keys.

use ratatui::{
    Frame,
    layout::{Constraint, Flex, Layout, Rect},
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Padding, Paragraph, Wrap},
};

use super::Theme;
use crate::{
    cli::top::{
        state::{Mode, Notice, Order, State, Wish},
        weighing::Weighing,
    },
    config::AdminState,
};

/// The most columns of a box.
const BOX: u16 = 72;

const KEYS: [(&str, &str); 13] = [
    ("↑ ↓, j k", "choose a line; PgUp, PgDn, Home and End go further"),
    ("Tab, ← →", "go to the next list, or to the one before"),
    ("Enter", "look at one service alone; Esc leads back"),
    ("d", "drain the backend: it keeps its flows, gets no new ones"),
    ("r", "make it ready: it gets new flows again"),
    ("m", "take it out at once: others get its flows"),
    ("w", "give it another weight"),
    ("/", "show only what has a text in its name, address, state"),
    ("s", "sort by name, by traffic, by trouble"),
    ("q, Ctrl-C", "end"),
    ("", ""),
    ("promised", "part of new flows that a backend is to have"),
    ("measured", "part of the last minute's packets that it got"),
];

pub(super) fn foot(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let [upper, lower] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    frame.render_widget(Paragraph::new(said(state, theme)), upper);
    frame.render_widget(Paragraph::new(keys(state, theme)), lower);
}

/// What is wrong comes before what went well.
fn said(state: &State, theme: Theme) -> Line<'static> {
    if let Some(why) = state.lost() {
        return Line::styled(format!(" LOST: {why}"), theme.bad());
    }
    match state.notice() {
        Some(Notice::Good(sentence)) => Line::styled(format!(" {sentence}"), theme.good()),
        Some(Notice::Bad(why)) => Line::styled(format!(" {why}"), theme.bad()),
        None => Line::default(),
    }
}

fn keys(state: &State, theme: Theme) -> Line<'static> {
    if *state.mode() == Mode::Filter {
        let keys = " (Enter keeps it, Esc shows all)";
        return Line::from(vec![
            Span::styled(format!(" /{}▏", state.filter()), theme.strong()),
            Span::styled(keys, theme.dim()),
        ]);
    }
    let keys = [
        ("Tab", "list"),
        ("⏎", "into"),
        ("d", "drain"),
        ("r", "ready"),
        ("m", "maint."),
        ("w", "weigh"),
        ("/", "filter"),
        ("?", "help"),
        ("q", "quit"),
    ];
    let spans = keys.into_iter().flat_map(|(key, meaning)| {
        [Span::styled(format!(" {key} "), theme.strong()), Span::styled(format!("{meaning} "), theme.dim())]
    });
    spans.collect()
}

pub(super) fn question(frame: &mut Frame<'_>, area: Rect, state: &State, order: &Order, theme: Theme) {
    let Order { service, backend, wish } = order;
    let name = format!("{service}/{backend}");
    let (title, text) = match wish {
        Wish::Admin(AdminState::Drain) => {
            ("drain", format!("{name} keeps its flows, and gets no new ones. Others get its part of them."))
        }
        Wish::Admin(AdminState::Ready) => ("ready", format!("{name} gets new flows again, if it is up.")),
        Wish::Admin(AdminState::Maintenance) => (
            "maintenance",
            format!("{name} is taken out at once: its connections go to others, which reset them."),
        ),
        Wish::Weight(weight) => {
            ("weigh", format!("{name} gets weight {weight}, until the file says something else of it."))
        }
    };
    let mut lines = vec![Line::from(text)];
    let takes_out = !matches!(wish, Wish::Admin(AdminState::Ready) | Wish::Weight(1..));
    if takes_out && is_last(state, backend) {
        lines.push(Line::styled(
            "It is the last one that takes new flows: nobody would get them.",
            theme.bad(),
        ));
    }
    lines.extend([Line::default(), choice([("y", "yes"), ("n", "no")], theme)]);
    boxed(frame, area, &format!("{title} {name}?"), lines, theme);
}

pub(super) fn weighing(frame: &mut Frame<'_>, area: Rect, weighing: &Weighing, theme: Theme) {
    let lines = vec![
        Line::from("Its share of new flows is this, relative to the others' weights."),
        Line::default(),
        Line::from(vec![
            Span::raw(format!("weight now {}, from now on ", weighing.now())),
            Span::styled(format!("{}▏", weighing.text()), theme.strong()),
        ]),
        Line::default(),
        choice([("Enter", "go on"), ("Esc", "leave it")], theme),
    ];
    boxed(frame, area, &format!("weigh {}/{}", weighing.service(), weighing.backend()), lines, theme);
}

fn choice(
    [(one, does), (other, does_not)]: [(&'static str, &'static str); 2],
    theme: Theme,
) -> Line<'static> {
    Line::from(vec![
        Span::styled(one, theme.strong()),
        Span::raw(format!(" {does}    ")),
        Span::styled(other, theme.strong()),
        Span::raw(format!(" {does_not}")),
    ])
}

/// Whether no other backend of the service takes new flows.
fn is_last(state: &State, backend: &str) -> bool {
    let takes = |other: &&crate::admin::status::Backend| other.share > 0.0;
    let mut taking = state.service().into_iter().flat_map(|service| &service.backends).filter(takes);
    taking.all(|other| other.name == backend)
}

pub(super) fn help(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let line = |(key, meaning): (&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("{key:<11}"), theme.strong()), Span::raw(meaning)])
    };
    boxed(frame, area, "keys", KEYS.map(line).to_vec(), theme);
}

fn boxed(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'static>>, theme: Theme) {
    let block = Block::new()
        .borders(Borders::ALL)
        .border_style(theme.accent())
        .title(Line::styled(format!(" {title} "), theme.strong()))
        .padding(Padding::horizontal(1));
    let width = BOX.min(area.width.saturating_sub(4)).max(20);
    let inner = usize::from(width.saturating_sub(4));
    let height: usize = lines.iter().map(|line| line.width().div_ceil(inner.max(1)).max(1)).sum();
    // A word that does not fit into a line's end takes one more.
    let height = u16::try_from(height + 2 + usize::from(lines.len() < 6)).unwrap_or(u16::MAX);
    let [place] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(area);
    let [place] =
        Layout::vertical([Constraint::Length(height.min(area.height))]).flex(Flex::Center).areas(place);
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), place);
}
