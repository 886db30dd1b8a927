//! `sluice status`.

use std::process::Command;

use lb_tests::balancer::binary;
use serde_json::{Value, json};

use crate::site::{Site, assert_says};

#[test]
fn no_daemon_is_told_with_the_socket() {
    let site = Site::new();
    let socket = site.socket();
    let answer = site.sluice(&["status", "--socket", socket.to_str().unwrap()]);
    assert_says(&answer.error_line(), &["no sluice answers on", socket.to_str().unwrap(), "is it running"]);
    assert_eq!(answer.stdout, "");
}

#[test]
fn table_shows_services_backends_state_and_share() {
    let mut site = Site::new();
    site.change("name = \"b2\"\n", "name = \"b2\"\nadmin = \"drain\"\n");
    site.change("name = \"b3\"\n", "name = \"b3\"\nweight = 3\n");
    let _daemon = site.start(&["--detach"]);
    let table = site.status();
    assert_says(&table, &["on eth0 (native)", "4112 of 20000 slots in use"]);
    assert_says(
        &table,
        &[
            "web  203.0.113.10:80/tcp  generation 1",
            "4099 slots (0 moved), 0 flows tracked, 0 new flows, 0 packets, 0 bytes",
        ],
    );
    assert_eq!(
        cells(&table, "backend"),
        "backend address forwarding weight state share flows new flows packets bytes next hop last change"
    );
    // How long ago that was depends on the machine.
    let row = |name| {
        let cells = cells(&table, name);
        cells.rsplit_once(", ").map(|(row, _)| row.to_owned()).unwrap()
    };
    assert_eq!(row("b1"), "b1 192.0.2.11 l2 1 up 25.01 % 0 0 0 0 02:00:00:00:00:11 on eth0 admin ready");
    assert_eq!(
        row("b2"),
        "b2 192.0.2.12 l2 1 drain, up 0.00 % 0 0 0 0 02:00:00:00:00:12 on eth0 admin drain"
    );
    assert_eq!(row("b3"), "b3 192.0.2.13 l2 3 up 74.99 % 0 0 0 0 02:00:00:00:00:13 on eth0 admin ready");
}

#[test]
fn json_has_every_field() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let mut status = site.status_json();
    let service = status["services"][0].take();
    assert_eq!(status["interfaces"], json!([{ "name": "eth0", "mode": "native" }]));
    assert_eq!(status["arena"], json!({ "used": 4112, "slots": 20000 }));
    assert_eq!(
        keys(&status),
        ["arena", "config", "interfaces", "reasons", "services", "tracking", "version"]
    );
    assert_eq!(keys(&status["reasons"]["not_ours"]), ["bytes", "packets"]);
    let none = json!({ "connections": 0, "openings": 0, "refused": { "connections": 0, "openings": 0 } });
    assert_eq!(status["tracking"], none);
    let names = "address available backends bytes digest generation largest_packet levels moved_slots name opened_flows packets port probes protocol \
                 refused slots tables tracked_flows";
    assert_eq!(keys(&service).join(" "), names);
    assert_eq!(service["digest"], site.digest());
}

#[test]
fn json_has_every_field_of_a_backend() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let mut backends = site.status_json()["services"][0]["backends"].take();
    let shares: f64 =
        backends.as_array().unwrap().iter().map(|backend| backend["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    backends[0]["share"].take();
    backends[0]["last_change"]["at"].take();
    let history = backends[0]["history"].take();
    assert_eq!(
        (history.as_array().unwrap().len(), keys(&history[0]).join(" ")),
        (1, "at is what why".to_owned())
    );
    backends[0]["promised"].take();
    let expected = json!({
        "name": "b1", "address": "192.0.2.11", "forwarding": "l2", "weight": 1, "admin": "ready", "health": "up",
        "reason": "", "next_hop": "02:00:00:00:00:11 on eth0", "share": null, "promised": null, "priority": 0, "packets": 0, "bytes": 0,
        "by_command": false, "tracked_flows": 0, "opened_flows": 0, "empty": false, "draining_since": null, "last_packet_ago": null,
        "deadline_left": null, "largest_packet": 1500, "history": null, "measured": null,
        "last_change": { "at": null, "what": "admin", "is": "ready", "why": "the file has it" },
    });
    assert_eq!(backends[0], expected);
}

#[test]
fn packets_that_do_not_fit_are_told_with_the_remedy() {
    let mut site = Site::new();
    site.change("forwarding = \"l2\"", "forwarding = \"ipip\"");
    let _daemon = site.start(&["--detach"]);
    let says =
        ["largest packet of a client: 1480 bytes", "raise the MTU of the way to the backends by 20", "1440"];
    assert_says(&site.status(), &says);
    let service = &site.status_json()["services"][0];
    assert_eq!(
        (&service["largest_packet"], &service["backends"][0]["largest_packet"]),
        (&json!(1480), &json!(1480))
    );
    assert!(service["size_warning"].as_str().unwrap().contains("1480"), "{service}");
}

/// The line of `table` that begins with `first`, its cells separated by single spaces.
fn cells(table: &str, first: &str) -> String {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(first)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn reader_that_has_read_enough_is_no_error() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let line = format!(
        "set -o pipefail; {} status --socket {} | true",
        binary().unwrap().display(),
        site.socket().display()
    );
    let answer = site.command(Command::new("bash").args(["-c", &line]));
    assert_eq!((answer.status.success(), answer.stderr.as_str()), (true, ""));
}
