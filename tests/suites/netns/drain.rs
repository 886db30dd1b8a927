//! What drains, removals and deaths mean for connections that are open.

use std::{fs, process::Command};

use lb_tests::{
    balancer::{READY_DEADLINE, binary},
    client::fetch,
    config::Service,
    held::Held,
    process::wait_until,
    status::{Backend, Status},
    topology::{Lan, VIP4},
};
use rustix::process::Signal;

use crate::scene::Scene;

/// Connections of a test: a quarter of them are with `b1`.
const COUNT: usize = 60;

/// A service by `l2` and `ipip`, with `keys` of its own.
fn scene<'net>(lan: &'net Lan, keys: &str) -> Scene<'net> {
    let (tunnelled, direct) = lan.backends.split_at(2);
    let service = Service::new("web", (VIP4, 80).into()).with("ipip", tunnelled).with("l2", direct);
    let scene = Scene::start(&lan.balancer, &lan.backends, vec![service]);
    let file = fs::read_to_string(scene.config_path()).unwrap();
    fs::write(scene.config_path(), file.replace("slots = 4099\n", &format!("slots = 4099\n{keys}\n")))
        .unwrap();
    wait_for_log(&scene, "configuration reloaded");
    scene
}

fn wait_for_log(scene: &Scene<'_>, part: &str) {
    let told = || scene.daemon.process.log().contains(part);
    wait_until(READY_DEADLINE, part, told).unwrap();
}

/// Runs `sluice` on the balancer, and gives what it printed.
fn sluice(lan: &Lan, scene: &Scene<'_>, arguments: &[&str]) -> String {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).arg("--socket").arg(&scene.config.socket);
    lan.balancer.netns.output(&mut command).unwrap()
}

fn backend<'a>(status: &'a Status, name: &str) -> Option<&'a Backend> {
    status.service("web")?.backend(name)
}

/// Asserts that no new connection gets to `b1`.
fn assert_gets_no_new(lan: &Lan) {
    let answers = fetch(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    assert_eq!((answers.of("b1"), answers.failures), (0, vec![]));
}

#[test]
fn drained_backend_keeps_its_connections_until_they_end() {
    let lan = Lan::new().unwrap();
    let mut scene = scene(&lan, "idle_timeout = \"2s\"");
    let mut held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    sluice(&lan, &scene, &["drain", "b1"]);
    assert_gets_no_new(&lan);

    held.go_on().unwrap();
    let went_on =
        |status: &Status| backend(status, "b1").is_some_and(|backend| backend.last_packet_ago.is_some());
    let status = scene.daemon.wait_for("old flows to be seen to go on", went_on).unwrap();
    let b1 = backend(&status, "b1").unwrap();
    assert!(b1.tracked_flows > 0 && !b1.empty, "{b1:?}");

    let ends = held.finish().unwrap();
    assert!(ends.of("b1") > 0 && ends.answered() == COUNT, "{ends:?}");
    let said = sluice(&lan, &scene, &["drain", "b1", "--wait", "--timeout", "30s"]);
    assert_eq!(said.lines().last(), Some("web/b1: empty, it gets no packet any more"));
}

#[test]
fn drain_outlives_the_daemon_and_so_do_its_connections() {
    let lan = Lan::new().unwrap();
    let mut scene = scene(&lan, "");
    let held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    sluice(&lan, &scene, &["drain", "b1"]);
    let digest = scene.daemon.status().unwrap().service("web").unwrap().digest.clone();
    scene.daemon.process.signal(Signal::KILL).unwrap();
    scene.daemon.process.wait(READY_DEADLINE).unwrap();
    scene.succeed();

    let status = scene.daemon.wait_for("the next daemon", |status| backend(status, "b1").is_some()).unwrap();
    assert_eq!(status.service("web").unwrap().digest, digest);
    assert!(!scene.daemon.process.log().contains("backend is"), "no health has changed");
    assert_gets_no_new(&lan);
    let ends = held.finish().unwrap();
    assert!(ends.of("b1") > 0 && ends.answered() == COUNT, "{ends:?}");
}

#[test]
fn removed_backend_is_probed_and_keeps_its_connections() {
    let lan = Lan::new().unwrap();
    let mut scene = scene(&lan, "");
    let held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    scene.config.services[0].backends.remove(0);
    scene.save_config();
    let leaves = |status: &Status| backend(status, "b1").is_some_and(|b1| b1.admin == "leaving");
    let status = scene.daemon.wait_for("b1 to leave", leaves).unwrap();
    assert_eq!(backend(&status, "b1").unwrap().health, "up");
    assert_gets_no_new(&lan);
    let ends = held.finish().unwrap();
    assert!(ends.of("b1") > 0 && ends.answered() == COUNT, "{ends:?}");
}

#[test]
fn dropped_backend_loses_its_connections_at_once() {
    let lan = Lan::new().unwrap();
    let mut scene = scene(&lan, "");
    let held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    let file = fs::read_to_string(scene.config_path()).unwrap();
    let (before, after) = file.split_once("[[service.backend]]\nname = \"b1\"").unwrap();
    let after = &after[after.find("[[service.backend]]").unwrap()..];
    let dropping = before.replace("slots = 4099\n", "slots = 4099\non_remove = \"drop\"\n");
    fs::write(scene.config_path(), format!("{dropping}{after}")).unwrap();
    let leaves = |status: &Status| backend(status, "b1").is_some_and(|b1| b1.admin == "leaving" && b1.empty);
    scene.daemon.wait_for("b1 to leave", leaves).unwrap();
    let ends = held.finish().unwrap();
    assert!(ends.of("b1") == 0 && ends.resets > 0, "{ends:?}");
    assert_eq!(ends.answered() + ends.resets, COUNT, "others have reset what they do not know: {ends:?}");
}

#[test]
fn deadline_moves_what_is_left() {
    let lan = Lan::new().unwrap();
    let scene = scene(&lan, "");
    let held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    let said = sluice(&lan, &scene, &["drain", "b1", "--deadline", "200ms", "--wait", "--timeout", "30s"]);
    assert_eq!(said.lines().last(), Some("web/b1: empty, it gets no packet any more"));
    let ends = held.finish().unwrap();
    assert!(ends.of("b1") == 0 && ends.resets > 0, "{ends:?}");
    assert_eq!(scene.daemon.status().unwrap().reason("reset"), 0, "those were the backends' resets");
}

/// Whether the file asks for it or the command alone.
#[test]
fn deadline_resets_what_is_left() {
    for (keys, options) in [("on_deadline = \"reset\"", &[][..]), ("", &["--on-deadline", "reset"][..])] {
        let lan = Lan::new().unwrap();
        let scene = scene(&lan, keys);
        let held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
        let drain = ["drain", "b1", "--deadline", "200ms", "--wait", "--timeout", "30s"];
        sluice(&lan, &scene, &[&drain, options].concat());
        let ends = held.finish().unwrap();
        assert!(ends.of("b1") == 0 && ends.resets > 0, "{keys:?} {ends:?}");
        assert!(scene.daemon.status().unwrap().reason("reset") >= ends.resets as u64, "{keys:?} {ends:?}");
    }
}

/// As a host that loses its power: nobody is told.
#[test]
fn connections_of_a_dead_backend_are_reset_within_a_packet_of_the_verdict() {
    let lan = Lan::new().unwrap();
    let mut scene = scene(&lan, "on_down = \"reset\"\ndown_grace = \"0s\"");
    let held = Held::open(&lan.client.netns, (VIP4, 80).into(), COUNT).unwrap();
    lan.backends[0].netns.ip("link set eth0 down").unwrap();
    let is_down = |status: &Status| backend(status, "b1").is_some_and(|b1| b1.health == "down" && b1.empty);
    scene.daemon.wait_for("b1 to be down", is_down).unwrap();
    let before = scene.daemon.status().unwrap().reason("reset");
    let ends = held.finish().unwrap();
    assert!(ends.of("b1") == 0 && ends.resets > 0, "{ends:?}");
    assert_eq!(ends.answered() + ends.resets, COUNT, "{ends:?}");
    let resets = scene.daemon.status().unwrap().reason("reset") - before;
    assert_eq!(resets, ends.resets as u64, "one packet of each was enough");
}
