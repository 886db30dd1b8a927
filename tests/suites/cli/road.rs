//! The devices and the rules by which probes go, and who takes them down.

use std::process::Command;

use lb_tests::process::wait_until;
use rustix::process::Signal;

use crate::site::{DEADLINE, Site, assert_says};

/// What nobody answers here.
const PROBED: &str = "probe = { type = \"tcp\", interval = \"200ms\", timeout = \"100ms\" }";

/// A site whose backends are probed by the path of traffic.
fn probed() -> Site {
    let mut site = Site::new();
    site.change("probe = { type = \"none\" }", PROBED);
    site
}

/// Links, rules and routes of a road, a line each.
fn road(site: &Site) -> Vec<String> {
    let shown = ["-brief link", "rule", "-6 rule", "route show table all"].map(|arguments| {
        let mut ip = Command::new("ip");
        site.host.netns.output(ip.args(arguments.split(' '))).unwrap()
    });
    let lines = shown.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.contains("sluice-p") || line.contains("fwmark")).map(str::to_owned).collect()
}

#[test]
fn road_is_there_while_the_daemon_is() {
    let site = probed();
    let mut daemon = site.start(&[]);
    let road_of_probes = road(&site);
    assert_says(&road_of_probes.join("\n"), &["sluice-p5a5", "0x5a500000/0xfff00000"]);
    daemon.terminate().unwrap();
    assert_eq!(road(&site), [""; 0], "the data plane stays, and the road goes");
    assert!(site.pins.path().join("link-eth0").exists());
}

#[test]
fn road_of_a_killed_daemon_is_the_next_ones_to_replace() {
    let site = probed();
    let mut former = site.start(&["--detach"]);
    let built = road(&site);
    former.process.signal(Signal::KILL).unwrap();
    former.process.wait(DEADLINE).unwrap();
    assert_eq!(road(&site), built, "nobody was there to take it down");
    let mut daemon = site.start(&["--detach"]);
    let mut rebuilt = road(&site);
    assert_eq!(rebuilt.len(), built.len(), "{rebuilt:#?}");
    rebuilt.retain(|line| !line.contains("sluice-p"));
    assert!(!rebuilt.is_empty());
    daemon.terminate().unwrap();
    assert_eq!(road(&site), [""; 0]);
    site.assert_nothing_left();
}

#[test]
fn detach_takes_down_the_road_of_a_killed_daemon() {
    let site = probed();
    let mut daemon = site.start(&[]);
    daemon.process.signal(Signal::KILL).unwrap();
    daemon.process.wait(DEADLINE).unwrap();
    assert_ne!(road(&site), [""; 0]);
    let answer = site.sluice(&["detach", "--pin-path", site.pins.path().to_str().unwrap()]);
    assert!(answer.status.success(), "{answer:?}");
    wait_until(DEADLINE, "the road to be gone", || road(&site).is_empty()).unwrap();
    assert!(!site.pins.path().exists());
}

#[test]
fn nobody_builds_a_road_that_no_probe_takes() {
    let mut site = Site::new();
    let daemon = site.start(&["--detach"]);
    assert_eq!(road(&site), [""; 0]);
    drop(daemon);
    site.change("probe = { type = \"none\" }", &PROBED.replace(" }", ", via = \"direct\" }"));
    let _daemon = site.start(&["--detach"]);
    assert_eq!(road(&site), [""; 0]);
}
