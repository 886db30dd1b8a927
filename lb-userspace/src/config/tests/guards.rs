//! Lists, rates and limits: what they become, and what is said of those that cannot be.

use std::{fs, time::Duration};

use lb_common::{
    cookie::ALWAYS,
    guard::{OnFull, Rate, Rule},
    service::Track,
};

use super::{super::Config, DNS, FLAWLESS, messages, parse, with};

/// [`FLAWLESS`] with a guard, and with more at the end.
fn guarded(guard: &str, more: &str) -> String {
    with("[service.probe]", &format!("[service.guard]\n{guard}\n\n[service.probe]")) + more
}

fn config(text: &str) -> Config {
    parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}")).0
}

const OFFICES: &str = "\n[[list]]\nname = \"offices\"\nprefixes = [\"192.0.2.0/24\", \"2001:db8::1\"]\n";

#[test]
fn nothing_but_malformed_packets_is_turned_away_unasked() {
    let guard = &config(FLAWLESS).services[0].guard;
    assert!(guard.drops_malformed);
    assert!(guard.rules.is_none() && !guard.has_rates());
}

#[test]
fn service_overrides_the_guards_of_all_key_by_key() {
    let defaults = "[defaults.guard]\nmalformed = \"forward\"\nmax_new = 5\n";
    let text = guarded("max_new = { rate = 10, burst = 30 }", &format!("{OFFICES}{DNS}"));
    let config = config(&text.replacen("[[service]]", &format!("{defaults}[[service]]"), 1));
    let [dns, web] = &config.services[..] else { panic!("two services") };
    assert_eq!((dns.guard.max_new, web.guard.max_new), (Some(Rate::new(5, 5)), Some(Rate::new(10, 30))));
    assert!(!dns.guard.drops_malformed && !web.guard.drops_malformed);
}

#[test]
fn source_is_an_address_or_a_network_of_64_bits_unless_told_otherwise() {
    let source = |text: &str| {
        let config = config(&guarded(&format!("max_new_per_source = {text}"), ""));
        let rate = config.services[0].guard.max_new_per_source.expect("there is one");
        (rate.rate, rate.ipv4, rate.ipv6)
    };
    assert_eq!(source("7"), (Rate::new(7, 7), 32, 64));
    assert_eq!(source("{ rate = 7 }"), (Rate::new(7, 7), 32, 64));
    assert_eq!(source("{ rate = 7, burst = 1, ipv4 = 24, ipv6 = 56 }"), (Rate::new(7, 1), 24, 56));
}

#[test]
fn backend_with_a_limit_has_its_flows_remembered() {
    let limited = with("name = \"web-1\"", "name = \"web-1\"\nmax_connections = 10\nmax_new_per_sec = 3");
    let service = &config(&limited).services[0];
    assert_eq!((service.track, service.on_full), (Track::Always, OnFull::Next));
    assert_eq!(service.idle_timeout, Duration::from_mins(5));
    assert_eq!(service.backends[0].limits.max_connections, Some(10));
    assert!(!service.backends[1].limits.is_some());
}

#[test]
fn lists_come_from_the_file_and_from_files_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    let list = "# networks\n\n 10.0.0.0/8 ; a comment\n2001:db8:bad::/48\r\n198.51.100.7";
    fs::write(directory.path().join("bad.txt"), list).unwrap();
    let both = "\n[[list]]\nname = \"bad\"\nfile = \"bad.txt\"\nprefixes = [\"203.0.113.0/24\"]\n";
    fs::write(&path, guarded("allow = [\"offices\"]\ndeny = [\"bad\"]", &format!("{OFFICES}{both}")))
        .unwrap();
    let (config, _) = Config::load(&path).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let lengths: Vec<_> = config.lists.iter().map(|list| (&*list.name, list.prefixes.len())).collect();
    assert_eq!(lengths, [("bad", 4), ("offices", 2)]);
    let rules = config.services[0].guard.rules.as_ref().expect("lists are named");
    let count = |rule| rules.entries().iter().filter(|(_, found)| *found == rule).count();
    assert_eq!([Rule::Pass, Rule::Denied, Rule::NotAllowed].map(count), [2, 4, 1]);
}

#[test]
fn services_with_the_same_lists_share_their_rules() {
    let defaults = "[defaults.guard]\ndeny = [\"offices\"]\n";
    let text = format!("{FLAWLESS}{DNS}{OFFICES}");
    let config = config(&text.replacen("[[service]]", &format!("{defaults}[[service]]"), 1));
    let rules: Vec<_> = config.services.iter().filter_map(|service| service.guard.rules.as_ref()).collect();
    assert!(std::sync::Arc::ptr_eq(rules[0], rules[1]));
}

/// [`FLAWLESS`] with backends that are reached by `nat`.
fn translated(guard: &str) -> String {
    let text =
        guarded(guard, "").replace("[fleet]", "[balancer.nat]\naddresses = [\"198.51.100.250\"]\n\n[fleet]");
    text.replace("\"ipip\"", "\"nat\"").replace("2001:db8:1::12", "198.51.100.12")
}

#[test]
fn cookies_are_sent_above_a_rate_or_always() {
    let cookies =
        |text: &str| config(&translated(&format!("syn_cookies = {text}"))).services[0].guard.syn_cookies;
    assert_eq!(cookies("{ above = 1000 }"), Some(Rate::new(1000, 1000)));
    assert_eq!(cookies("\"always\""), Some(ALWAYS));
    assert_eq!(cookies("\"off\""), None);
}

#[test]
fn cookies_of_all_are_those_of_services_that_can_send_them() {
    let defaults = "[defaults.guard]\nsyn_cookies = \"always\"\n";
    let of = |text: &str| {
        let config =
            config(&(text.to_owned() + DNS).replacen("[[service]]", &format!("{defaults}[[service]]"), 1));
        config.services.iter().map(|service| service.guard.syn_cookies).collect::<Vec<_>>()
    };
    assert_eq!(of(&translated("")), [None, Some(ALWAYS)]);
    assert_eq!(of(&translated("syn_cookies = \"off\"")), [None, None]);
    assert_eq!(of(FLAWLESS), [None, None]);
}

fn refusals(cases: &[(&str, String)]) -> String {
    messages(cases, |text| parse(text).map(|(config, _)| config).expect_err(text).to_string())
}

#[test]
fn guards_that_cannot_be_are_refused() {
    let limited = |more: &str| with("name = \"web-1\"", &format!("name = \"web-1\"\n{more}"));
    let said = refusals(&[
        ("a list that there is not", guarded("deny = [\"ofices\"]", OFFICES)),
        ("a list without quotes around its brackets", guarded("deny = \"offices\"", OFFICES)),
        ("no list at all", guarded("allow = []", OFFICES)),
        ("a list twice", format!("{FLAWLESS}{OFFICES}{OFFICES}")),
        ("a list of nothing", format!("{FLAWLESS}\n[[list]]\nname = \"offices\"\n")),
        (
            "prefixes that are none",
            format!(
                "{FLAWLESS}\n[[list]]\nname = \"x\"\nprefixes = [\"10.0.0.1/8\", \"example\", \"::ffff:192.0.2.1\"]\n"
            ),
        ),
        ("a word for what becomes of malformed packets", guarded("malformed = \"dorp\"", "")),
        ("rates that are none", guarded("max_new = 0\nmax_new_per_source = \"10/s\"", "")),
        ("a burst without a rate", guarded("max_new = { burst = 3 }", "")),
        ("a source that is too long", guarded("max_new_per_source = { rate = 1, ipv4 = 33 }", "")),
        ("cookies that are none", translated("syn_cookies = \"sometimes\"")),
        ("cookies above no rate", translated("syn_cookies = {}")),
        ("cookies by a number alone", translated("syn_cookies = 1000")),
        ("cookies where backends answer directly", guarded("syn_cookies = \"always\"", "")),
        (
            "cookies of a service without SYNs",
            format!(
                "{FLAWLESS}{}",
                DNS.replace(
                    "[service.probe]",
                    "[service.guard]\nsyn_cookies = \"always\"\n\n[service.probe]"
                )
            ),
        ),
        ("prefix lengths for a whole service", guarded("max_new = { rate = 1, ipv4 = 24 }", "")),
        ("limits out of range", limited("max_connections = 0\nmax_new_per_sec = -1")),
        (
            "limits where not all flows are remembered",
            limited("max_connections = 5").replace("port = 80", "port = 80\ntrack = \"moved\""),
        ),
        (
            "rates of udp flows that cannot be told",
            format!(
                "{FLAWLESS}{}",
                DNS.replace(
                    "[service.probe]",
                    "track = \"moved\"\n[service.guard]\nmax_new = 5\n\n[service.probe]"
                )
            ),
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn mistakes_in_the_file_of_a_list_are_told_with_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    let lists =
        "\n[[list]]\nname = \"bad\"\nfile = \"bad.txt\"\n\n[[list]]\nname = \"gone\"\nfile = \"gone.txt\"\n";
    fs::write(&path, format!("{FLAWLESS}{lists}")).unwrap();
    let wrong = "10.0.0.0/8\n10.0.0.1/8 # host bits\n\nexample.com\n".to_owned() + &"x\n".repeat(20);
    fs::write(directory.path().join("bad.txt"), wrong).unwrap();
    let said = Config::load(&path).expect_err("both lists are wrong").to_string();
    insta::assert_snapshot!(said.replace(&directory.path().display().to_string(), "DIRECTORY"));
}
