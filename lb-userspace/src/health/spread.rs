//! When probes start: evenly spread over their interval, for good. Pure: moments are arguments.
//!
//! Each target has a place in its interval and keeps it: jitter is added to each start anew and never adds up, as it would
//! if each start were counted from the one before, so that the starts of thousands of targets stay apart as they were.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::time::Instant;

/// 2^64 divided by the golden ratio. Its multiples are the most evenly spread of all sequences of this kind, whatever
/// their number (Knuth, The Art of Computer Programming, volume 3, 6.4), and so are every second, every third of them.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The place of the target of this number in its interval.
#[must_use]
pub fn phase(number: u64, interval: Duration) -> Duration {
    interval.mul_f64(fraction(number.wrapping_mul(GOLDEN)))
}

/// The first turn after a probe that `started` of a target whose turns are `interval` apart, `turn` being one of them.
#[must_use]
pub fn next_turn(turn: Instant, interval: Duration, started: Instant) -> Instant {
    let Some(late) = started.checked_duration_since(turn) else {
        return turn;
    };
    let passed = late.as_nanos() / interval.as_nanos().max(1);
    // As many intervals as passed are no longer than `late`, so none of this overflows where that has not.
    turn + interval.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX)) + interval
}

/// By how much the start of this number is late.
#[must_use]
pub fn lateness(number: u64, start: u64, jitter: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (number, start).hash(&mut hasher);
    jitter.mul_f64(fraction(hasher.finish()))
}

/// A number of 64 bits as a part of the whole, 0 to less than 1.
fn fraction(number: u64) -> f64 {
    f64::from((number >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The greatest number of targets in one of `parts` equal parts of the interval.
    fn fullest(numbers: impl Iterator<Item = u64>, parts: usize) -> u64 {
        let mut counts = vec![0; parts];
        for number in numbers {
            let part = phase(number, SECOND).as_nanos() * parts as u128 / SECOND.as_nanos();
            counts[usize::try_from(part).unwrap()] += 1;
        }
        counts.into_iter().max().unwrap()
    }

    #[test]
    fn no_part_of_the_interval_is_crowded() {
        for (targets, parts) in [(10, 5), (100, 20), (1000, 200), (5000, 500)] {
            let share = targets / parts as u64;
            for skip in [1, 2, 3] {
                let worst = fullest((7..).step_by(skip).take(usize::try_from(targets).unwrap()), parts);
                assert!(worst <= share + 3, "{worst} of {targets} in one of {parts}, each {skip}.");
            }
        }
    }

    #[test]
    fn turn_that_was_missed_is_left_out() {
        let turn = Instant::now();
        let after = |late: Duration| next_turn(turn, SECOND, turn + late) - turn;
        assert_eq!(after(Duration::ZERO), SECOND);
        assert_eq!(after(Duration::from_millis(999)), SECOND);
        assert_eq!(after(SECOND), SECOND * 2);
        assert_eq!(after(Duration::from_millis(3500)), SECOND * 4);
        assert_eq!(
            next_turn(turn + SECOND, SECOND, turn),
            turn + SECOND,
            "one between turns takes none's place"
        );
    }

    proptest! {
        #[test]
        fn turns_keep_their_place(late_ms in 0_u64..100_000, interval_ms in 10_u64..5000) {
            let (turn, interval) = (Instant::now(), Duration::from_millis(interval_ms));
            let now = turn + Duration::from_millis(late_ms);
            let next = next_turn(turn, interval, now);
            prop_assert!(next > now && next - now <= interval);
            prop_assert_eq!((next - turn).as_nanos() % interval.as_nanos(), 0);
        }

        #[test]
        fn lateness_stays_below_the_jitter(number: u64, start: u64, jitter_ms in 1_u64..10_000) {
            let jitter = Duration::from_millis(jitter_ms);
            prop_assert!(lateness(number, start, jitter) < jitter);
        }
    }
}
