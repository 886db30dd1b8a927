//! How long to wait before the next attempt: longer after each failure, and never as long as anybody else.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt was good.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt has failed: how long to wait. `chance` is any number.
    pub(super) fn wait(&mut self, chance: u64) -> Duration {
        let longest = SHORTEST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Between a half and all of it, so that balancers that lost each other at once do not meet in bursts.
        let per_mille = 500 + (chance % 501) as u32;
        longest * per_mille / 1_000
    }
}

/// A number that differs between hosts and between calls.
pub(super) fn chance() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.wait(500).as_millis()).collect();
        assert_eq!(waits[..7], [200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert!(waits[7..].iter().all(|&wait| wait == 10_000));
        backoff.reset();
        assert_eq!(backoff.wait(500).as_millis(), 200);
    }

    #[test]
    fn wait_is_between_a_half_and_all() {
        for chance in [0, 1, 250, 500, 501, u64::MAX] {
            let wait = Backoff::default().wait(chance).as_millis();
            assert!((100..=200).contains(&wait), "{chance}: {wait}");
        }
    }
}
