//! The table of packets: a description, bytes in, a configuration; the verdict with its reason, and bytes out. And
//! properties that hold for any packet.
//!
//! Not libtest's harness: every case is a test with a name of its own, and what follows the results is the list of
//! reasons with the cases that produce each.

mod case;
mod cases;
mod decapsulator;
mod diff;
mod expected;
#[expect(dead_code, reason = "each suite uses its part of it")]
#[path = "../program/harness.rs"]
mod harness;
mod property;
mod reasons;
mod scenes;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let cases = cases::all();
    let reasons = reasons::Reasons::of(&cases);
    let mut trials = reasons.trials();
    trials.extend(cases.into_iter().map(case::Case::into_trial));
    trials.extend(cases::truncated::trials());
    trials.extend(cases::errors::trials());
    trials.extend(property::trials());
    trials.extend(diff::trials());
    let lists = arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !lists {
        println!("{reasons}");
    }
    conclusion.exit();
}

/// A test that is a function.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}
