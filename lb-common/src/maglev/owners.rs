//! The owner of each slot, in a byte where that is enough: in most tables it is, and of ten thousand services they are a
//! good part of the memory.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};

use crate::slot::NONE;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// All ones stand for [`NONE`].
    Few(Box<[u8]>),
    Many(Box<[u16]>),
}

impl Owners {
    /// Packs the owners, of whom there are so many.
    pub(super) fn new(slots: Vec<u16>, owners: usize) -> Self {
        if u8::try_from(owners).is_ok() {
            // What is cut off of NONE are ones as well.
            Self::Few(slots.into_iter().map(|owner| owner as u8).collect())
        } else {
            Self::Many(slots.into_boxed_slice())
        }
    }

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Few(slots) => slots.len(),
            Self::Many(slots) => slots.len(),
        }
    }

    /// All of them.
    pub(super) fn unpacked(&self) -> Cow<'_, [u16]> {
        let wide = |&owner: &u8| if owner == u8::MAX { NONE } else { u16::from(owner) };
        match self {
            Self::Few(slots) => slots.iter().map(wide).collect(),
            Self::Many(slots) => Cow::Borrowed(slots),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_the_same_packed_or_not() {
        for owners in [1, 254, 255, 256, 257, 65_535] {
            let slots = [0, owners - 1, NONE, owners / 2];
            let packed = Owners::new(slots.to_vec(), usize::from(owners));
            assert_eq!((packed.len(), &*packed.unpacked()), (4, &slots[..]), "{owners}");
            assert_eq!(matches!(packed, Owners::Few(_)), owners < 256);
        }
    }
}
