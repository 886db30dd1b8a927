//! What commands that speak to no daemon print for programs.

use serde_json::{Value, json};

use crate::site::Site;

fn ask(site: &Site, arguments: &[&str]) -> Value {
    let answer = site.sluice(&[arguments, &["--output", "json"]].concat());
    assert!(answer.status.success(), "{answer:?}");
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn detaching_tells_from_where() {
    let site = Site::new();
    site.start(&[]).terminate().unwrap();
    let detached = ask(&site, &["detach", "--pin-path", site.pins.path().to_str().unwrap()]);
    assert_eq!(detached, json!({ "interfaces": ["eth0"] }));
}

#[test]
fn backend_is_told_before_and_after() {
    let site = Site::new();
    let (pins, state) = (site.pins.path().join("backend"), site.write("backend.json", ""));
    std::fs::remove_file(&state).unwrap();
    let paths = ["--pin-path", pins.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let backend = |action: &[&str]| ask(&site, &[&["backend"], action, &paths].concat());
    let up = backend(&["up", "--interface", "eth0", "--vip", "203.0.113.10", "--no-decap"]);
    assert_eq!((&up["backend"]["vips"], &up["undone"]), (&json!(["203.0.113.10"]), &Value::Null), "{up:#}");
    let show = backend(&["show"]);
    assert_eq!((&show["backend"], &show["problems"]), (&up["backend"], &json!([])), "{show:#}");
    let down = backend(&["down"]);
    assert_eq!((&down["backend"], &down["undone"]), (&Value::Null, &up["backend"]), "{down:#}");
    assert_eq!(backend(&["show"])["backend"], Value::Null);
}
