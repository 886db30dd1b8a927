//! Versions, roll-outs and damping: what they become, and what is said of those that cannot be.

use std::time::Duration;

use super::{
    super::{Compatible, Config, Pattern, PreferVersion, Rollout},
    DNS, FLAWLESS, messages, parse, with,
};

/// [`FLAWLESS`] with more keys for its service, and a version for each backend.
fn versioned(keys: &str, versions: [&str; 2]) -> String {
    let text = with("forwarding = \"ipip\"", &format!("forwarding = \"ipip\"\n{keys}"));
    let [one, two] = versions.map(|version| format!("\nversion = {version}"));
    text.replacen("\"web-1\"", &format!("\"web-1\"{one}"), 1).replacen(
        "\"web-2\"",
        &format!("\"web-2\"{two}"),
        1,
    )
}

fn config(text: &str) -> Config {
    parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}")).0
}

fn rollout(table: &str) -> Option<Rollout> {
    config(&versioned(&format!("rollout = {table}"), ["\"1.0.1\"", "\"1.0.2\""])).services[0].rollout.clone()
}

#[test]
fn versions_mean_nothing_without_a_rollout() {
    let text = with("name = \"web-1\"", "name = \"web-1\"\nversion = \"2.5.1\"");
    let service = &config(&text).services[0];
    assert_eq!(service.rollout, None);
    let versions: Vec<_> = service.backends.iter().map(|backend| backend.version.clone()).collect();
    assert_eq!(versions, ["2.5.1".parse().ok(), None]);
}

#[test]
fn rollout_has_its_defaults() {
    let plain = Rollout { compatible: Compatible::Patch, prefer: PreferVersion::Weight, canary: None };
    assert_eq!(rollout("{}"), Some(plain.clone()));
    let said = rollout("{ compatible = \"exact\", prefer = \"oldest\", canary = \"5%\" }");
    let (canary, prefer) = ("5%".parse().ok(), PreferVersion::Oldest);
    assert_eq!(said, Some(Rollout { compatible: Compatible::Exact, prefer, canary }));
    let listed =
        vec![Pattern::Numbers(vec![1, 0]), Pattern::Exactly("1.1.0".parse().expect("it is a version"))];
    let compatible = Compatible::Listed(listed);
    assert_eq!(rollout("{ compatible = [\"1.0.*\", \"1.1.0\"] }"), Some(Rollout { compatible, ..plain }));
}

#[test]
fn flap_is_off_unless_told_otherwise() {
    let flap = |default: &str, own: &str| {
        let text = format!("{FLAWLESS}{DNS}").replacen(
            "[[service]]",
            &format!("[defaults]\n{default}\n[[service]]\n{own}"),
            1,
        );
        let [dns, web] = &config(&text).services[..] else { panic!("two services") };
        [web.flap, dns.flap].map(|flap| flap.map(|flap| (flap.changes, flap.within, flap.hold)))
    };
    let table = "flap = { changes = 6, within = \"5m\", hold = \"10m\" }";
    let read = Some((6, Duration::from_mins(5), Duration::from_mins(10)));
    assert_eq!(flap("", ""), [None, None]);
    assert_eq!(flap("", table), [read, None]);
    assert_eq!(flap(table, ""), [read, read]);
    assert_eq!(flap(table, "flap = \"off\""), [None, read]);
}

#[test]
fn rollouts_and_damping_that_cannot_be_are_refused() {
    let rollout = |table: &str| versioned(&format!("rollout = {table}"), ["\"1.0.1\"", "\"1.0.2\""]);
    let flap = |value: &str| versioned(&format!("flap = {value}"), ["\"1.0.1\"", "\"1.0.2\""]);
    let cases = [
        ("a version that is a word", versioned("", ["\"latest\"", "\"1.0\""])),
        ("a version without quotes", versioned("", ["1.0", "\"1.0\""])),
        ("a roll-out whose backends have no versions", with("port = 80", "port = 80\nrollout = {}")),
        ("a roll-out that is a word", rollout("\"newest\"")),
        ("another key", rollout("{ canaries = \"5%\" }")),
        ("a word of another kind", rollout("{ compatible = \"major\" }")),
        ("versions that are none", rollout("{ compatible = [\"1.0.x\", 2] }")),
        ("no versions", rollout("{ compatible = [] }")),
        ("a preference of nobody", rollout("{ prefer = \"latest\" }")),
        ("a canary without its sign", rollout("{ canary = \"5\" }")),
        ("a canary that is a number", rollout("{ canary = 5 }")),
        ("a canary that is more than all", rollout("{ canary = \"101%\" }")),
        ("damping without its end", flap("{ changes = 6, within = \"5m\" }")),
        ("more changes than are remembered", flap("{ changes = 16, within = \"5m\", hold = \"10m\" }")),
        ("damping that is a word", flap("\"on\"")),
    ];
    let said = messages(&cases, |text| {
        parse(text).map_or_else(|diagnostics| diagnostics.to_string(), |_| panic!("accepted: {text}"))
    });
    insta::assert_snapshot!(said);
}
