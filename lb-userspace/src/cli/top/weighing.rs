//! The weight of a backend while it is typed.

use super::state::{Order, Wish};
use crate::{admin::status::Backend, config::MAX_WEIGHT};

/// Digits of the largest weight, and one to be told that it is too many.
const MOST_DIGITS: usize = 6;

/// Of which backend, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weighing {
    service: String,
    backend: String,
    /// Its weight as it is.
    now: u32,
    text: String,
}

impl Weighing {
    /// Nothing is typed yet.
    pub(super) fn of(service: &str, backend: &Backend) -> Self {
        let (service, now) = (service.to_owned(), backend.weight);
        Self { service, backend: backend.name.clone(), now, text: String::new() }
    }

    /// Takes a digit. What is none is not taken: there is nothing else to be typed.
    pub(super) fn put(&mut self, character: char) {
        if character.is_ascii_digit() && self.text.len() < MOST_DIGITS {
            self.text.push(character);
        }
    }

    pub(super) fn erase(&mut self) {
        self.text.pop();
    }

    /// What was typed as an order, or why it is none.
    pub(super) fn order(&self) -> Result<Order, String> {
        let weight = self.text.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
        let Some(weight) = weight else {
            return Err(format!("{:?} is no weight; expected a number from 0 to {MAX_WEIGHT}", self.text));
        };
        let (service, backend) = (self.service.clone(), self.backend.clone());
        Ok(Order { service, backend, wish: Wish::Weight(weight) })
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::backend;

    fn typed(text: &str) -> Weighing {
        let mut weighing = Weighing::of("web", &backend("b1"));
        text.chars().for_each(|character| weighing.put(character));
        weighing
    }

    #[test]
    fn weight_is_a_number_within_its_bounds() {
        for (text, weight) in [("0", 0), ("10", 10), ("65535", 65_535), ("1x-2", 12)] {
            assert_eq!(typed(text).order().unwrap().wish, Wish::Weight(weight));
        }
        for bad in ["", "65536", "9999999999"] {
            assert!(typed(bad).order().unwrap_err().contains("from 0 to 65535"), "{bad}");
        }
    }

    #[test]
    fn what_was_typed_wrong_can_be_erased() {
        let mut weighing = typed("65");
        weighing.erase();
        weighing.put('0');
        assert_eq!(weighing.text(), "60");
    }
}
