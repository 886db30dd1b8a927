//! A small run of the churn harness.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]
use std::{env, time::Duration};
use lb_tests::{balancer::binary, bpf, churn};
#[test]
fn small() {
    let options = churn::Options {
        binary: binary().unwrap(), other_binary: env::var_os("SLUICE_OTHER_BIN").map(Into::into), object: bpf::object().unwrap(),
        connections: 300, seed: 1, pause: Duration::from_millis(500), edits: 10, random_steps: 10, ..churn::Options::default() };
    println!("{}", churn::HEADING);
    let report = churn::run(&options, |row| println!("{row}")).unwrap();
    println!("{report}");
    assert!(report.is_good());
}
