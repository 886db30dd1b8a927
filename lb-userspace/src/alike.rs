//! Values of which many are alike: each is there once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// See the module.
#[derive(Debug)]
pub struct Alike<T>(HashSet<Arc<T>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Alike<T> {
    /// The one that is like `value`.
    pub fn share(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.0.get(&value) {
            return Arc::clone(known);
        }
        let value = Arc::new(value);
        self.0.insert(Arc::clone(&value));
        value
    }

    /// Lets go of those that nobody else has.
    pub fn forget_unused(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_lives_as_long_as_it_is_used() {
        let mut alike = Alike::default();
        let first = alike.share("a way".to_owned());
        assert!(Arc::ptr_eq(&first, &alike.share("a way".to_owned())));
        assert!(!Arc::ptr_eq(&first, &alike.share("another".to_owned())));
        alike.forget_unused();
        assert_eq!(alike.0.len(), 1);
        drop(first);
        alike.forget_unused();
        assert!(alike.0.is_empty());
    }
}
