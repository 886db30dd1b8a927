//! One cell of a lookup table: the backend that new flows get, and the one that flows from before the last change
//! may still have.
//!
//! ```text
//!  31                16 15                 0
//! +--------------------+--------------------+
//! |      previous      |      current       |   indices within the service, NONE = 0xffff
//! +--------------------+--------------------+
//! ```
//!
//! A slot with `previous == NONE` is *settled*: no flow needs to be remembered. Any other is *moved*. A slot is one
//! aligned `u32`, so a reader sees it whole.

use bytemuck::{Pod, Zeroable};

/// Where a slot names no backend.
pub const NONE: u16 = u16::MAX;

/// The most backends that a service can have: every index below [`NONE`].
pub const MAX_BACKENDS: usize = NONE as usize;

/// Slots in one value of the arena's map. The kernel rounds an array's values up to eight bytes, so a value of one
/// slot would waste as much as it holds; a cache line wastes nothing.
pub const LINE: usize = 16;

/// One value of the arena's map: the slots from `LINE * index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Line {
    /// The slots, each a [`Slot`].
    pub slots: [u32; LINE],
}

/// One cell of a lookup table, native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// A slot that names no backend.
    pub const EMPTY: Self = Self::new(NONE, NONE);

    /// Joins the two halves.
    #[must_use]
    #[inline]
    pub const fn new(current: u16, previous: u16) -> Self {
        Self((previous as u32) << 16 | current as u32)
    }

    /// A slot whose old flows have nowhere else to be.
    #[must_use]
    #[inline]
    pub const fn settled(current: u16) -> Self {
        Self::new(current, NONE)
    }

    /// The backend of new flows.
    #[must_use]
    #[inline]
    pub const fn current(self) -> u16 {
        self.0 as u16
    }

    /// The backend of flows from before the move; [`NONE`] where the slot is settled.
    #[must_use]
    #[inline]
    pub const fn previous(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether the hash alone decides.
    #[must_use]
    #[inline]
    pub const fn is_settled(self) -> bool {
        self.previous() == NONE
    }

    /// What this slot becomes when `next` is to be its backend.
    ///
    /// A settled slot that changes remembers where its flows are. A slot that had moved already keeps its oldest
    /// `previous`, also when it moves back: `(next, next)` still means that flows of the time between are in the
    /// connection table. An empty slot has no flows to remember.
    #[must_use]
    #[inline]
    pub const fn moved_to(self, next: u16) -> Self {
        if !self.is_settled() {
            Self::new(next, self.previous())
        } else if self.current() == next {
            self
        } else {
            Self::new(next, self.current())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_follows_the_rules() {
        // (slot, next, merged)
        let cases = [
            (Slot::settled(1), 1, Slot::settled(1)),
            (Slot::settled(1), 2, Slot::new(2, 1)),
            (Slot::new(2, 1), 2, Slot::new(2, 1)),
            (Slot::new(2, 1), 3, Slot::new(3, 1)),
            (Slot::new(2, 1), 1, Slot::new(1, 1)),
            (Slot::EMPTY, 4, Slot::settled(4)),
            (Slot::settled(4), NONE, Slot::new(NONE, 4)),
            (Slot::new(NONE, 4), 5, Slot::new(5, 4)),
        ];
        for (slot, next, merged) in cases {
            assert_eq!(slot.moved_to(next), merged, "{slot:?} to {next}");
        }
    }

    #[test]
    fn halves_are_kept_apart() {
        let slot = Slot::new(0x1234, 0xabcd);
        assert_eq!((slot.current(), slot.previous()), (0x1234, 0xabcd));
        assert_eq!(slot.0, 0xabcd_1234);
        assert!(!slot.is_settled());
    }
}
