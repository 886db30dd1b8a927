//! A small run of the churn harness: some hundred connections through everything that an operator does, once, and a
//! test for what each event broke. `cargo xtask churn` is the large one.
//!
//! Needs root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, at the line that tells what failed")]

use std::{env, sync::LazyLock, time::Duration};

use lb_tests::{
    balancer::binary,
    bpf,
    churn::{self, Options, Report, Row},
    skip::skip,
};

/// Names another build of the daemon, which the one under test is upgraded to.
const OTHER_BINARY: &str = "SLUICE_OTHER_BIN";

/// The run that all tests look at. Events that show what peers are worth break connections, and are left away.
static REPORT: LazyLock<Report> = LazyLock::new(|| {
    let report = run(&Options { only: EVENTS.map(str::to_owned).into(), ..options() });
    println!("{report}");
    report
});

const EVENTS: [&str; 19] = [
    "calm",
    "add",
    "weight",
    "remove",
    "drain",
    "order",
    "flap",
    "long-flap",
    "reloads",
    "kill-9",
    "upgrade",
    "program-swap",
    "settle",
    "dead-backend",
    "chaos",
    "fleet-add",
    "fleet-leave",
    "fleet-return",
    "fleet-crash",
];

fn options() -> Options {
    Options {
        binary: binary().unwrap(),
        other_binary: env::var_os(OTHER_BINARY).map(Into::into),
        object: bpf::object().unwrap(),
        connections: 300,
        seed: 1,
        pause: Duration::from_millis(300),
        edits: 10,
        random_steps: 10,
        ..Options::default()
    }
}

fn run(options: &Options) -> Report {
    churn::run(options, |_| ()).unwrap()
}

/// What an event did, of which nothing has gone wrong but, perhaps, for connections.
#[track_caller]
fn row(event: &str) -> &'static Row {
    let row = REPORT.row(event).unwrap_or_else(|| panic!("there is no event {event}"));
    assert_eq!(row.error, None);
    assert!(row.alive > 250 && row.tally.answers > 250, "the event is no proof: {row:?}");
    row
}

#[track_caller]
fn assert_unbroken(event: &str) {
    let tally = &row(event).tally;
    assert_eq!(tally.broken.total(), 0, "{tally:?}");
    assert_eq!(tally.died, 0, "nobody died");
}

#[test]
fn nothing_breaks_connections_while_nothing_happens() {
    assert_unbroken("calm");
}

#[test]
fn added_backend_breaks_no_connection() {
    assert_unbroken("add");
}

#[test]
fn changed_weight_breaks_no_connection() {
    assert_unbroken("weight");
}

#[test]
fn removed_backend_breaks_no_connection() {
    assert_unbroken("remove");
}

#[test]
fn draining_and_removing_breaks_no_connection() {
    assert_unbroken("drain");
}

#[test]
fn ordered_drain_breaks_no_connection() {
    assert_unbroken("order");
}

#[test]
fn flapping_health_breaks_no_connection() {
    assert_unbroken("flap");
}

#[test]
fn flap_beyond_the_grace_breaks_no_silent_connection() {
    assert_unbroken("long-flap");
}

#[test]
fn reloads_break_no_connection() {
    assert_unbroken("reloads");
}

#[test]
fn killed_daemon_breaks_no_connection() {
    assert_unbroken("kill-9");
}

#[test]
fn upgrade_and_downgrade_break_no_connection() {
    if env::var_os(OTHER_BINARY).is_none() {
        return skip(&format!("no other build: {OTHER_BINARY} is not set"));
    }
    assert_unbroken("upgrade");
}

#[test]
fn other_program_breaks_no_connection() {
    assert_unbroken("program-swap");
}

#[test]
fn settling_breaks_no_connection() {
    assert_unbroken("settle");
}

#[test]
fn dead_backend_breaks_no_connection_but_its_own() {
    let tally = &row("dead-backend").tally;
    assert_eq!(tally.broken.total(), 0, "{tally:?}");
    assert!(tally.died > 0, "the backend had no connection: {tally:?}");
}

#[test]
fn everything_at_once_breaks_no_connection() {
    assert_unbroken("chaos");
}

#[test]
fn backend_added_to_a_fleet_breaks_no_connection() {
    assert_unbroken("fleet-add");
}

#[test]
fn balancer_that_leaves_breaks_no_connection() {
    assert_unbroken("fleet-leave");
}

#[test]
fn balancer_that_comes_back_breaks_no_connection() {
    assert_unbroken("fleet-return");
}

#[test]
fn balancer_that_crashes_breaks_no_connection() {
    assert_unbroken("fleet-crash");
}

/// What the harness is worth: it sees what is lost.
#[test]
fn balancer_that_remembers_nothing_is_found_out() {
    let keys = vec![("track".to_owned(), "never".to_owned())];
    let only = ["calm", "remove", "dead-backend"].map(str::to_owned).into();
    let report = run(&Options { keys, only, ..options() });
    println!("{report}");
    let lost = |event| report.row(event).unwrap().tally.broken;
    assert_eq!(lost("calm").total(), 0);
    assert!(lost("remove").reset > 0 && !report.is_good());
}
