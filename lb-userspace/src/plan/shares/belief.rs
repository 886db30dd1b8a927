//! Whether the probes are followed.

use std::{collections::BTreeMap, time::Duration};

use super::Candidate;
use crate::config::{AllDown, Panic, Sharing};
use crate::health::Health;

/// Whether the probes are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// They are.
    Probes,
    /// Every level has too little healthy weight.
    Panic(Panic),
    /// All backends have failed at once, so it is rather the way that probes take which has.
    AllDown,
}

impl Belief {
    /// Whether a backend that its probes call down is treated as such.
    #[must_use]
    pub const fn follows_probes(self) -> bool {
        matches!(self, Self::Probes | Self::Panic(Panic::None))
    }

    /// As `sluice status` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probes => "followed",
            Self::Panic(_) => "panic",
            Self::AllDown => "all_down",
        }
    }
}

/// Whether the probes of these candidates are followed. What the operator has taken out does not speak against them.
pub(super) fn belief(sharing: &Sharing, candidates: &[&Candidate], sweep: Duration) -> Belief {
    let ready = || candidates.iter().copied().filter(|candidate| candidate.ready);
    if sharing.all_down == AllDown::Open && failed_at_once(ready(), sweep) {
        Belief::AllDown
    } else if is_panic(sharing, ready()) {
        Belief::Panic(sharing.panic)
    } else {
        Belief::Probes
    }
}

/// Whether all are down, and two of them, and half of them, went down within one sweep before the last one did. A backend that
/// is the only one may as well be dead.
fn failed_at_once<'a>(ready: impl Iterator<Item = &'a Candidate>, sweep: Duration) -> bool {
    let mut fell = Vec::new();
    for candidate in ready {
        let Some((Health::Down, since)) = candidate.health else { return false };
        fell.push(since);
    }
    let last = fell.iter().max().copied().unwrap_or_default();
    let together = fell.iter().filter(|&&since| since + sweep >= last).count();
    together >= 2 && together * 2 >= fell.len()
}

/// Whether no level has enough healthy weight. One that has can take over.
fn is_panic<'a>(sharing: &Sharing, ready: impl Iterator<Item = &'a Candidate>) -> bool {
    let mut levels: BTreeMap<u8, (u128, u128)> = BTreeMap::new();
    for candidate in ready {
        let (healthy, all) = levels.entry(candidate.priority).or_default();
        let meant = u128::from(candidate.meant());
        *healthy += if candidate.is_up() { meant } else { 0 };
        *all += meant;
    }
    let threshold = u128::from(sharing.panic_threshold);
    !levels.is_empty() && levels.values().all(|(healthy, all)| healthy * 100 < all * threshold)
}
