//! Changes of the file that a running daemon refuses: it says why, and what ran goes on.

use lb_tests::{balancer::Daemon, process::wait_until};
use rustix::process::Signal;
use serde_json::Value;

use crate::site::{DEADLINE, PROGRAM, Site, changed};

#[test]
fn change_of_what_is_fixed_is_refused() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    let before = site.status_json();
    for (from, to, key) in [
        ("slots = 20000", "slots = 30000", "[limits]"),
        ("0c0d0e0f", "0c0d0e10", "fleet.seed"),
        ("mode = \"auto\"", "mode = \"generic\"", "balancer.mode"),
        ("sluice.sock", "other.sock", "balancer.socket"),
        ("state.json", "other.json", "balancer.state_path"),
    ] {
        save(&site, from, to);
        wait_for_log(&daemon, &format!("{key} cannot change while sluice runs: set it back, or restart"));
        assert_eq!(site.status_json()["services"], before["services"], "{key}");
    }
    assert_eq!(site.status_json()["interfaces"], before["interfaces"]);
}

#[test]
fn broken_file_is_refused_and_the_mended_one_taken() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    let before = site.digest();
    for (weight, told) in
        [("\"2\"", "write 2 without quotes"), ("70000", "weight: 70000"), ("-1", "weight: -1")]
    {
        save(&site, "192.0.2.13\"", &format!("192.0.2.13\"\nweight = {weight}"));
        wait_for_log(&daemon, told);
        assert_eq!(site.digest(), before);
    }
    save(&site, "192.0.2.13\"", "192.0.2.13\"\nweight = 2");
    wait_for_log(&daemon, "configuration reloaded");
    assert_ne!(site.digest(), before);
}

#[test]
fn file_that_is_gone_is_refused() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    let before = site.digest();
    std::fs::remove_file(site.config_path()).unwrap();
    wait_for_log(&daemon, "cannot be read");
    assert_eq!(site.digest(), before);
    site.save();
    wait_for_log(&daemon, "configuration reloaded");
}

#[test]
fn interface_that_is_not_there_is_refused() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    let before = (site.status_json()["interfaces"].clone(), site.link());
    save(&site, "[\"eth0\"]", "[\"eth0\", \"eth9\"]");
    daemon.process.signal(Signal::HUP).unwrap();
    wait_for_log(&daemon, "there is no interface \"eth9\"");
    assert_eq!((site.status_json()["interfaces"].clone(), site.link()), before);
}

/// Twice, since a reload takes the program through the link that an earlier one has taken it through.
#[test]
fn interface_that_leaves_the_file_is_detached_after_any_number_of_reloads() {
    let mut site = Site::new();
    site.change("[\"eth0\"]", "[\"eth0\", \"peer0\"]");
    let daemon = site.start(&["--detach"]);
    for weight in [2, 3] {
        save(&site, "192.0.2.13\"", &format!("192.0.2.13\"\nweight = {weight}"));
        wait_for_log(&daemon, &format!("generation={weight}"));
    }
    save(&site, "[\"eth0\", \"peer0\"]", "[\"eth0\"]");
    wait_for_log(&daemon, "detached interface=\"peer0\"");
    // Some time after its pin is gone.
    let detached = || site.program("peer0") == Value::Null;
    wait_until(DEADLINE, "the program to be detached", detached).unwrap();
    assert_eq!(site.program("eth0")["prog"]["name"], PROGRAM);
}

/// Saves the file that the daemon was started with, with one change.
fn save(site: &Site, from: &str, to: &str) {
    site.write("sluice.toml", &changed(&site.config, from, to));
}

/// Waits for `text` in the log, which holds what was said before as well.
fn wait_for_log(daemon: &Daemon<'_>, text: &str) {
    let says = || daemon.process.log().contains(text);
    wait_until(DEADLINE, &format!("the daemon to say {text:?}"), says).unwrap();
}
