//! Daemons that cannot go on with the maps of the one before, and connections that are held open meanwhile. Backends
//! have come and gone before it, so where a connection is cannot be told by the table alone.

use std::{fs, process::Command};

use lb_tests::{
    balancer::READY_DEADLINE,
    held::Held,
    process::output,
    status::Status,
    topology::{Lan, VIP4},
};
use rustix::process::Signal;

use crate::scene::{Scene, web_services};

/// Replaces the daemon by one that begins with what `change` has made of pins and file, and asks on all connections.
fn held_through(change: impl Fn(&Scene<'_>), said: &str) {
    let lan = Lan::new().unwrap();
    let client = &lan.client.netns;
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    let older = Held::open(client, (VIP4, 80).into(), 100).unwrap();
    scene.config.services[0].backends.pop();
    scene.save_config();
    let gone = |status: &Status| share(status, "b4") == 0.0;
    scene.daemon.wait_for("b4 to leave the table", gone).unwrap();
    let newer = Held::open(client, (VIP4, 80).into(), 100).unwrap();

    scene.daemon.process.signal(Signal::KILL).unwrap();
    scene.daemon.process.wait(READY_DEADLINE).unwrap();
    change(&scene);
    scene.restart();
    assert!(scene.daemon.process.log().contains(said), "{}", scene.daemon.process.log());
    let ends = [older.finish().unwrap(), newer.finish().unwrap()];
    assert_eq!(ends.each_ref().map(|ends| (ends.answered(), ends.resets)), [(100, 0), (100, 0)], "{ends:?}");
    assert!(ends[0].of("b4") > 0, "old connections are still with it: {ends:?}");
}

fn share(status: &Status, backend: &str) -> f64 {
    status.service("web4").and_then(|service| service.backend(backend)).map_or(0.0, |backend| backend.share)
}

#[test]
fn connections_live_through_other_limits() {
    let raise = |scene: &Scene<'_>| {
        let file = fs::read_to_string(scene.config_path()).unwrap();
        let raised =
            file.replace("slots = 200000\n", "slots = 300000\n").replace("services = 16", "services = 40");
        assert_ne!(raised, file);
        fs::write(scene.config_path(), raised).unwrap();
    };
    held_through(raise, "moving over to new maps");
}

#[test]
fn connections_live_through_an_upgrade_from_the_layout_before() {
    held_through(|scene| set_schema(scene, 1), "earlier version");
}

/// What the maps say of their own layout, as another version of the daemon would have written it.
fn set_schema(scene: &Scene<'_>, schema: u8) {
    let control = scene.pins.path().join("control");
    let bpftool = |verb: &[&str]| {
        let mut command = Command::new("bpftool");
        command.args(["--json", "map"]).arg(verb[0]).arg("pinned").arg(&control).args(&verb[1..]);
        output(&mut command).unwrap()
    };
    let key = ["key", "0", "0", "0", "0"];
    let held: serde_json::Value = serde_json::from_str(&bpftool(&[&["lookup"], &key[..]].concat())).unwrap();
    let mut value: Vec<String> =
        held["value"].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().to_owned()).collect();
    value[0] = format!("{schema:#04x}");
    let value: Vec<&str> = value.iter().map(String::as_str).collect();
    bpftool(&[&["update"], &key[..], &["value"], &value].concat());
}
