//! `sluice verify`: what somebody writes to the kernel's maps is found by name, and `--repair` has packets go again where they
//! were promised to.

mod guards;

use std::{path::Path, process::Command, time::Duration};

use lb_tests::{
    bpf::{PassProgram, object},
    process::output,
};
use serde_json::{Value, json};

use crate::{
    curl::ask,
    explain::{Api, bytes},
    site::{Site, assert_says},
    wire::Wire,
};

/// How long a frame may take that is to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the MAC address of the next hop ends in a backend's entry, whose last byte is the number of the backend.
const MAC_END: usize = 45;

/// A map that somebody has a hand in.
struct Map<'a> {
    site: &'a Site,
    name: &'static str,
}

impl Map<'_> {
    fn bpftool(&self, action: &str, index: u32, value: &[u8]) -> Command {
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["--json", "map", action, "pinned"]).arg(self.site.pins.path().join(self.name));
        bpftool.args(["key", "hex"]).args(hex(&index.to_le_bytes()));
        if !value.is_empty() {
            bpftool.args(["value", "hex"]).args(hex(value));
        }
        bpftool
    }

    /// A value, if there is one.
    fn found(&self, index: u32) -> Option<Vec<u8>> {
        let found: Value =
            serde_json::from_str(&output(&mut self.bpftool("lookup", index, &[])).ok()?).unwrap();
        let byte = |digits: &Value| {
            u8::from_str_radix(digits.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        Some(found["value"].as_array().unwrap().iter().map(byte).collect())
    }

    fn value(&self, index: u32) -> Vec<u8> {
        self.found(index).unwrap()
    }

    /// Changes bytes of one value, behind the daemon's back.
    fn damage(&self, index: u32, change: impl FnOnce(&mut [u8])) {
        let mut value = self.value(index);
        change(&mut value);
        output(&mut self.bpftool("update", index, &value)).unwrap();
    }
}

/// Bytes as `bpftool` takes them.
fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `sluice verify` says, which must end with this status.
#[track_caller]
fn verify(site: &Site, options: &[&str], status: i32) -> Value {
    let socket = site.socket();
    let arguments = [&["verify", "--output", "json", "--socket", socket.to_str().unwrap()], options].concat();
    let answer = site.sluice(&arguments);
    assert_eq!(answer.status.code(), Some(status), "{answer:?}");
    serde_json::from_str(&answer.stdout).unwrap()
}

/// Repairs what must have been these differences (place, service, backend, field), and nothing else.
#[track_caller]
fn assert_repaired(site: &Site, expected: &[(&str, Option<&str>, Option<&str>, &str)]) {
    let of = |found: &Value| -> Vec<Value> {
        let differences = found["differences"].as_array().unwrap().iter();
        differences.map(|one| json!([one["place"], one["service"], one["backend"], one["field"]])).collect()
    };
    let expected: Vec<Value> = expected.iter().map(|one| json!(one)).collect();
    assert_eq!(of(&verify(site, &[], 2)), expected);
    let repair = verify(site, &["--repair"], 0);
    assert_eq!((of(&repair["found"]), &repair["failures"]), (expected, &json!([])));
    assert_eq!(repair["then"]["same"], true, "{repair:#}");
    verify(site, &[], 0);
}

/// Sends a frame, and tells which backend gets it.
fn receiver(wire: &Wire, frame: &[u8]) -> u8 {
    wire.send(frame);
    let to_backend = |frame: &[u8]| frame[..5] == [2, 0, 0, 0, 0] && matches!(frame[5], 0x11..=0x13);
    wire.next(PATIENCE, to_backend).expect("nothing has left")[5] - 0x10
}

#[test]
fn damage_of_maps_is_found_by_name_and_packets_go_right_after_the_repair() {
    let site = Site::new();
    PassProgram::load(&object().unwrap()).unwrap().attach(&site.host.netns, "peer0").unwrap();
    let wire = Wire::open(&site.host.netns, "peer0");
    let _daemon = site.start(&["--detach"]);
    let mut api = Api::open(&site);
    let mut explain = |port: u16| {
        let source = format!("198.51.100.7:{port}");
        api.explain(&json!({ "source": source, "destination": "203.0.113.10:80/tcp", "syn": true }))
    };
    let frames: Vec<Vec<u8>> = (5000..5030).map(|port| bytes(&explain(port)["bytes"])).collect();
    let receivers = || -> Vec<u8> { frames.iter().map(|frame| receiver(&wire, frame)).collect() };
    let promised = receivers();
    let looked_at = verify(&site, &[], 0)["looked_at"].clone();
    assert_eq!((&looked_at["services"], &looked_at["slots"]), (&json!(1), &json!(4099)), "{looked_at}");

    Map { site: &site, name: "backends" }.damage(0, |entry| entry[MAC_END] = 0x12);
    assert!(!receivers().contains(&1), "b1 gets packets still");
    assert_repaired(&site, &[("backends", Some("web"), Some("b1"), "next_hop_mac")]);
    assert_eq!(receivers(), promised);

    Map { site: &site, name: "services" }.damage(0, |entry| entry.fill(0));
    assert_eq!(explain(5000)["fate"], "passes");
    assert_repaired(&site, &[("services", Some("web"), None, "entry")]);
    assert_eq!(receivers(), promised);

    // Of the three backends another one.
    Map { site: &site, name: "arena" }.damage(1, |line| line[4] = (line[4] + 1) % 3);
    assert_repaired(&site, &[("arena", Some("web"), None, "slot 17")]);
    assert_eq!(receivers(), promised);
}

fn link(site: &Site, action: &str) {
    let mut bpftool = Command::new("bpftool");
    output(bpftool.args(["link", action, "pinned"]).arg(site.pins.path().join("link-eth0"))).unwrap();
}

fn pinned(site: &Site, name: &str) -> bool {
    Path::new(&site.pins.path().join(name)).exists()
}

#[test]
fn lost_pins_and_programs_are_found_and_put_back_over_the_api() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let same = ask(&site, "/v1/verify", &[]).expect(200);
    assert_eq!(same["same"], true, "{same:#}");
    link(&site, "detach");
    std::fs::remove_file(site.pins.path().join("services")).unwrap();
    std::fs::remove_file(site.pins.path().join("program")).unwrap();
    let socket = site.socket();
    let told = site.sluice(&["verify", "--socket", socket.to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    assert_says(
        &told.stdout,
        &[
            "pin: services: ",
            "pin: program: ",
            "interface: eth0: ",
            "3 differences",
            "sluice verify --repair",
        ],
    );
    let repair = ask(&site, "/v1/verify/repair", &["--request", "POST"]).expect(200);
    assert_eq!((&repair["then"]["same"], &repair["failures"]), (&json!(true), &json!([])), "{repair:#}");
    assert!(pinned(&site, "services") && pinned(&site, "program"));
    assert_ne!(site.program("eth0"), Value::Null);
}
