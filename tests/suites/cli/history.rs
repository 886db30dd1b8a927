//! What has become of backends, as `sluice history` tells it, and roll-outs by command.

use lb_tests::process::wait_until;
use serde_json::Value;

use crate::site::{DEADLINE, Site, assert_says};

/// What has changed of a backend of `web`, what it is since, and why.
fn history(site: &Site, backend: &str) -> Vec<String> {
    let socket = site.socket();
    let answer = site.sluice(&["history", backend, "--output", "json", "--socket", socket.to_str().unwrap()]);
    assert!(answer.status.success(), "{answer:?}");
    let told: Value = serde_json::from_str(&answer.stdout).unwrap();
    let line = |change: &Value| {
        let [what, is, why] = ["what", "is", "why"].map(|key| change[key].as_str().unwrap());
        format!("{what} {is}: {why}")
    };
    told[0]["history"].as_array().unwrap().iter().map(line).collect()
}

fn rollout(site: &Site, arguments: &[&str]) -> crate::site::Answer {
    let socket = site.socket();
    site.sluice(&[&["rollout"], arguments, &["--socket", socket.to_str().unwrap()]].concat())
}

#[test]
fn changes_are_told_with_their_causes_over_reloads_and_restarts() {
    let mut site = Site::new();
    let daemon = site.start(&["--detach"]);
    site.sluice(&["drain", "web/b1", "--socket", site.socket().to_str().unwrap()]);
    let mut expected = vec!["admin ready: the file has it", "admin drain: by command"];
    assert_eq!(history(&site, "b1"), expected);
    drop(daemon);

    site.change("name = \"b1\"\n", "name = \"b1\"\nweight = 3\nversion = \"1.0.1\"\n");
    let daemon = site.start(&["--detach"]);
    let config = site.config.replace("weight = 3", "weight = 5").replace("1.0.1", "1.0.2");
    site.write("sluice.toml", &config);
    wait_until(DEADLINE, "the reload", || daemon.process.log().contains("reloaded")).unwrap();
    expected
        .extend(["weight 5: the file says so; it was 3", "version 1.0.2: the file says so; it was 1.0.1"]);
    assert_eq!(history(&site, "web/b1"), expected);
    let log = daemon.process.log();
    assert_says(&log, &["weight is 5: the file says so; it was 3 service=\"web\" backend=\"b1\""]);

    site.write("sluice.toml", &config.replace("192.0.2.12", "192.0.2.19"));
    let leaves = || site.backend("b2@192.0.2.12")["admin"] == "leaving";
    wait_until(DEADLINE, "the host of before to leave", leaves).unwrap();
    let of_former =
        ["admin ready: the file has it", "admin leaving: gone from the file, which has another of its name"];
    assert_eq!(history(&site, "b2@192.0.2.12"), of_former);
    assert_eq!(history(&site, "b2"), ["admin ready: the file has it now"], "another host begins anew");
}

#[test]
fn history_is_a_table_for_people() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let answer = site.sluice(&["history", "b2", "--socket", site.socket().to_str().unwrap()]);
    assert_says(&answer.stdout, &["web/b2\n", "time (UTC)", "admin", "ready", "the file has it"]);
    let unknown = site.sluice(&["history", "b9", "--socket", site.socket().to_str().unwrap()]);
    assert_eq!(unknown.error_line(), "there is no backend b9; did you mean b1, b2 or b3?");
}

#[test]
fn rollout_is_changed_by_command_and_kept() {
    let mut site = Site::new();
    for (number, version) in [(1, "1.0.1"), (2, "1.0.2"), (3, "2.0")] {
        let name = format!("name = \"b{number}\"\n");
        site.change(&name, &format!("{name}version = \"{version}\"\n"));
    }
    site.change("slots = 4099\n", "slots = 4099\nrollout = { prefer = \"oldest\" }\n");
    let daemon = site.start(&["--detach"]);
    let shown = rollout(&site, &["show", "web"]).stdout;
    let line = "web roll-out: 1.0.1 gets 100.00 % (1 backend), 1.0.2 gets 0.00 % (1 backend), 2.0 waits (1 backend); \
                the oldest preferred\n";
    assert_eq!(shown, line);
    let set = rollout(&site, &["set", "web", "--canary", "10%", "--output", "json"]).stdout;
    let set: Value = serde_json::from_str(&set).unwrap();
    assert_eq!((&set["canary"], &set["canary_by_command"]), (&"10%".into(), &true.into()));
    let share = set["versions"][1]["share"].as_f64().unwrap();
    assert!((share - 0.1).abs() < 0.001, "{set}");
    rollout(&site, &["go", "web", "--to", "2.0.0"]);
    drop(daemon);

    let _daemon = site.start(&["--detach"]);
    let shown = rollout(&site, &["show", "web"]).stdout;
    assert_says(
        &shown,
        &["1.0.1 waits", "2.0 gets 100.00 %", "canary 10% by command", "go to 2.0.0 by command"],
    );
    assert_says(&site.status(), &["its version waits while 2.0 runs"]);
    for (arguments, error) in [
        (&["go", "shop"][..], "there is no service shop"),
        (
            &["go", "web", "--to", "3"],
            "no backend of web runs 3 or what is compatible with it; there is 1.0.1, 1.0.2, 2.0",
        ),
    ] {
        assert_eq!(rollout(&site, arguments).error_line(), error);
    }
    let unwell = rollout(&site, &["set", "web", "--canary", "5"]);
    assert_says(
        &unwell.stderr,
        &["\"5\" is no share of new flows; expected a share from \"0%\" to \"100%\""],
    );
    assert_says(&rollout(&site, &["set", "web"]).stderr, &["--prefer", "--canary"]);
}
