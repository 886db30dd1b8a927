//! Who gets how much of the new flows: what it is, what cannot be, and what probably is not meant.

use std::time::Duration;

use super::{
    super::{AllDown, Location, MinHealthy, Panic, Prefer, Scope, Sharing},
    messages, parse, replaced,
};

/// A service that says everything.
const SHARED: &str = r#"[balancer]
interfaces = ["eth0"]
location = "eu.ams.dc2.rack7"

[fleet]
seed = "00112233445566778899aabbccddeeff"

[[service]]
name = "web"
address = "203.0.113.10"
port = 80
protocol = "tcp"
forwarding = "ipip"
scope = "region"
prefer = "near"
overprovisioning = 1.25
panic_threshold = "30%"
panic = "none"
all_down = "closed"
min_healthy = 2
slow_start = "30s"

[service.probe]
interval = "2s"

[[service.backend]]
name = "web-1"
address = "198.51.100.11"
location = "eu.ams.dc2"

[[service.backend]]
name = "web-2"
address = "198.51.100.12"
priority = 3
location = "eu.fra.dc1"
"#;

fn with(line: &str, flawed: &str) -> String {
    replaced(SHARED, line, flawed)
}

#[test]
fn everything_is_read() {
    let (config, warnings) = parse(SHARED).unwrap();
    let service = &config.services[0];
    let expected = Sharing {
        scope: Scope::Region,
        prefer: Prefer::Near,
        overprovisioning: 125,
        panic_threshold: 30,
        panic: Panic::None,
        all_down: AllDown::Closed,
        min_healthy: Some(MinHealthy::Backends(2)),
        slow_start: Duration::from_secs(30),
    };
    assert_eq!(service.sharing, expected);
    assert_eq!(config.balancer.location, Location::parse("eu.ams.dc2.rack7"));
    let backends: Vec<_> =
        service.backends.iter().map(|backend| (backend.priority, backend.location.clone())).collect();
    assert_eq!(backends, [(0, Location::parse("eu.ams.dc2")), (3, Location::parse("eu.fra.dc1"))]);
    assert_eq!(warnings, []);
}

#[test]
fn weights_alone_count_where_nothing_is_said() {
    let (config, _) = parse(super::FLAWLESS).unwrap();
    let service = &config.services[0];
    assert_eq!(service.sharing, Sharing::default());
    assert_eq!((service.backends[0].priority, service.backends[0].location.clone()), (0, None));
    assert_eq!((service.sharing.panic_threshold, service.sharing.all_down), (0, AllDown::Open));
}

#[test]
fn service_overrides_the_defaults_key_by_key() {
    let defaults = "[defaults]\nmin_healthy = \"75%\"\nslow_start = \"5s\"\n\n[[service]]";
    let text = with("[[service]]", defaults).replacen("min_healthy = 2\n", "", 1);
    let sharing = parse(&text).unwrap().0.services[0].sharing;
    assert_eq!(sharing.min_healthy, Some(MinHealthy::Percent(75)));
    assert_eq!(sharing.slow_start, Duration::from_secs(30));
}

#[test]
fn defaults_ask_no_service_for_more_backends_than_it_has() {
    for (usual, least) in [(1, 1), (2, 2), (3, 2), (100, 2)] {
        let defaults = format!("[defaults]\nmin_healthy = {usual}\n\n[[service]]");
        let text = with("[[service]]", &defaults).replacen("min_healthy = 2\n", "", 1);
        let sharing = parse(&text).unwrap().0.services[0].sharing;
        assert_eq!(sharing.min_healthy, Some(MinHealthy::Backends(least)), "{usual}");
    }
}

#[test]
fn whole_factor_needs_no_point() {
    let sharing = parse(&with("= 1.25", "= 2")).unwrap().0.services[0].sharing;
    assert_eq!(sharing.overprovisioning, 200);
}

#[test]
fn shares_that_cannot_be_are_refused() {
    let cases = [
        ("a location of nothing", with("\"eu.fra.dc1\"", "\"\"")),
        ("a location with an empty label", with("\"eu.fra.dc1\"", "\"eu..dc1\"")),
        ("a location in capitals", with("eu.ams.dc2.rack7", "EU.ams")),
        ("a location that is a number", with("\"eu.fra.dc1\"", "4")),
        ("a scope that there is not", with("\"region\"", "\"datacenter\"")),
        ("a preference that there is not", with("\"near\"", "\"far\"")),
        ("a factor that takes away", with("= 1.25", "= 0.9")),
        ("a factor that is too large", with("= 1.25", "= 11")),
        ("a factor in quotes", with("= 1.25", "= \"1.25\"")),
        ("a part that is a number", with("\"30%\"", "30")),
        ("a part without its sign", with("\"30%\"", "\"30\"")),
        ("more than all", with("\"30%\"", "\"130%\"")),
        ("a panic that there is not", with("panic = \"none\"", "panic = \"some\"")),
        ("a word for all that are down", with("\"closed\"", "\"shut\"")),
        ("more backends than there are", with("min_healthy = 2", "min_healthy = 3")),
        ("a number in quotes", with("min_healthy = 2", "min_healthy = \"2\"")),
        ("a fraction of backends", with("min_healthy = 2", "min_healthy = 1.5")),
        ("a start that takes too long", with("\"30s\"", "\"2h\"")),
        ("a priority that is too high", with("priority = 3", "priority = 128")),
        ("a scope without a place", with("location = \"eu.ams.dc2.rack7\"\n", "")),
        (
            "a preference without a place",
            with("location = \"eu.ams.dc2.rack7\"\n", "").replace("scope = \"region\"\n", ""),
        ),
        (
            "a place that is too large",
            with("eu.ams.dc2.rack7", "eu.ams").replace("\"region\"", "\"datacentre\""),
        ),
    ];
    let said = messages(&cases, |text| parse(text).expect_err(text).to_string());
    insta::assert_snapshot!(said);
}

#[test]
fn shares_that_are_probably_not_meant_are_warned_of() {
    let cases = [
        ("panic without a threshold", with("panic_threshold = \"30%\"\n", "")),
        ("a backend without a place, in a scope", with("location = \"eu.fra.dc1\"\n", "")),
        (
            "a backend without a place, where near ones are preferred",
            with("location = \"eu.fra.dc1\"\n", "").replace("scope = \"region\"\n", ""),
        ),
        ("nobody in scope", with("eu.ams.dc2.rack7", "us.nyc.dc1")),
    ];
    let said = messages(&cases, |text| {
        let (_, warnings) = parse(text).expect(text);
        assert!(!warnings.is_empty(), "{text}");
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    });
    insta::assert_snapshot!(said);
}
