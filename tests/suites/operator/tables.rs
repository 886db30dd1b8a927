//! What the status tells of changes of a service's table.

use serde_json::Value;

use crate::site::Site;

/// What the status tells of the service's tables.
fn tables(site: &Site) -> Value {
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--unix-socket"]).arg(site.socket());
    let answer = site.command(curl.arg("http://sluice/v1/status?histories=true"));
    let mut status: Value = serde_json::from_str(&answer.stdout).unwrap();
    status["services"][0]["tables"].take()
}

#[test]
fn changes_are_told_with_their_causes_and_what_they_moved() {
    let site = Site::new();
    let mut daemon = site.start(&[]);
    let slots = daemon.wait_for("its shares", |status| status.services[0].backends[0].share > 0.0).unwrap();
    let share = slots.services[0].backend("b1").unwrap().share;

    let socket = site.socket();
    let answer = site.sluice(&["drain", "web/b1", "--socket", socket.to_str().unwrap()]);
    assert!(answer.status.success(), "{answer:?}");
    let told = tables(&site);
    let drained = &told["last_change"];
    assert_eq!(drained["cause"], "b1 gets no new flows (admin drain: by command)", "{told}");
    assert_eq!(drained["collateral_slots"], 0, "{told}");
    let moved = drained["moved_slots"].as_f64().unwrap();
    let expected = share * drained["slots"].as_f64().unwrap();
    assert!((moved - expected).abs() < 0.5, "{moved} slots moved, b1 had {expected}");

    let last = site.config.rfind("[[service.backend]]").unwrap();
    site.write("sluice.toml", &site.config[..last]);
    daemon.wait_for("b3 to be gone", |status| status.services[0].generation == 3).unwrap();
    let told = tables(&site);
    assert_eq!(told["last_change"]["cause"], "b3 is gone", "{told}");
    assert_eq!(told["last_change"]["collateral_slots"], 0, "nothing is left to move between: {told}");

    site.save();
    daemon.wait_for("b3 to be back", |status| status.services[0].generation == 4).unwrap();
    let told = tables(&site);
    let generations: Vec<_> = told["changes"].as_array().unwrap().iter().map(|c| &c["generation"]).collect();
    assert_eq!(generations, [1, 2, 3, 4], "{told}");
    let sum = |what: &str| {
        told["changes"].as_array().unwrap().iter().map(|c| c[what].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(told["moved_slots"], sum("moved_slots"), "{told}");
    assert_eq!(told["collateral_slots"], sum("collateral_slots"), "{told}");
}
