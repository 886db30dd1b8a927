//! What is known, what is looked at, and what keys make of that. Pure: news and actions in, effects out.

use std::{cmp::Reverse, fmt, time::Duration};

use lb_common::counter::{Fate, Reason};

use super::{
    rates::{Of, Rates},
    weighing::Weighing,
};
use crate::{
    admin::status::{Backend, LEAVING, Service, Status, Traffic, admin},
    config::AdminState,
};

/// What the daemon says, or its absence.
#[derive(Debug)]
pub(super) enum News {
    /// How everything is, that long after the start.
    Status { at: Duration, status: Box<Status> },
    /// Why there is no status.
    Lost(String),
    /// How a backend is after an order.
    Obeyed(String),
    /// Why an order was not followed.
    Refused(String),
}

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// An admin state.
    Admin(AdminState),
    /// A weight.
    Weight(u32),
}

/// A wish, and of which backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) service: String,
    pub(super) backend: String,
    pub(super) wish: Wish,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, backend, wish } = self;
        match wish {
            Wish::Admin(state) => write!(f, "{} {service}/{backend}", admin(*state)),
            Wish::Weight(weight) => write!(f, "weight {weight} of {service}/{backend}"),
        }
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Move(Step),
    NextPane,
    PreviousPane,
    Enter,
    Cancel,
    Confirm,
    Want(Wish),
    Weigh,
    Filter,
    Type(char),
    Erase,
    Sort,
    Help,
    Quit,
}

/// How far a selection moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Back(usize),
    On(usize),
    First,
    Last,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Send(Order),
    Quit,
}

/// Where keys go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Services,
    Backends,
    Drops,
}

/// What comes first in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Name,
    /// The largest rate of packets.
    Traffic,
    /// What needs looking at.
    Trouble,
}

/// What is in front of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    #[default]
    Look,
    /// The filter is typed.
    Filter,
    /// Whether an order is meant.
    Ask(Order),
    /// A weight is typed.
    Weigh(Weighing),
    /// What keys mean.
    Help,
}

/// What came of the last order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Good(String),
    Bad(String),
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    status: Option<Status>,
    rates: Rates,
    lost: Option<String>,
    pane: Pane,
    inside: bool,
    service: Option<String>,
    backend: Option<String>,
    drop: Option<String>,
    filter: String,
    sort: Sort,
    mode: Mode,
    notice: Option<Notice>,
}

impl State {
    /// Takes in what the daemon says.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Status { at, status } => {
                self.rates.add(at, &status);
                self.status = Some(*status);
                self.lost = None;
            }
            News::Lost(why) => {
                self.rates.interrupt();
                self.lost = Some(why);
            }
            News::Obeyed(sentence) => self.notice = Some(Notice::Good(sentence)),
            News::Refused(why) => self.notice = Some(Notice::Bad(why)),
        }
    }

    /// Does what a key asks for.
    pub(super) fn act(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Confirm => return self.confirm(),
            Action::Cancel => self.cancel(),
            Action::Move(step) => self.step(step),
            // Inside a service there is one list to move in.
            Action::NextPane | Action::PreviousPane if self.inside => {}
            Action::NextPane => self.pane = self.pane.next(),
            Action::PreviousPane => self.pane = self.pane.previous(),
            Action::Enter => self.enter(),
            Action::Want(wish) => self.want(wish),
            Action::Weigh => self.weigh(),
            Action::Filter => self.mode = Mode::Filter,
            Action::Type(character) => match &mut self.mode {
                Mode::Weigh(weighing) => weighing.put(character),
                _ => self.filter.push(character),
            },
            Action::Erase => match &mut self.mode {
                Mode::Weigh(weighing) => weighing.erase(),
                _ => drop(self.filter.pop()),
            },
            Action::Sort => self.sort = self.sort.next(),
            Action::Help => self.mode = Mode::Help,
        }
        None
    }

    fn confirm(&mut self) -> Option<Effect> {
        match std::mem::take(&mut self.mode) {
            Mode::Ask(order) => {
                self.notice = None;
                Some(Effect::Send(order))
            }
            Mode::Weigh(weighing) => {
                (self.mode, self.notice) = match weighing.order() {
                    Ok(order) => (Mode::Ask(order), None),
                    Err(why) => (Mode::Weigh(weighing), Some(Notice::Bad(why))),
                };
                None
            }
            Mode::Look | Mode::Filter | Mode::Help => None,
        }
    }

    /// One step back: out of what is in front, then out of the filter, then out of the service.
    fn cancel(&mut self) {
        match std::mem::take(&mut self.mode) {
            Mode::Look if !self.filter.is_empty() => self.filter.clear(),
            Mode::Look if self.inside => {
                self.inside = false;
                self.pane = Pane::Services;
            }
            Mode::Look | Mode::Weigh(_) => self.notice = None,
            Mode::Filter => self.filter.clear(),
            Mode::Ask(_) | Mode::Help => {}
        }
    }

    fn step(&mut self, step: Step) {
        let (names, chosen) = match self.pane {
            Pane::Services => (names(self.services(), |s| &s.name), &mut self.service),
            Pane::Backends => (names(self.backends(), |b| &b.name), &mut self.backend),
            Pane::Drops => {
                (self.drops().into_iter().map(|d| d.reason.name().to_owned()).collect(), &mut self.drop)
            }
        };
        let at = chosen.as_ref().and_then(|chosen| names.iter().position(|name| name == chosen)).unwrap_or(0);
        let last = names.len().saturating_sub(1);
        let next = match step {
            Step::Back(count) => at.saturating_sub(count),
            Step::On(count) => (at + count).min(last),
            Step::First => 0,
            Step::Last => last,
        };
        *chosen = names.into_iter().nth(next);
    }

    fn enter(&mut self) {
        if self.service().is_some() && self.pane != Pane::Drops {
            self.service = self.service().map(|service| service.name.clone());
            self.inside = true;
            self.pane = Pane::Backends;
        }
    }

    fn want(&mut self, wish: Wish) {
        if let Some((service, backend)) = self.chosen() {
            let (service, backend) = (service.name.clone(), backend.name.clone());
            self.mode = Mode::Ask(Order { service, backend, wish });
        }
    }

    fn weigh(&mut self) {
        if let Some((service, backend)) = self.chosen() {
            self.mode = Mode::Weigh(Weighing::of(&service.name, backend));
        }
    }

    /// The backend that an order is for, with its service; otherwise what has to be done first is told.
    fn chosen(&mut self) -> Option<(&Service, &Backend)> {
        if self.pane != Pane::Backends {
            self.notice = Some(Notice::Bad("choose a backend first: Tab goes to the next pane".to_owned()));
            return None;
        }
        self.service().zip(self.backend())
    }
}

/// What is shown of it.
impl State {
    pub(super) const fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    pub(super) const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Why the daemon does not answer; none while it does.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    pub(super) const fn pane(&self) -> Pane {
        self.pane
    }

    /// Whether one service is looked at alone.
    pub(super) const fn is_inside(&self) -> bool {
        self.inside
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) const fn sort(&self) -> Sort {
        self.sort
    }

    pub(super) const fn mode(&self) -> &Mode {
        &self.mode
    }

    pub(super) const fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref()
    }

    /// Whether there were two looks.
    pub(super) fn has_rates(&self) -> bool {
        self.rates.now(&Of::All).is_some()
    }

    /// The services that the filter lets through, by itself or by a backend, in order.
    pub(super) fn services(&self) -> Vec<&Service> {
        let all = self.status.iter().flat_map(|status| &status.services);
        let mut services: Vec<_> = all.filter(|service| self.lets_in(service)).collect();
        match self.sort {
            Sort::Name => services.sort_by(|one, other| one.name.cmp(&other.name)),
            Sort::Traffic => services.sort_by(|one, other| {
                let packets = |service: &Service| self.packets(&Of::Service(service.name.clone()));
                packets(other).total_cmp(&packets(one))
            }),
            Sort::Trouble => services.sort_by_key(|service| {
                let troubled = service.backends.iter().filter(|backend| trouble(backend) > 0).count();
                (service.available, Reverse(troubled))
            }),
        }
        services
    }

    /// The service that is looked at.
    pub(super) fn service(&self) -> Option<&Service> {
        let services = self.services();
        let chosen = |service: &&&Service| self.service.as_ref() == Some(&service.name);
        services.iter().find(chosen).or(if self.inside { None } else { services.first() }).copied()
    }

    /// Its backends that the filter lets through, in order.
    pub(super) fn backends(&self) -> Vec<&Backend> {
        let Some(service) = self.service() else { return Vec::new() };
        let whole = self.meets(&service.name);
        let mut backends: Vec<_> =
            service.backends.iter().filter(|backend| whole || self.lets_through(backend)).collect();
        match self.sort {
            Sort::Name => backends.sort_by(|one, other| one.name.cmp(&other.name)),
            Sort::Traffic => backends.sort_by(|one, other| {
                let of = |backend: &Backend| Of::Backend(service.name.clone(), backend.name.clone());
                self.packets(&of(other)).total_cmp(&self.packets(&of(one)))
            }),
            Sort::Trouble => backends.sort_by_key(|backend| Reverse(trouble(backend))),
        }
        backends
    }

    /// The backend that is chosen.
    pub(super) fn backend(&self) -> Option<&Backend> {
        let backends = self.backends();
        let chosen = |backend: &&&Backend| self.backend.as_ref() == Some(&backend.name);
        backends.iter().find(chosen).or(backends.first()).copied()
    }

    /// What was dropped, the most first.
    pub(super) fn drops(&self) -> Vec<Drops> {
        let Some(status) = &self.status else { return Vec::new() };
        let dropping = Reason::ALL.into_iter().filter(|reason| reason.fate() == Fate::Drop);
        let dropped = |reason: Reason| {
            let traffic = *status.reasons.get(reason.name()).filter(|traffic| traffic.packets > 0)?;
            Some(Drops { reason, traffic })
        };
        let mut drops: Vec<_> = dropping.filter_map(dropped).collect();
        drops.sort_by_key(|drops| Reverse(drops.traffic.packets));
        drops
    }

    /// Which line of the drops is chosen.
    pub(super) fn drop_line(&self) -> usize {
        let drops = self.drops();
        let chosen = self.drop.as_deref();
        chosen.and_then(|name| drops.iter().position(|drops| drops.reason.name() == name)).unwrap_or(0)
    }

    fn packets(&self, of: &Of) -> f64 {
        self.rates.now(of).map_or(0.0, |rate| rate.packets)
    }

    fn meets(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    fn lets_in(&self, service: &Service) -> bool {
        self.meets(&service.name)
            || self.meets(&service.address.to_string())
            || service.backends.iter().any(|backend| self.lets_through(backend))
    }

    fn lets_through(&self, backend: &Backend) -> bool {
        let address = backend.address.to_string();
        [&backend.name, &address, &backend.admin, &backend.health].into_iter().any(|text| self.meets(text))
    }
}

/// What was dropped for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drops {
    pub(super) reason: Reason,
    pub(super) traffic: Traffic,
}

/// How much a backend needs looking at.
fn trouble(backend: &Backend) -> u8 {
    match (backend.health.as_str(), backend.admin.as_str()) {
        ("down", _) => 4,
        (_, "maintenance") => 3,
        (_, "drain" | LEAVING) => 2,
        ("unknown", _) => 1,
        _ => u8::from(backend.held_back.is_some()),
    }
}

fn names<'a, T>(rows: Vec<&'a T>, name: impl Fn(&'a T) -> &'a String) -> Vec<String> {
    rows.into_iter().map(|row| name(row).clone()).collect()
}

impl Pane {
    const fn next(self) -> Self {
        match self {
            Self::Services => Self::Backends,
            Self::Backends => Self::Drops,
            Self::Drops => Self::Services,
        }
    }

    const fn previous(self) -> Self {
        self.next().next()
    }
}

impl Sort {
    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Traffic,
            Self::Traffic => Self::Trouble,
            Self::Trouble => Self::Name,
        }
    }

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Traffic => "traffic",
            Self::Trouble => "trouble",
        }
    }
}

#[cfg(test)]
mod tests;
