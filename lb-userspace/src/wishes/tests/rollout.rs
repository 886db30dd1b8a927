//! What commands say of roll-outs, after reloads and restarts.

use super::*;
use crate::config::{Canary, PreferVersion};

/// A service `web` with these keys, and a backend for each version.
fn config(rollout: &str, versions: &[&str]) -> Config {
    let backend = |(number, version): (usize, &&str)| {
        let n = number + 11;
        format!("[[service.backend]]\nname = \"b{n}\"\naddress = \"192.0.2.{n}\"\nversion = \"{version}\"\n")
    };
    let backends: String = versions.iter().enumerate().map(backend).collect();
    let service =
        "name = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\nforwarding = \"l2\"\n";
    let text = format!("[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\n{service}{rollout}\n{backends}");
    Config::parse("sluice.toml", &text).unwrap().0
}

fn canary(text: &str) -> Option<Canary> {
    text.parse().ok()
}

/// What is not mentioned is none, or empty.
fn order(prefer: Option<PreferVersion>, share: &str) -> RolloutOrder {
    RolloutOrder { go: None, prefer, canary: (!share.is_empty()).then(|| canary(share)) }
}

fn go(version: &str) -> RolloutOrder {
    RolloutOrder { go: Some(Go::To(version.parse().unwrap())), ..RolloutOrder::default() }
}

/// What holds of `web`: the preference, the canary, and where the operator has said go to.
fn held(wishes: &Wishes, config: &Config) -> (PreferVersion, Option<Canary>, Option<String>) {
    let rules = wishes.rules_of(&config.services[0]).unwrap();
    (rules.prefer, rules.canary, rules.go.map(ToString::to_string))
}

#[test]
fn preference_and_canary_hold_until_the_file_says_something_else() {
    let file = |prefer: &str, canary: &str| {
        config(&format!("rollout = {{ prefer = \"{prefer}\", canary = \"{canary}\" }}"), &["1.0.1", "1.0.2"])
    };
    let before = file("oldest", "5%");
    let mut wishes = Wishes::default();
    wishes.roll_out(&before, "web", &order(Some(PreferVersion::Newest), "20%")).unwrap();
    assert_eq!(held(&wishes, &before), (PreferVersion::Newest, canary("20%"), None));
    // (the file later, what holds then, whether anything was overruled)
    let table = [
        (file("oldest", "5%"), PreferVersion::Newest, "20%", false),
        (file("weight", "5%"), PreferVersion::Weight, "20%", true),
        (file("newest", "5%"), PreferVersion::Newest, "20%", true),
        (file("oldest", "50%"), PreferVersion::Newest, "50%", true),
        (config("rollout = { prefer = \"oldest\" }", &["1.0.1"]), PreferVersion::Newest, "", true),
    ];
    for (later, prefer, share, is_overruled) in table {
        let mut wishes = wishes.clone();
        let overruled = wishes.follow_rollouts(&later);
        assert_eq!(held(&wishes, &later), (prefer, canary(share), None));
        assert_eq!(!overruled.is_empty(), is_overruled, "{prefer}, {share}");
    }
}

#[test]
fn command_that_says_what_the_file_says_leaves_nothing() {
    let config = config("rollout = { canary = \"5%\" }", &["1.0.1"]);
    let mut wishes = Wishes::default();
    wishes.roll_out(&config, "web", &order(Some(PreferVersion::Oldest), "none")).unwrap();
    assert_eq!(held(&wishes, &config), (PreferVersion::Oldest, None, None));
    wishes.roll_out(&config, "web", &order(Some(PreferVersion::Weight), "")).unwrap();
    assert_eq!(held(&wishes, &config), (PreferVersion::Weight, None, None), "what is not mentioned stays");
    wishes.roll_out(&config, "web", &order(None, "5%")).unwrap();
    assert_eq!(wishes, Wishes::default());
}

#[test]
fn go_holds_while_the_file_has_its_line() {
    let before = config("rollout = {}", &["2.4.2", "2.5.1"]);
    let mut wishes = Wishes::default();
    let newest = RolloutOrder { go: Some(Go::Newest), ..RolloutOrder::default() };
    wishes.roll_out(&before, "web", &newest).unwrap();
    assert_eq!(held(&wishes, &before).2.as_deref(), Some("2.5.1"));
    let patched = config("rollout = {}", &["2.4.2", "2.5.2", "3.0"]);
    assert!(wishes.follow_rollouts(&patched).is_empty());
    assert_eq!(held(&wishes, &patched).2.as_deref(), Some("2.5.1"));
    let gone = config("rollout = {}", &["2.4.2", "3.0"]);
    assert_eq!(wishes.clone().follow_rollouts(&gone), ["web"]);
    let hold = RolloutOrder { go: Some(Go::Hold), ..RolloutOrder::default() };
    wishes.roll_out(&before, "web", &hold).unwrap();
    assert_eq!(wishes, Wishes::default());
}

#[test]
fn roll_outs_that_cannot_be_change_nothing() {
    let with = config("rollout = {}", &["2.5.1", "2.4.2"]);
    let without = config("", &["2.5.1"]);
    let cases = [
        (&with, "shop", go("2.5.1"), "there is no service shop"),
        (
            &with,
            "web",
            go("3.0"),
            "no backend of web runs 3.0 or what is compatible with it; there is 2.4.2, 2.5.1",
        ),
        (
            &without,
            "web",
            go("2.5.1"),
            "service web has no roll-out; say `rollout = { … }` in its table of the file",
        ),
    ];
    for (config, service, order, said) in cases {
        let mut wishes = Wishes::default();
        assert_eq!(wishes.roll_out(config, service, &order).unwrap_err().to_string(), said);
        assert_eq!(wishes, Wishes::default());
    }
}

#[test]
fn roll_outs_are_kept_over_restarts() {
    let config = config("rollout = { prefer = \"oldest\" }", &["1.0.1", "1.0.2"]);
    let mut wishes = Wishes::default();
    let order =
        RolloutOrder { prefer: Some(PreferVersion::Newest), canary: Some(canary("0.5%")), ..go("1.0.2") };
    wishes.roll_out(&config, "web", &order).unwrap();
    let kept = Kept { wishes, ..Kept::default() };
    let text = render(&kept, BOOT);
    assert_eq!(parse(&text, BOOT, LATER).unwrap(), kept);
    let without = render(&Kept::default(), BOOT);
    assert!(!without.contains("rollout"), "a file of before is the same file");
}
