//! What a backend's states add up to: whether it is given new flows, and what becomes of those that it has.
//!
//! The operator's wish and the probes' verdict are judged apart and never change each other. Where both give the old
//! flows up, the wish says how.

use std::time::Duration;

use lb_common::backend::OldFlows;

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It takes flows.
    Ready,
    /// It keeps its flows and takes no new ones.
    Drain {
        /// When it gives up those that are left.
        ends: Option<Duration>,
        /// How it does.
        on_end: OldFlows,
    },
    /// It has no flows.
    Maintenance,
}

/// What a service says of backends that are down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long one that is down keeps them.
    pub down_grace: Duration,
    /// How it gives them up after that; `Keep`: never.
    pub on_down: OldFlows,
}

/// How the data plane treats a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// Whether new flows may go to it.
    pub takes_new: bool,
    /// What becomes of the others.
    pub old_flows: OldFlows,
    /// When this changes by itself.
    pub until: Option<Duration>,
}

/// How to treat a backend that was `down_since` that moment, if it is down. All moments are on one clock.
#[must_use]
pub fn treatment(wanted: Wanted, down_since: Option<Duration>, rules: Rules, now: Duration) -> Treatment {
    let takes_new = wanted == Wanted::Ready && down_since.is_none();
    let given_up = |old_flows| Treatment { takes_new, old_flows, until: None };
    let ends = match wanted {
        Wanted::Maintenance => return given_up(OldFlows::Move),
        Wanted::Drain { ends: Some(ends), on_end } if ends <= now => return given_up(on_end),
        Wanted::Drain { ends, .. } => ends,
        Wanted::Ready => None,
    };
    let grace_ends = down_since
        .filter(|_| rules.on_down != OldFlows::Keep)
        .map(|since| since.saturating_add(rules.down_grace));
    let over = grace_ends.is_some_and(|at| at <= now);
    Treatment {
        takes_new,
        old_flows: if over { rules.on_down } else { OldFlows::Keep },
        until: [ends, grace_ends].into_iter().flatten().filter(|&at| at > now).min(),
    }
}

#[cfg(test)]
mod tests {
    use OldFlows::{Keep, Move, Reset};
    use Wanted::{Drain, Maintenance, Ready};

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// At 100 s, with a grace of 30 s; drains that end are reset.
    fn treated(wanted: Wanted, down_since: Option<u64>, on_down: OldFlows) -> (bool, OldFlows, Option<u64>) {
        let rules = Rules { down_grace: at(30), on_down };
        let Treatment { takes_new, old_flows, until } = treatment(wanted, down_since.map(at), rules, at(100));
        (takes_new, old_flows, until.map(|until| until.as_secs()))
    }

    #[test]
    fn treatment_follows_wish_health_and_time() {
        let drain = |ends: u64| Drain { ends: Some(at(ends)), on_end: Reset };
        let endless = Drain { ends: None, on_end: Reset };
        let (over, now, to_come) = (drain(90), drain(100), drain(110));
        // (wish, down since, on_down, (takes new flows, its old ones, until))
        let table = [
            (Ready, None, Move, (true, Keep, None)),
            (Ready, Some(99), Move, (false, Keep, Some(129))),
            (Ready, Some(99), Reset, (false, Keep, Some(129))),
            (Ready, Some(99), Keep, (false, Keep, None)),
            (Ready, Some(71), Move, (false, Keep, Some(101))),
            (Ready, Some(70), Move, (false, Move, None)),
            (Ready, Some(70), Reset, (false, Reset, None)),
            (Ready, Some(0), Keep, (false, Keep, None)),
            (endless, None, Move, (false, Keep, None)),
            (endless, Some(99), Move, (false, Keep, Some(129))),
            (endless, Some(0), Move, (false, Move, None)),
            (endless, Some(0), Keep, (false, Keep, None)),
            (to_come, None, Move, (false, Keep, Some(110))),
            (to_come, Some(75), Move, (false, Keep, Some(105))),
            (to_come, Some(99), Move, (false, Keep, Some(110))),
            (to_come, Some(0), Move, (false, Move, Some(110))),
            (over, None, Keep, (false, Reset, None)),
            (over, Some(99), Move, (false, Reset, None)),
            (over, Some(0), Move, (false, Reset, None)),
            (now, None, Move, (false, Reset, None)),
            (Maintenance, None, Keep, (false, Move, None)),
            (Maintenance, Some(99), Reset, (false, Move, None)),
            (Maintenance, Some(0), Reset, (false, Move, None)),
        ];
        for (wanted, down_since, on_down, expected) in table {
            let found = treated(wanted, down_since, on_down);
            assert_eq!(found, expected, "{wanted:?}, down since {down_since:?}, {on_down:?}");
        }
    }

    #[test]
    fn no_grace_gives_up_at_once() {
        let rules = Rules { down_grace: Duration::ZERO, on_down: Reset };
        let found = treatment(Ready, Some(at(100)), rules, at(100));
        assert_eq!(found, Treatment { takes_new: false, old_flows: Reset, until: None });
    }
}
