//! Another XDP program, which gets what Sluice passes: how to come from a refusal to both, and what is refused.

use std::{fs, path::PathBuf, process::Command};

use lb_tests::{
    balancer::Daemon,
    bpf::{PassProgram, Pins, object},
    process::{output, wait_until},
};
use rustix::process::Signal;

use crate::site::{DEADLINE, Site, assert_says};

/// A directory for the pins of somebody else.
fn elsewhere() -> (Pins, PathBuf) {
    let pins = Pins::unique("elsewhere").unwrap();
    fs::create_dir(pins.path()).unwrap();
    let path = pins.path().join("firewall");
    (pins, path)
}

fn with_next(site: &mut Site, path: &str) {
    site.change("mode = \"auto\"", &format!("mode = \"auto\"\nnext_program = \"{path}\""));
}

/// Every step as the refusal names it.
#[test]
fn program_of_somebody_else_goes_on_behind_ours() {
    let mut site = Site::new();
    PassProgram::load(&object().unwrap()).unwrap().attach(&site.host.netns, "eth0").unwrap();
    let id = site.program("eth0")["prog"]["id"].to_string();
    let told = site.refusal();
    assert_says(
        &told,
        &[&format!("`bpftool prog pin id {id} /sys/fs/bpf/sluice_pass`"), "balancer.next_program"],
    );
    let (_pins, path) = elsewhere();
    output(Command::new("bpftool").args(["prog", "pin", "id", &id]).arg(&path)).unwrap();
    site.host.netns.ip("link set dev eth0 xdp off").unwrap();
    with_next(&mut site, path.to_str().unwrap());
    let mut daemon = site.start(&["--detach"]);
    let line = format!("what passes goes on to sluice_pass (id {id}), pinned at {}", path.display());
    assert_says(&site.status(), &[&line]);
    assert_eq!(site.program("eth0")["prog"]["name"], "sluice_chained");
    daemon.terminate().unwrap();
    site.assert_nothing_left();
    assert!(path.exists(), "what is somebody else's is left");
}

#[test]
fn next_program_that_is_none_is_refused() {
    let mut site = Site::new();
    let (_pins, path) = elsewhere();
    with_next(&mut site, path.to_str().unwrap());
    let place = path.to_str().unwrap();
    assert_says(&site.refusal(), &["balancer.next_program: cannot open", place, "pin an XDP program there"]);
    let map = [
        "map",
        "create",
        place,
        "type",
        "percpu_array",
        "key",
        "4",
        "value",
        "4",
        "entries",
        "1",
        "name",
        "m",
    ];
    output(Command::new("bpftool").args(map)).unwrap();
    assert_says(
        &site.refusal(),
        &["balancer.next_program:", place, "is a BPF map; pin an XDP program there"],
    );
    site.assert_nothing_left();
}

#[test]
fn next_program_that_vanishes_stays_until_the_file_says_otherwise() {
    let mut site = Site::new();
    let (programs, pins) = (PassProgram::load(&object().unwrap()).unwrap(), elsewhere());
    programs.pin(&pins.1).unwrap();
    let without = site.config.clone();
    with_next(&mut site, pins.1.to_str().unwrap());
    let daemon = site.start(&["--detach"]);
    let before = (site.status_json()["next_program"].clone(), site.program("eth0"));
    assert!(before.0["id"].is_u64(), "{}", before.0);
    fs::remove_file(&pins.1).unwrap();
    daemon.process.signal(Signal::HUP).unwrap();
    wait_for_log(&daemon, "the running one stays: balancer.next_program: cannot open");
    assert_eq!((site.status_json()["next_program"].clone(), site.program("eth0")), before);
    site.write("sluice.toml", &without);
    wait_for_log(&daemon, "configuration reloaded");
    assert_eq!(site.status_json().get("next_program"), None);
}

fn wait_for_log(daemon: &Daemon<'_>, text: &str) {
    let says = || daemon.process.log().contains(text);
    wait_until(DEADLINE, &format!("the daemon to say {text:?}"), says).unwrap();
}
