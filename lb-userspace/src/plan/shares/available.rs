//! Whether clients should be sent here: what whoever announces the VIP goes by.
//!
//! Judged by what operator and probes say, whatever is made of that for flows which come nevertheless.

use std::fmt;

use super::{Belief, Candidate};
use crate::config::{MinHealthy, Panic, Sharing};

/// Whether a service is available, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is.
    Available,
    /// No backend counts here: there is none, or none in scope.
    NoBackend,
    /// Every backend is down, drained or in maintenance.
    NoneHealthy,
    /// Fewer are healthy than `min_healthy` says.
    TooFew {
        /// So many are, or so many per cent of the weight.
        healthy: u32,
        /// So many have to be.
        needed: MinHealthy,
    },
    /// Too few are for anybody to get flows (`panic = "none"`).
    Panic,
}

impl Availability {
    /// Whether it is.
    #[must_use]
    pub const fn is_available(self) -> bool {
        matches!(self, Self::Available)
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => write!(f, "available"),
            Self::NoBackend => write!(f, "no backend has weight and is in scope"),
            Self::NoneHealthy => write!(f, "no backend is healthy and ready"),
            Self::TooFew { healthy, needed: MinHealthy::Backends(needed) } => {
                write!(f, "{healthy} healthy backends, min_healthy is {needed}")
            }
            Self::TooFew { healthy, needed: MinHealthy::Percent(needed) } => {
                write!(f, "{healthy} % of the weight is healthy, min_healthy is {needed} %")
            }
            Self::Panic => write!(f, "panic: too few backends are healthy, and panic is \"none\""),
        }
    }
}

/// Whether a service of these candidates is available.
pub(super) fn availability(sharing: &Sharing, counted: &[&Candidate], belief: Belief) -> Availability {
    let healthy = || counted.iter().filter(|candidate| candidate.is_healthy());
    let count = healthy().count() as u32;
    if counted.is_empty() {
        return Availability::NoBackend;
    }
    if count == 0 {
        return Availability::NoneHealthy;
    }
    if belief == Belief::Panic(Panic::None) {
        return Availability::Panic;
    }
    match sharing.min_healthy {
        Some(needed @ MinHealthy::Backends(least)) if count < least => {
            Availability::TooFew { healthy: count, needed }
        }
        Some(needed @ MinHealthy::Percent(least)) => {
            let weight = |candidate: &&Candidate| u128::from(candidate.meant());
            let able: u128 = healthy().map(weight).sum();
            let all: u128 = counted.iter().map(weight).sum();
            let is_enough = able * 100 >= all * u128::from(least);
            let healthy = (able * 100 / all) as u32;
            if is_enough { Availability::Available } else { Availability::TooFew { healthy, needed } }
        }
        _ => Availability::Available,
    }
}
