//! Daemons that follow one another on one interface.

use lb_tests::{balancer::Daemon, process::wait_until};
use rustix::process::Signal;
use serde_json::Value;

use crate::site::{DEADLINE, PROGRAM, Site, assert_says};

#[test]
fn failed_start_leaves_what_a_former_daemon_kept_attached() {
    let mut site = Site::new();
    site.start(&[]).terminate().unwrap();
    let before = (site.program("eth0"), site.link());
    assert_ne!(before.0, Value::Null);

    site.change("[\"eth0\"]", "[\"eth0\", \"eth9\"]");
    assert_says(&site.refusal(), &["eth9"]);
    assert_eq!((site.program("eth0"), site.link()), before);
    assert!(site.pins.path().join("services").exists());
}

/// The interface has been given the later program by then, which forwards as well, and takes frames as large as `lo`'s.
#[test]
fn start_that_fails_halfway_leaves_what_a_former_daemon_kept_attached() {
    let mut site = Site::new();
    site.start(&[]).terminate().unwrap();
    let link = site.link();

    site.change("mode = \"auto\"", "mode = \"native\"");
    site.change("[\"eth0\"]", "[\"eth0\", \"lo\"]");
    assert_says(&site.refusal(), &["cannot attach to lo"]);
    assert_eq!(site.link(), link);
    assert_eq!(site.program("eth0")["prog"]["name"], "sluice_frames");
}

#[test]
fn daemon_after_a_killed_one_takes_over_through_its_link() {
    let site = Site::new();
    let mut former = site.start(&["--detach"]);
    let (digest, link, program) = (site.digest(), site.link(), site.program("eth0"));
    kill(&mut former);
    assert_eq!((site.link(), site.program("eth0")), (link, program.clone()), "the data plane outlives it");

    let mut later = site.start(&["--detach"]);
    assert_eq!((site.digest(), site.link()), (digest, link));
    let taken_over = site.program("eth0");
    assert_eq!(taken_over["prog"]["name"], PROGRAM);
    assert_ne!(taken_over["prog"]["id"], program["prog"]["id"]);
    later.terminate().unwrap();
    site.assert_nothing_left();
}

#[test]
fn daemon_after_a_killed_one_leaves_the_interfaces_that_its_file_lacks() {
    let mut site = Site::new();
    kill(&mut site.start(&["--detach"]));
    site.change("[\"eth0\"]", "[\"peer0\"]");
    let _later = site.start(&["--detach"]);
    // The kernel detaches some time after the pin is gone.
    wait_until(DEADLINE, "eth0 to be left", || site.program("eth0") == Value::Null).unwrap();
    assert_eq!(site.program("peer0")["prog"]["name"], PROGRAM);
}

#[test]
fn daemon_goes_on_with_the_maps_that_fit() {
    let site = Site::new();
    kill(&mut site.start(&["--detach"]));
    let later = site.start(&["--detach"]);
    assert_says(&later.process.log(), &["going on with the pinned maps", "services=1"]);
    assert!(!later.process.log().contains("table published"), "there is nothing to change");
}

#[test]
fn daemon_with_other_limits_makes_maps_of_its_own_beside_the_pinned_ones() {
    let mut site = Site::new();
    let mut former = site.start(&["--detach"]);
    let (digest, link) = (site.digest(), site.link());
    kill(&mut former);
    drop(former);
    site.change("connections = 1024", "connections = 2048");
    let mut later = site.start(&["--detach"]);
    assert_says(&later.process.log(), &["`connections` has 1024 entries", "2048"]);
    assert_eq!((site.digest(), site.link()), (digest, link));
    later.terminate().unwrap();
    site.assert_nothing_left();
}

fn kill(daemon: &mut Daemon<'_>) {
    daemon.process.signal(Signal::KILL).unwrap();
    daemon.process.wait(DEADLINE).unwrap();
}
