//! `sluice check`.

use crate::site::{Answer, Site, assert_says, changed};

#[test]
fn good_file_is_summed_up_and_ok() {
    let site = Site::new();
    let answer = check(&site, &site.config);
    assert!(answer.status.success(), "{answer:?}");
    assert_says(&answer.stdout, &["web", "203.0.113.10", "services: 1, backends: 3, slots: 4099"]);
    assert_eq!(answer.stdout.lines().last(), Some("ok"));
    assert_eq!(answer.stderr, "");
}

#[test]
fn mistake_is_told_with_file_line_column_key_value_and_remedy() {
    let site = Site::new();
    let answer = check(&site, &changed(&site.config, "slots = 4099", "slots = 4100"));
    assert_eq!((answer.status.code(), answer.stdout.as_str()), (Some(1), ""), "{answer:?}");
    let line = 1 + site.config.lines().position(|line| line == "slots = 4099").unwrap();
    let place = format!("tried.toml:{line}:9");
    assert_says(&answer.stderr, &["error: service[0].slots: 4100 is not a prime", &place, "4111"]);
}

#[test]
fn programs_are_told_the_same_by_fields() {
    let site = Site::new();
    let ask = |text: &str| {
        let file = site.write("tried.toml", text);
        let answer = site.sluice(&["check", file.to_str().unwrap(), "--output", "json"]);
        (answer.status.code(), serde_json::from_str::<serde_json::Value>(&answer.stdout).unwrap())
    };
    let (code, told) = ask(&site.config);
    assert_eq!((code, &told["ok"], &told["services"][0]["slots"]), (Some(0), &true.into(), &4099.into()));
    let (code, told) = ask(&changed(&site.config, "slots = 4099", "slots = 4100"));
    assert_eq!((code, &told["ok"]), (Some(1), &false.into()), "{told}");
    let mut complaints = told["complaints"].as_array().unwrap().iter();
    let complaint = complaints.find(|complaint| complaint["key"] == "service[0].slots").unwrap();
    assert_eq!(complaint["severity"], "error", "{told}");
    assert_eq!(complaint["column"], 9, "{told}");
}

#[test]
fn misspelt_key_is_told_with_the_right_one() {
    let site = Site::new();
    let answer = check(&site, &changed(&site.config, "protocol =", "protcol ="));
    assert_eq!(answer.status.code(), Some(1));
    assert_says(&answer.stderr, &["unknown key `protcol`", "did you mean `protocol`?"]);
}

#[test]
fn two_mistakes_are_both_told() {
    let site = Site::new();
    let text = changed(&site.config, "203.0.113.10", "203.0.113.256");
    let answer = check(&site, &changed(&text, "192.0.2.12", "127.0.0.1"));
    assert_eq!(answer.status.code(), Some(1));
    assert_says(&answer.stderr, &["service[0].address", "203.0.113.256"]);
    assert_says(&answer.stderr, &["service[0].backend[1].address", "127.0.0.1"]);
}

#[test]
fn tunnel_that_leaves_less_than_clients_send_is_warned_of() {
    let site = Site::new();
    let answer = check(&site, &changed(&site.config, "forwarding = \"l2\"", "forwarding = \"ipip\""));
    assert!(answer.status.success(), "{answer:?}");
    assert_says(&answer.stderr, &["warning: service `web`, by interfaces of 1500 bytes", "1480", "advmss"]);
}

#[test]
fn backend_to_translate_to_that_is_this_host_is_warned_of() {
    let site = Site::new();
    let text = changed(&site.config, "forwarding = \"l2\"", "forwarding = \"nat\"");
    let text = changed(&text, "[fleet]", "[balancer.nat]\naddresses = [\"192.0.2.250\"]\n\n[fleet]");
    let answer = check(&site, &text);
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(answer.stderr, "");
    let answer = check(&site, &changed(&text, "\"192.0.2.12\"", "\"192.0.2.1\"\nport = 8080"));
    assert!(answer.status.success(), "{answer:?}");
    let said = [
        "warning: service `web`, backend `b2`: 192.0.2.1 is an address of this host",
        "`port = 8080` is not heeded",
        "sluice backend up --no-decap --vip 203.0.113.10",
    ];
    assert_says(&answer.stderr, &said);
}

#[test]
fn file_that_is_not_there_is_named() {
    let answer = Site::new().sluice(&["check", "/nonexistent/sluice.toml"]);
    assert_eq!(answer.status.code(), Some(1));
    assert_says(&answer.stderr, &["/nonexistent/sluice.toml", "cannot be read: No such file or directory"]);
}

fn check(site: &Site, text: &str) -> Answer {
    site.sluice(&["check", site.write("tried.toml", text).to_str().unwrap()])
}
