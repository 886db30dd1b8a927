//! `sluice plan`, `diff` and `apply`: what is told beforehand is what happens.

use std::process::Command;

use lb_tests::process::output;
use serde_json::Value;

use crate::site::{Answer, Site, assert_says, changed};

/// A command about a file with this text, for programs.
fn ask(site: &Site, command: &[&str], text: &str) -> Answer {
    let file = site.write("candidate.toml", text);
    let socket = site.socket();
    let (file, socket) = (file.to_str().unwrap(), socket.to_str().unwrap());
    let (command, options) = command.split_first().unwrap();
    site.sluice(&[&[*command, file, "--socket", socket, "--output", "json"], options].concat())
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn dump(site: &Site, map: &str) -> Vec<Value> {
    let mut bpftool = Command::new("bpftool");
    let dump = output(bpftool.args(["map", "dump", "pinned"]).arg(site.pins.path().join(map))).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&dump).unwrap();
    entries.into_iter().map(|mut entry| entry["value"].take()).collect()
}

/// The address that each slot of the first service sends new flows to, as the kernel's maps have it.
fn owners(site: &Site) -> Vec<Value> {
    let service = &dump(site, "services")[0];
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let (base, length) = (number(&service["table"]["base"]), number(&service["table"]["length"]));
    let first = number(&service["first_backend"]);
    let backends = dump(site, "backends");
    let lines = dump(site, "arena");
    let slots = lines.iter().flat_map(|line| line["slots"].as_array().unwrap());
    let owner = |slot: &Value| {
        let current = number(slot) & 0xffff;
        backends[first + current]["address"]["octets"].clone()
    };
    slots.skip(base).take(length).map(owner).collect()
}

/// Slots that have another owner.
fn moved(before: &[Value], after: &[Value]) -> u64 {
    before.iter().zip(after).filter(|(before, after)| before != after).count() as u64
}

/// Applies `text` and holds what really moves against its plan.
fn apply_as_planned(site: &Site, what: &str, text: &str) {
    let plan = ask(site, &["plan"], text);
    assert_eq!(plan.status.code(), Some(2), "{what}: {plan:?}");
    let plan = json(&plan);
    let before = owners(site);
    let applied = ask(site, &["apply", "--digest", plan["digest"].as_str().unwrap()], text);
    assert_eq!(applied.status.code(), Some(0), "{what}: {applied:?}");
    let (outcome, told) = (json(&applied), &plan["services"][0]);
    assert_eq!(outcome["tables"][0]["digest"], told["digest_after"], "{what}: {outcome:#}");

    let really = moved(&before, &owners(site));
    assert!(really > 0, "{what} moves nothing");
    assert_eq!(told["moved_slots"], really, "{what}: {told:#}");
    assert_eq!(ask(site, &["plan"], text).status.code(), Some(0), "{what} is done");
}

#[test]
fn what_a_plan_tells_is_what_moves() {
    let site = Site::with_backends(&[1, 2, 3, 4]);
    let fourth = site.config.rfind("\n[[service.backend]]").unwrap();
    let (three, four) = (site.config[..fourth].to_owned(), site.config.clone());
    site.write("sluice.toml", &three);
    let _daemon = site.start(&[]);

    apply_as_planned(&site, "one more backend", &four);
    let weighed = changed(&four, "192.0.2.11\"", "192.0.2.11\"\nweight = 3");
    apply_as_planned(&site, "a weight", &weighed);
    let drained = changed(&weighed, "192.0.2.12\"", "192.0.2.12\"\nadmin = \"drain\"");
    apply_as_planned(&site, "a drain", &drained);
    assert_eq!(site.status_json()["services"][0]["tables"]["last_change"]["collateral_slots"], 0);
    let kept = changed(&drained, "admin = \"drain\"", "admin = \"maintenance\"");
    let other = ask(&site, &["plan"], &kept);
    assert_eq!((other.status.code(), &json(&other)["totals"]["moved_slots"]), (Some(2), &Value::from(0)));
    apply_as_planned(&site, "one less backend", &changed(&three, "192.0.2.11\"", "192.0.2.11\"\nweight = 3"));
    apply_as_planned(&site, "another weight", &three);
    assert_eq!(std::fs::read_to_string(site.config_path()).unwrap(), three);
}

#[test]
fn the_counters_of_what_moved_are_those_of_the_plan() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let drained = changed(&site.config, "192.0.2.12\"", "192.0.2.12\"\nadmin = \"drain\"");
    let plan = json(&ask(&site, &["plan"], &drained));
    assert_eq!(ask(&site, &["apply", "--yes"], &drained).status.code(), Some(0));
    let change = &site.status_json()["services"][0]["tables"]["last_change"];
    let told = &plan["services"][0];
    let both = |key: &str| (change[key].clone(), told[key].clone());
    for key in ["moved_slots", "collateral_slots"] {
        let (is, told) = both(key);
        assert_eq!(is, told, "{key}: {change:#}");
    }
}

#[test]
fn plan_that_is_not_true_any_more_is_refused_and_nothing_changes() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let weighed = changed(&site.config, "192.0.2.11\"", "192.0.2.11\"\nweight = 3");
    let plan = json(&ask(&site, &["plan"], &weighed));
    let socket = site.socket();
    let drained = site.sluice(&["drain", "web/b3", "--socket", socket.to_str().unwrap()]);
    assert!(drained.status.success(), "{drained:?}");
    let before = owners(&site);
    let refused = ask(&site, &["apply", "--digest", plan["digest"].as_str().unwrap()], &weighed);
    assert_says(&refused.error_line(), &["is not what was shown any more", "sluice plan"]);
    assert_eq!((moved(&before, &owners(&site)), site.backend("b1")["weight"].clone()), (0, 1.into()));
    assert_eq!(std::fs::read_to_string(site.config_path()).unwrap(), site.config);
}

#[test]
fn what_cannot_be_is_told_before_anything_changes() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let cases = [
        ("slots = 20000", "slots = 30000", "[limits] cannot change while sluice runs"),
        ("slots = 4099", "slots = 65537", "20000 is too few"),
        ("interfaces = [\"eth0\"]", "interfaces = [\"eth7\"]", "there is no interface \"eth7\""),
        ("name = \"b1\"", "nane = \"b1\"", "nane"),
    ];
    for (from, to, said) in cases {
        let text = changed(&site.config, from, to);
        let plan = ask(&site, &["plan"], &text);
        assert_eq!(plan.status.code(), Some(1), "{to}: {plan:?}");
        assert_says(&(plan.stdout + &plan.stderr).replace("\\\"", "\""), &[said]);
        let applied = ask(&site, &["apply", "--yes"], &text);
        assert_eq!(applied.status.code(), Some(1), "{to}: {applied:?}");
        assert_says(&applied.stderr, &[said]);
    }
    assert_eq!(std::fs::read_to_string(site.config_path()).unwrap(), site.config);
}

#[test]
fn diff_names_every_key_with_both_values() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let same = ask(&site, &["diff"], &site.config);
    assert_eq!((same.status.code(), json(&same)), (Some(0), Value::Array(Vec::new())));
    let text = changed(&site.config, "192.0.2.11\"", "192.0.2.11\"\nweight = 3");
    let diff = ask(&site, &["diff"], &text);
    assert_eq!(diff.status.code(), Some(2), "{diff:?}");
    let expected = serde_json::json!([{"key": "service.web.backend.b1.weight", "before": "1", "after": "3"}]);
    assert_eq!(json(&diff), expected);
}

#[test]
fn apply_asks_where_there_is_nobody_to_ask() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let text = changed(&site.config, "192.0.2.11\"", "192.0.2.11\"\nweight = 3");
    let refused = ask(&site, &["apply"], &text);
    assert_says(&refused.error_line(), &["--yes"]);
    let applied = ask(&site, &["apply", "--yes"], &text);
    let before = json(&applied)["before"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&before).unwrap(), site.config, "what was there before");
    let back = site.sluice(&["apply", &before, "--yes", "--socket", site.socket().to_str().unwrap()]);
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    assert_says(&back.stdout, &["~ service web", "as planned", "the way back"]);
    assert_eq!(site.backend("b1")["weight"], 1);
}
