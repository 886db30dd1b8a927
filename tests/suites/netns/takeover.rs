//! Daemons that cannot go on with the maps of the one before, and connections that are held open meanwhile. Backends
//! have come and gone before it, so where a connection is cannot be told by the table alone.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use lb_tests::{
    netns::Netns,
    process::output,
    status::Status,
    topology::{Lan, VIP4},
};
use rustix::process::Signal;

use crate::scene::{Scene, web_services};

/// How long an answer may take, retransmissions included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens connections on which nothing has been asked yet.
fn connect(client: &Netns, count: usize) -> Vec<TcpStream> {
    let open = || TcpStream::connect((VIP4, 80)).unwrap();
    client.run(|| (0..count).map(|_| open()).collect()).unwrap()
}

/// Asks on each connection, and tells which backends have answered how often.
fn ask(connections: Vec<TcpStream>) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for mut connection in connections {
        let mut answer = String::new();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        connection.read_to_string(&mut answer).unwrap();
        let backend = answer.lines().last().unwrap().trim_start_matches("My id is ").to_owned();
        *answers.entry(backend).or_default() += 1;
    }
    answers
}

/// Replaces the daemon by one that begins with what `change` has made of pins and file, and asks on all connections.
fn held_through(change: impl Fn(&Scene<'_>), said: &str) {
    let lan = Lan::new().unwrap();
    let client = &lan.client.netns;
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    let mut connections = connect(client, 100);
    scene.config.services[0].backends.pop();
    scene.save_config();
    let gone = |status: &Status| share(status, "b4") == 0.0;
    scene.daemon.wait_for("b4 to leave the table", gone).unwrap();
    connections.extend(connect(client, 100));

    scene.daemon.process.signal(Signal::KILL).unwrap();
    scene.daemon.process.wait(PATIENCE).unwrap();
    change(&scene);
    scene.restart();
    assert!(scene.daemon.process.log().contains(said), "{}", scene.daemon.process.log());
    let answers = ask(connections);
    assert_eq!(answers.values().sum::<usize>(), 200, "{answers:?}");
    assert!(answers.contains_key("b4"), "old connections are still with it: {answers:?}");
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
