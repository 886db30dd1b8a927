//! Allocation of contiguous stretches: of slots in the arena, of backend entries.
//!
//! First fit over the free gaps, which are few. What is given back is not free at once: a packet in flight may still
//! read it, so it rests until the caller says that a grace period has passed.

use std::collections::BTreeMap;

/// Which parts of `0..capacity` are free. Start and length of a stretch are multiples of `granule`.
#[derive(Clone, Debug)]
pub struct Stretches {
    granule: u32,
    capacity: u32,
    /// Start to length, not touching one another.
    free: BTreeMap<u32, u32>,
    /// Given back, still readable by packets in flight.
    resting: Vec<(u32, u32)>,
}

impl Stretches {
    /// All of `0..capacity` is free.
    #[must_use]
    pub fn new(capacity: u32, granule: u32) -> Self {
        let capacity = capacity / granule * granule;
        Self { granule, capacity, free: BTreeMap::from([(0, capacity)]), resting: Vec::new() }
    }

    /// Takes `length` rounded up to the granule. `None` where no gap is long enough.
    pub fn take(&mut self, length: u32) -> Option<u32> {
        let length = self.rounded(length);
        let (&start, &gap) = self.free.iter().find(|&(_, &gap)| gap >= length)?;
        self.free.remove(&start);
        if gap > length {
            self.free.insert(start + length, gap - length);
        }
        Some(start)
    }

    /// Takes just this stretch. `None` where a part of it is not free.
    pub fn reserve(&mut self, start: u32, length: u32) -> Option<()> {
        let end = start.checked_add(self.rounded(length))?;
        let (&from, &gap) = self.free.range(..=start).next_back()?;
        if end > from + gap || !start.is_multiple_of(self.granule) {
            return None;
        }
        self.free.remove(&from);
        let parts = [(from, start - from), (end, from + gap - end)];
        self.free.extend(parts.into_iter().filter(|&(_, length)| length > 0));
        Some(())
    }

    /// Whether a unit is free.
    #[must_use]
    pub fn is_free(&self, at: u32) -> bool {
        self.free.range(..=at).next_back().is_some_and(|(&start, &length)| at < start + length)
    }

    /// Lays a stretch that was taken to rest.
    pub fn rest(&mut self, start: u32, length: u32) {
        self.resting.push((start, self.rounded(length)));
    }

    /// Whether anything rests.
    #[must_use]
    pub fn any_rests(&self) -> bool {
        !self.resting.is_empty()
    }

    /// A grace period has passed: what rested is free.
    pub fn wake(&mut self) {
        for (start, length) in std::mem::take(&mut self.resting) {
            self.release(start, length);
        }
    }

    /// Units in use or resting.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.capacity - self.free.values().sum::<u32>()
    }

    /// All units.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    fn release(&mut self, mut start: u32, mut length: u32) {
        if let Some((&before, &gap)) = self.free.range(..start).next_back()
            && before + gap == start
        {
            self.free.remove(&before);
            (start, length) = (before, gap + length);
        }
        if let Some(gap) = self.free.remove(&(start + length)) {
            length += gap;
        }
        self.free.insert(start, length);
    }

    /// A multiple of the granule, at least one.
    fn rounded(&self, length: u32) -> u32 {
        length.max(1).next_multiple_of(self.granule)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stretch_is_reused_only_after_its_rest() {
        let mut arena = Stretches::new(32, 16);
        let first = arena.take(10).unwrap();
        arena.take(16).unwrap();
        arena.rest(first, 10);
        assert_eq!(arena.take(16), None);
        arena.wake();
        assert_eq!(arena.take(16), Some(first));
    }

    #[test]
    fn reserved_stretch_has_to_be_free() {
        let mut arena = Stretches::new(64, 16);
        assert_eq!(arena.reserve(16, 20), Some(()));
        assert_eq!(
            (arena.is_free(15), arena.is_free(16), arena.is_free(47), arena.is_free(48)),
            (true, false, false, true)
        );
        for (start, length) in [(16, 16), (0, 17), (32, 1), (48, 17), (8, 8), (u32::MAX, 2)] {
            assert_eq!(arena.reserve(start, length), None, "{length} from {start}");
        }
        assert_eq!((arena.take(16), arena.take(16), arena.take(1)), (Some(0), Some(48), None));
    }

    #[test]
    fn neighbouring_gaps_become_one() {
        let mut arena = Stretches::new(48, 16);
        for start in [0, 16, 32] {
            assert_eq!(arena.take(16), Some(start));
        }
        for start in [0, 32, 16] {
            arena.rest(start, 16);
        }
        arena.wake();
        assert_eq!(arena.take(48), Some(0));
    }

    proptest! {
        #[test]
        fn stretches_never_overlap(lengths in prop::collection::vec((1u32..40, any::<bool>()), 1..60)) {
            let mut arena = Stretches::new(512, 4);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (length, give_back) in lengths {
                if give_back && let Some((start, length)) = taken.pop() {
                    arena.rest(start, length);
                    arena.wake();
                }
                if let Some(start) = arena.take(length) {
                    let end = start + length.next_multiple_of(4);
                    prop_assert!(end <= 512);
                    prop_assert!(taken.iter().all(|&(s, l)| end <= s || s + l.next_multiple_of(4) <= start));
                    taken.push((start, length));
                }
            }
            let used: u32 = taken.iter().map(|&(_, l)| l.next_multiple_of(4)).sum();
            prop_assert_eq!(arena.used(), used);
        }
    }
}
