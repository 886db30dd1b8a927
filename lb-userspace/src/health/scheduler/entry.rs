//! One target of the scheduler: what is known of it, and when it is probed next. Moments are arguments.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{
    Health, Target,
    agent::{Advice, Remark},
    machine::Machine,
    spread::{lateness, next_turn, phase},
};

/// A target and what is known of it.
pub(super) struct Entry {
    pub(super) target: Target,
    pub(super) machine: Machine,
    pub(super) next: Next,
    /// Why its health is what it is.
    pub(super) reason: String,
    /// What it has said of itself.
    pub(super) advice: Option<Advice>,
    /// Whether it is up by its own word, and why not.
    said: Result<(), String>,
    /// Its place among all, which gives it its place in the interval.
    number: u64,
    /// When its last regular start was due, or its next one is.
    turn: Instant,
    /// When it was probed first.
    first: Option<Instant>,
}

/// When a target's next probe starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    At(Instant),
    /// Under way, as the probe of this number.
    Running(u64),
}

/// What a result has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// How the probe ended; none where it has said nothing.
    pub(super) result: Option<Result<(), String>>,
    /// The health that it has become.
    pub(super) changed: Option<Health>,
    /// Whether the target says something else of itself than before.
    pub(super) advised: bool,
}

impl Entry {
    pub(super) fn new(number: u64, target: &Target, now: Instant) -> Self {
        let probe = &target.probe;
        let turn = now + phase(number, probe.interval);
        Self {
            target: target.clone(),
            machine: Machine::resumed(probe.rise, probe.fall, target.known),
            next: Next::At(turn),
            reason: String::new(),
            advice: None,
            said: Ok(()),
            number,
            turn,
            first: None,
        }
    }

    pub(super) fn retarget(&mut self, target: &Target, now: Instant) {
        let (before, after) = (&self.target.probe, &target.probe);
        self.machine.set_thresholds(after.rise, after.fall);
        if before.interval != after.interval {
            self.turn = now + phase(self.number, after.interval);
            if let Next::At(at) = &mut self.next {
                *at = (*at).min(self.turn);
            }
        }
        if !after.check.is_agent() {
            self.advice = None;
        }
        self.target = target.clone();
    }

    pub(super) fn start(&mut self, serial: u64, now: Instant) {
        self.first.get_or_insert(now);
        self.next = Next::Running(serial);
    }

    pub(super) fn is_running(&self, serial: u64) -> bool {
        self.next == Next::Running(serial)
    }

    /// When the next probe starts: at its turn, or soon where the results speak against what the health is.
    pub(super) fn schedule(&mut self, started: Instant, now: Instant) -> Instant {
        let probe = &self.target.probe;
        let serial = match self.next {
            Next::Running(serial) => serial,
            Next::At(_) => 0,
        };
        self.turn = next_turn(self.turn, probe.interval, started);
        let regular = self.turn + lateness(self.number, serial, probe.jitter);
        let soon = started + probe.fast_interval;
        let at = if self.machine.is_changing() { regular.min(soon) } else { regular }.max(now);
        self.next = Next::At(at);
        at
    }

    pub(super) fn observe(&mut self, result: Result<(), String>, now: Instant) -> Observed {
        let forgiven = result.is_err() && self.machine.health().is_none() && self.is_starting(now);
        let changed = if forgiven { None } else { self.machine.observe(result.is_ok()) };
        if changed.is_some() {
            self.reason = self.machine.reason(result.as_ref().err().map(String::as_str));
        }
        Observed { result: Some(result), changed, advised: false }
    }

    /// Takes in what the target says of itself, and judges it by that.
    pub(super) fn listen(&mut self, remark: &Remark, now: Instant) -> Observed {
        let before = self.advice;
        self.advice.get_or_insert_default().hear(remark);
        if let Some(up) = &remark.up {
            self.said.clone_from(up);
        }
        let advised = before != self.advice;
        Observed { advised, ..self.observe(self.said.clone(), now) }
    }

    fn is_starting(&self, now: Instant) -> bool {
        let grace: Duration = self.target.probe.grace;
        self.first.is_some_and(|first| now < first + grace)
    }
}
