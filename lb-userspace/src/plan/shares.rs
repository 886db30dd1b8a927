//! Who gets how much of a service's new flows: a target weight for each backend, from what is known of all of them.
//!
//! In this order:
//!
//! 1. A backend counts if it is in the service's scope, has weight, and a roll-out leaves it a part of that.
//! 2. *Belief* (`belief`): whether probes are followed, or too many have failed (panic), or all at once.
//! 3. What each *can* carry (`Candidate::able`): nothing where it is not ready or believed to be down; otherwise its weight,
//!    less what a roll-out, its own word and a slow start (`start`) take from it.
//! 4. *Levels* (`levels`): priorities divide the flows among themselves by what they can carry of what they are meant
//!    for; each divides its part among distances by the same rule, where near backends are preferred.
//! 5. Within such a class, flows go by what each can carry.
//!
//! All sums are of integers, so the order in which backends are named changes nothing. Without any of this a target is
//! the weight, times a constant.

mod available;
mod belief;
mod levels;
mod start;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::{DATACENTRE_LABELS, Panic, Prefer, Sharing},
    health::Health,
};
pub use available::Availability;
pub use belief::Belief;
use levels::{Level, loads};
pub use start::{STEPS, Started, Takers, Taking};

/// The whole of a weight, in the unit of [`Candidate::part`].
pub const WHOLE: u32 = 1 << 16;

/// A target that is all of a backend's weight, divided by that weight.
const TARGET: f64 = 16_777_216.0;

/// What a candidate's abilities are counted in: parts of a weight, per cent, steps.
const WHOLE_ABILITY: u64 = WHOLE as u64 * 100 * STEPS as u64;

/// A backend that may get new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its weight by the file.
    pub weight: u32,
    /// What a roll-out leaves it of that, of [`WHOLE`]. None at all: it does not count.
    pub part: u32,
    /// What it takes of that by its own word, in per cent.
    pub percent: u32,
    /// Whether it is wanted to take flows, by the operator and by itself.
    pub ready: bool,
    /// Whether there is a way to it.
    pub reachable: bool,
    /// What its probes say, and since when; none where that is not known yet.
    pub health: Option<(Health, Duration)>,
    /// Its level; 0 is asked first.
    pub priority: u8,
    /// How many leading labels its location has in common with the balancer's.
    pub shared_labels: usize,
    /// When it began to take flows, if that was not with the daemon.
    pub started: Option<Duration>,
}

/// Who gets how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// Each candidate's target weight. Only their proportions count.
    pub targets: Vec<u64>,
    /// Each candidate's step of slow start, 1 to [`STEPS`]; none where it has its whole share. Nothing at all where all have.
    pub steps: Vec<Option<u32>>,
    /// Which part of the new flows each level is to have, by priority.
    pub levels: BTreeMap<u8, f64>,
    /// Whether probes are followed.
    pub belief: Belief,
    /// Whether clients should be sent here.
    pub availability: Availability,
    /// When this changes by itself.
    pub until: Option<Duration>,
}

impl Shares {
    /// Which part of the new flows a candidate is to have, 0 to 1.
    #[must_use]
    pub fn promised(&self, candidate: usize) -> f64 {
        let total: u128 = self.targets.iter().copied().map(u128::from).sum();
        let target = self.targets.get(candidate).copied().unwrap_or(0);
        ratio(target.into(), total)
    }
}

/// Shares new flows out. A probe looks at every backend once within `sweep`.
#[must_use]
pub fn shares(sharing: &Sharing, candidates: &[Candidate], sweep: Duration, now: Duration) -> Shares {
    let counted: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.counts(sharing)).collect();
    let belief = belief::belief(sharing, &counted, sweep);
    let steps = candidates.iter().map(|candidate| start::step(candidate.started, sharing.slow_start, now));
    let mut steps: Vec<Option<u32>> = steps.collect();
    let able = candidates.iter().zip(&steps);
    let able: Vec<u64> = able
        .map(
            |(candidate, step)| {
                if candidate.counts(sharing) { candidate.able(belief, step.unwrap_or(STEPS)) } else { 0 }
            },
        )
        .collect();
    let classes = Classes::new(sharing, candidates, &able, belief);
    let targets = candidates.iter().zip(&able).map(|(candidate, &able)| classes.target(candidate, able));
    if steps.iter().all(Option::is_none) {
        steps = Vec::new();
    }
    Shares {
        targets: targets.collect(),
        levels: classes.priorities,
        belief,
        availability: available::availability(sharing, &counted, belief),
        until: start::next_step(candidates, sharing.slow_start, now),
        steps,
    }
}

impl Candidate {
    /// Whether it is one of those that the service is made of, here and now.
    fn counts(&self, sharing: &Sharing) -> bool {
        self.weight > 0 && self.part > 0 && self.shared_labels >= sharing.scope.labels()
    }

    /// What its weight and a roll-out mean it to carry.
    fn meant(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.part)
    }

    fn is_up(&self) -> bool {
        !matches!(self.health, Some((Health::Down, _)))
    }

    /// Whether it takes flows, as far as operator, probes, and the backend itself are concerned.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.weight > 0 && self.part > 0 && self.percent > 0 && self.ready && self.is_up()
    }

    /// Whether flows may and can go to it.
    fn is_healthy(&self) -> bool {
        self.ready && self.reachable && self.is_up()
    }

    /// What it can carry, of [`WHOLE_ABILITY`] for each unit of weight.
    fn able(&self, belief: Belief, step: u32) -> u64 {
        let takes = match belief {
            Belief::Probes => self.is_healthy(),
            Belief::Panic(Panic::None) => false,
            Belief::Panic(Panic::All) | Belief::AllDown => self.ready && self.reachable,
        };
        if takes { self.meant() * u64::from(self.percent) * u64::from(step) } else { 0 }
    }
}

/// Backends that are asked together: of one priority and, where near ones are preferred, one distance.
type Class = (u8, usize);

/// How the classes of a service divide its flows.
struct Classes {
    prefer: Prefer,
    /// The part of each priority.
    priorities: BTreeMap<u8, f64>,
    /// The part of each unit of ability in a class, relative to that in the class where it is the largest.
    parts: BTreeMap<Class, f64>,
}

impl Classes {
    fn new(sharing: &Sharing, candidates: &[Candidate], able: &[u64], belief: Belief) -> Self {
        let prefer = if belief == Belief::Panic(Panic::All) { Prefer::None } else { sharing.prefer };
        let mut levels: BTreeMap<u8, BTreeMap<usize, Level>> = BTreeMap::new();
        for (candidate, &able) in candidates.iter().zip(able) {
            if candidate.counts(sharing) {
                let distances = levels.entry(candidate.priority).or_default();
                distances.entry(distance(prefer, candidate)).or_default().add(candidate, able);
            }
        }
        let over = f64::from(sharing.overprovisioning) / 100.0;
        let wholes: Vec<Level> = levels.values().map(|distances| distances.values().sum()).collect();
        let priorities = match belief {
            Belief::Panic(Panic::All) => levels::by_ability(&wholes),
            _ => loads(&wholes, over),
        };
        let priorities: BTreeMap<u8, f64> = levels.keys().copied().zip(priorities).collect();
        let mut parts = BTreeMap::new();
        for (priority, distances) in levels {
            let of_distances: Vec<Level> = distances.values().copied().collect();
            for ((distance, level), load) in distances.into_iter().zip(loads(&of_distances, over)) {
                parts.insert(
                    (priority, distance),
                    priorities[&priority] * load * ratio(WHOLE_ABILITY.into(), level.able),
                );
            }
        }
        let largest = parts.values().copied().fold(0.0, f64::max);
        for part in parts.values_mut().filter(|part| **part > 0.0) {
            *part /= largest;
        }
        Self { prefer, priorities, parts }
    }

    /// A multiple of its weight that is the same for all of its class who can carry all of theirs.
    fn target(&self, candidate: &Candidate, able: u64) -> u64 {
        let class = (candidate.priority, distance(self.prefer, candidate));
        let Some(part) = self.parts.get(&class).filter(|part| able > 0 && **part > 0.0) else { return 0 };
        let ability = able / u64::from(candidate.weight);
        let factor = ratio(ability.into(), WHOLE_ABILITY.into()) * part * TARGET;
        u64::from(candidate.weight) * (factor.round() as i64).max(1).unsigned_abs()
    }
}

/// One number by another; 0 where that is 0. The same on every balancer, since the numbers are.
#[expect(clippy::cast_precision_loss, reason = "targets are rounded to far fewer bits")]
fn ratio(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// How far away a candidate is; all are alike where that does not matter.
fn distance(prefer: Prefer, candidate: &Candidate) -> usize {
    match prefer {
        Prefer::None => 0,
        Prefer::Near => DATACENTRE_LABELS.saturating_sub(candidate.shared_labels),
    }
}
