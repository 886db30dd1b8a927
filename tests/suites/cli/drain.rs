//! `sluice drain`, `ready` and `maintenance`, and backends that are gone from the file.

use std::process::Command;

use lb_tests::{
    balancer::{Daemon, binary},
    process::{Process, wait_until},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::site::{Answer, DEADLINE, Site, assert_says, changed};

#[test]
fn drained_backend_gets_no_new_flows_and_says_so() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let answer = run(&site, &["drain", "web/b2"]);
    assert_says(&answer.stdout, &["web/b2 drains by command: no tracked flow, but silent ones may live"]);
    let b2 = site.backend("b2");
    assert_eq!((&b2["admin"], &b2["share"], &b2["empty"]), (&json!("drain"), &json!(0.0), &json!(false)));
    assert_eq!(site.entry(2)["takes_new"], 0);
    assert_eq!(site.entry(2)["old_flows"], 0, "they stay");
    assert_says(&site.status(), &["drain, up", "web/b2 drains by command"]);

    let answer = run(&site, &["ready", "b2"]);
    assert_eq!(answer.stdout, "web/b2 is ready\n");
    assert!(site.backend("b2")["share"].as_f64().unwrap() > 0.3);
    assert_eq!(site.backend("b2")["by_command"], false, "there is nothing beside the file");
}

#[test]
fn wait_returns_when_nothing_names_the_backend_any_more() {
    let mut site = Site::new();
    site.change("slots = 4099", "slots = 4099\nidle_timeout = \"1s\"");
    let _daemon = site.start(&["--detach"]);
    let answer = run(&site, &["drain", "web/b1", "--wait", "--timeout", "15s"]);
    assert_eq!(answer.stdout.lines().last(), Some("web/b1: empty, it gets no packet any more"));
    assert!(site.backend("b1")["empty"].as_bool().unwrap());
    assert_eq!(site.status_json()["services"][0]["moved_slots"], 0);
}

#[test]
fn wait_in_json_prints_the_backend_as_it_is_then() {
    let mut site = Site::new();
    site.change("slots = 4099", "slots = 4099\nidle_timeout = \"1s\"");
    let _daemon = site.start(&["--detach"]);
    let answer = run(&site, &["drain", "b1", "--wait", "--timeout", "15s", "--output", "json"]);
    let told: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(
        (&told[0]["service"], &told[0]["name"], &told[0]["empty"]),
        (&json!("web"), &json!("b1"), &json!(true))
    );
}

#[test]
fn wait_that_takes_too_long_fails_with_what_is_left() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let answer = sluice(&site, &["drain", "b1", "--wait", "--timeout", "1s"]);
    assert_says(&answer.error_line(), &["not empty after 1s, and draining on: web/b1: no tracked flow"]);
    assert_eq!(site.backend("b1")["admin"], "drain");
}

#[test]
fn wait_ends_where_somebody_makes_the_backend_ready() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let mut command = Command::new(binary().unwrap());
    command.args(["drain", "b1", "--wait", "--socket"]).arg(site.socket());
    let mut waiting = Process::spawn(&site.host.netns, "sluice drain", &mut command).unwrap();
    wait_until(DEADLINE, "the wait to begin", || waiting.log().contains("web/b1: no tracked flow")).unwrap();
    run(&site, &["ready", "b1"]);
    assert_eq!(waiting.wait(DEADLINE).unwrap().code(), Some(1));
    assert_says(&waiting.log(), &["error: web/b1 was made ready meanwhile; it is not empty"]);
}

#[test]
fn drain_with_a_deadline_gives_up_what_is_left() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let answer = run(&site, &["drain", "b1", "--deadline", "10m", "--on-deadline", "reset"]);
    assert_says(&answer.stdout, &["10m until it gives up what is left"]);
    run(&site, &["drain", "b1", "--deadline", "100ms", "--wait", "--timeout", "15s"]);
    assert_eq!(site.entry(1)["old_flows"], 2, "reset, as was said before");
    assert!(site.backend("b1")["empty"].as_bool().unwrap());
}

#[test]
fn maintenance_gives_up_all_flows_at_once() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let answer = run(&site, &["maintenance", "b1"]);
    assert_eq!(answer.stdout, "web/b1 is in maintenance by command: empty, it gets no packet any more\n");
    assert_eq!((&site.entry(1)["takes_new"], &site.entry(1)["old_flows"]), (&json!(0), &json!(1)));
}

#[test]
fn orders_that_cannot_be_followed_say_why() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    for (arguments, told) in [
        (&["drain", "b4"][..], "there is no backend b4; did you mean b1, b2 or b3?"),
        (&["drain", "wbe/b1"], "there is no backend wbe/b1; did you mean web/b1, web/b2 or web/b3?"),
        (&["ready", "database"], "there is no backend database; `sluice status` lists all of them"),
    ] {
        assert_eq!(sluice(&site, arguments).error_line(), told);
    }
    let answer = sluice(&site, &["drain", "b1", "--deadline", "soon"]);
    assert_says(&answer.stderr, &["'soon' for '--deadline", "is no duration"]);
    assert!(!site.state_path().exists(), "nothing has changed");
}

#[test]
fn api_answers_with_a_reason_in_json() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let post = |path: &str, body: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--write-out", "\n%{http_code}", "--data", body, "--unix-socket"]);
        let answer =
            site.command(curl.arg(site.socket()).arg(format!("http://sluice/v1/services/{path}/admin")));
        let (body, code) = answer.stdout.rsplit_once('\n').unwrap();
        (code.to_owned(), serde_json::from_str::<Value>(body).unwrap())
    };
    let (code, answer) = post("web/backends/b1", r#"{"state": "drain", "deadline": "10m"}"#);
    assert_eq!((code.as_str(), &answer["admin"]), ("200", &json!("drain")));
    for (path, body, code, told) in [
        ("web/backends/b9", r#"{"state": "drain"}"#, "404", "service web has no backend b9"),
        ("shop/backends/b1", r#"{"state": "drain"}"#, "404", "there is no service shop"),
        ("web/backends/b1", r#"{"state": "gone"}"#, "400", "unknown variant `gone`"),
        (
            "web/backends/b1",
            r#"{"state": "ready", "deadline": "1m"}"#,
            "400",
            "a deadline belongs to a drain",
        ),
    ] {
        let (status, answer) = post(path, body);
        assert_eq!(status, code);
        assert_says(answer["error"].as_str().unwrap(), &[told]);
    }
}

#[test]
fn killed_daemons_successor_goes_on_with_the_same_drains() {
    let mut site = Site::new();
    site.change("name = \"b3\"\n", "name = \"b3\"\nadmin = \"drain\"\n");
    let mut former = site.start(&["--detach"]);
    run(&site, &["drain", "b1", "--deadline", "1h"]);
    let (digest, before) = (site.digest(), [site.backend("b1"), site.backend("b3")]);
    kill(&mut former);
    drop(former);

    let later = site.start(&["--detach"]);
    assert_eq!(site.digest(), digest);
    assert!(!later.process.log().contains("table published"), "there is nothing to change");
    for (backend, before) in ["b1", "b3"].iter().zip(&before) {
        let after = site.backend(backend);
        for key in ["admin", "by_command", "draining_since", "empty", "share"] {
            assert_eq!(after[key], before[key], "{key} of {backend}");
        }
    }
    let left = |backend: &Value| backend["deadline_left"].as_f64().unwrap();
    let after = site.backend("b1");
    assert!(left(&after) < left(&before[0]) && left(&after) > 3000.0, "{after}");
}

#[test]
fn command_holds_over_reloads_until_the_file_changes_its_mind() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    run(&site, &["drain", "b1"]);
    save(&site, "name = \"b3\"\n", "name = \"b3\"\nweight = 2\n");
    wait_for_log(&daemon, "configuration reloaded");
    assert_eq!(site.backend("b1")["admin"], "drain");

    save(&site, "name = \"b1\"\n", "name = \"b1\"\nadmin = \"maintenance\"\n");
    wait_for_log(&daemon, "what was set by command does not hold any more");
    let b1 = site.backend("b1");
    assert_eq!((&b1["admin"], &b1["by_command"]), (&json!("maintenance"), &json!(false)));
}

#[test]
fn backend_that_is_gone_from_the_file_leaves_when_nothing_names_it() {
    let mut site = Site::new();
    site.change("slots = 4099", "slots = 4099\nidle_timeout = \"2s\"");
    let daemon = site.start(&["--detach"]);
    remove(&site, 2);
    wait_for_log(&daemon, "configuration reloaded");
    let b2 = site.backend("b2");
    assert_eq!((&b2["admin"], &b2["share"]), (&json!("leaving"), &json!(0.0)));
    assert_eq!((&site.entry(2)["takes_new"], &site.entry(2)["old_flows"]), (&json!(0), &json!(0)));
    assert_says(&site.status(), &["leaving, up", "web/b2 leaves: no tracked flow"]);
    let answer = sluice(&site, &["ready", "b2"]);
    assert_says(&answer.error_line(), &["web/b2 is gone from the file", "put it into the file again"]);
    wait_for_log(&daemon, "backend has left");
    assert_eq!(site.backend("b2"), Value::Null);
    assert_eq!(site.entry(2)["address"]["octets"], json!(vec![0; 16]), "its index is free");
}

#[test]
fn backend_that_is_back_in_the_file_is_as_before() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    let digest = site.digest();
    remove(&site, 2);
    wait_for_log(&daemon, "generation=2");
    site.save();
    wait_for_log(&daemon, "generation=3");
    assert_eq!((site.digest(), &site.backend("b2")["admin"]), (digest, &json!("ready")));
    assert_eq!(site.status_json()["services"][0]["backends"].as_array().unwrap().len(), 3);
}

#[test]
fn backend_that_is_dropped_gives_up_its_flows_at_once() {
    let mut site = Site::new();
    site.change("slots = 4099", "slots = 4099\non_remove = \"drop\"");
    let daemon = site.start(&["--detach"]);
    remove(&site, 2);
    wait_for_log(&daemon, "configuration reloaded");
    assert_eq!(site.entry(2)["old_flows"], 1);
    assert_says(&site.status(), &["web/b2 leaves: empty, it gets no packet any more"]);
}

#[test]
fn leaving_backend_is_known_to_the_next_daemon() {
    let site = Site::new();
    let mut former = site.start(&["--detach"]);
    remove(&site, 2);
    wait_for_log(&former, "configuration reloaded");
    let before = site.backend("b2");
    kill(&mut former);
    drop(former);
    let mut later = site.start(&["--detach"]);
    assert_eq!(site.backend("b2"), before);

    // Without the file its name is lost, and so is since when.
    kill(&mut later);
    drop(later);
    std::fs::remove_file(site.state_path()).unwrap();
    let _last = site.start(&["--detach"]);
    let found = site.backend("192.0.2.12");
    assert_eq!((&found["admin"], &found["forwarding"]), (&json!("leaving"), &json!("l2")));
}

#[test]
fn broken_state_file_is_told_and_the_rest_goes_on() {
    let mut site = Site::new();
    site.change("name = \"b3\"\n", "name = \"b3\"\nadmin = \"drain\"\n");
    let mut former = site.start(&["--detach"]);
    run(&site, &["drain", "b1"]);
    kill(&mut former);
    drop(former);
    site.write("state.json", "{\"version\": 1,");
    let later = site.start(&["--detach"]);
    let path = site.state_path();
    assert_says(&later.process.log(), &[path.to_str().unwrap(), "is no state file", "set by command"]);
    assert_eq!(
        (&site.backend("b1")["admin"], &site.backend("b3")["admin"]),
        (&json!("ready"), &json!("drain"))
    );
}

#[test]
fn order_that_cannot_be_kept_is_followed_with_a_warning() {
    let mut site = Site::new();
    let blocked = site.write("blocked", "a file").join("state.json");
    let state = site.state_path();
    site.change(state.to_str().unwrap(), blocked.to_str().unwrap());
    let _daemon = site.start(&["--detach"]);
    let answer = sluice(&site, &["drain", "b1"]);
    assert!(answer.status.success());
    assert_says(&answer.stderr, &["warning: web/b1: a restart forgets this", "balancer.state_path"]);
    assert_eq!(site.backend("b1")["admin"], "drain");
}

/// Runs `sluice` with the site's socket.
fn sluice(site: &Site, arguments: &[&str]) -> Answer {
    let socket = site.socket();
    site.sluice(&[arguments, &["--socket", socket.to_str().unwrap()]].concat())
}

/// The same for what has to succeed, without a warning.
fn run(site: &Site, arguments: &[&str]) -> Answer {
    let answer = sluice(site, arguments);
    assert!(answer.status.success() && answer.stderr.is_empty(), "{answer:?}");
    answer
}

/// Takes a backend out of the file.
fn remove(site: &Site, number: u8) {
    let section = format!("[[service.backend]]\nname = \"b{number}\"\naddress = \"192.0.2.1{number}\"\n");
    save(site, &section, "");
}

/// Saves the file that the daemon was started with, with one change.
fn save(site: &Site, from: &str, to: &str) {
    site.write("sluice.toml", &changed(&site.config, from, to));
}

fn wait_for_log(daemon: &Daemon<'_>, part: &str) {
    let told = || daemon.process.log().contains(part);
    let waited = wait_until(DEADLINE, &format!("the log to say {part:?}"), told);
    assert!(waited.is_ok(), "no {part:?} in:\n{}", daemon.process.log());
}

fn kill(daemon: &mut Daemon<'_>) {
    daemon.process.signal(Signal::KILL).unwrap();
    daemon.process.wait(DEADLINE).unwrap();
}
