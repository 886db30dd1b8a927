//! How often something may be done: a rate with a burst, in one word of state.
//!
//! The generic cell rate algorithm (ITU-T I.371): the word is the time at which the next one would be due if all
//! before it had come evenly. It may lie ahead of the clock by as much as a burst takes. No division and no refill.

use bytemuck::{Pod, Zeroable};

/// The state of one rate, and what it has refused. One per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Budget {
    /// When the next one is due, `CLOCK_MONOTONIC` nanoseconds.
    pub due_ns: u64,
    /// How many were refused.
    pub refused: u64,
}

/// The budgets, by their index in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Entries of flows of which one packet was seen.
    Openings = 0,
    /// Entries of flows that went on.
    Connections = 1,
    /// Answers of the balancer's own.
    Answers = 2,
    /// Sessions of translated flows.
    Sessions = 3,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Openings, Self::Connections, Self::Answers, Self::Sessions];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// How far ahead of the clock a budget may be spent: a tenth of a second's worth in one burst.
pub const BURST_NS: u64 = 100_000_000;

impl Budget {
    /// Whether another one may be done at `now_ns`, where one every `interval_ns` may.
    #[inline]
    pub fn admits(&mut self, now_ns: u64, interval_ns: u64) -> bool {
        let Some(due_ns) = next_due(self.due_ns, now_ns, interval_ns, BURST_NS) else {
            self.refused += 1;
            return false;
        };
        self.due_ns = due_ns;
        true
    }
}

/// When the one after this is due, if this may be done at `now_ns`: it is due, or not further ahead than `burst_ns`.
#[must_use]
#[inline]
pub const fn next_due(due_ns: u64, now_ns: u64, interval_ns: u64, burst_ns: u64) -> Option<u64> {
    let due_ns = if due_ns > now_ns { due_ns } else { now_ns };
    if due_ns - now_ns > burst_ns { None } else { Some(due_ns + interval_ns) }
}

/// Nanoseconds between two, on one of `cpus` CPUs that share `per_second` evenly.
#[must_use]
pub const fn interval_ns(per_second: u32, cpus: u32) -> u64 {
    let per_second = if per_second == 0 { 1 } else { per_second };
    1_000_000_000 * cpus as u64 / per_second as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of `tries`, `every_ns` apart, a budget of 1000 a second admits.
    fn admitted(budget: &mut Budget, from_ns: u64, tries: u64, every_ns: u64) -> u64 {
        let interval = interval_ns(1_000, 1);
        (0..tries).filter(|n| budget.admits(from_ns + n * every_ns, interval)).count() as u64
    }

    #[test]
    fn burst_is_a_tenth_of_a_second() {
        let mut budget = Budget::default();
        assert_eq!(admitted(&mut budget, SECOND, 10_000, 0), 101);
        assert_eq!(budget.refused, 10_000 - 101);
    }

    #[test]
    fn flood_gets_the_rate_and_no_more() {
        let mut budget = Budget::default();
        let in_ten_seconds = admitted(&mut budget, SECOND, 100_000, SECOND / 10_000);
        assert!((10_000..=10_102).contains(&in_ten_seconds), "{in_ten_seconds}");
    }

    #[test]
    fn rest_saves_up_no_more_than_a_burst() {
        let mut budget = Budget::default();
        admitted(&mut budget, SECOND, 1_000, 0);
        assert_eq!(admitted(&mut budget, 100 * SECOND, 10_000, 0), 101);
    }

    #[test]
    fn rate_is_shared_by_cpus_and_never_zero() {
        assert_eq!(interval_ns(1_000_000, 4), 4_000);
        assert_eq!(interval_ns(0, 1), SECOND);
    }
}
