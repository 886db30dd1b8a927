//! `sluice doctor`: it finds what is wrong, all of it and nothing else, and its remedies cure that.

use std::{net::TcpListener, process::Command};

use lb_tests::bpf::{self, PassProgram};
use serde_json::Value;

use crate::site::Site;

/// The problems that it finds, with their remedies. Hints are about this kernel too, and are not asked for.
fn problems(site: &Site, arguments: &[&str]) -> Vec<(String, String)> {
    let answer = site.sluice(&[&["doctor", "--output", "json"], arguments].concat());
    let report: Value =
        serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let findings = report["findings"].as_array().unwrap().iter();
    // What is for somebody to decide has no remedy.
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let problems: Vec<_> = findings
        .filter(|finding| finding["severity"] == "problem")
        .map(|finding| (text(&finding["found"]), text(&finding["remedy"])))
        .collect();
    assert_eq!(answer.status.code(), Some(i32::from(!problems.is_empty())), "{answer:?}");
    problems
}

/// Runs every remedy as it is printed.
fn cure(site: &Site, problems: &[(String, String)]) {
    for (found, remedy) in problems {
        let cured = site.command(Command::new("sh").args(["-c", remedy]));
        assert!(cured.status.success(), "{found}: {remedy}: {cured:?}");
    }
}

#[test]
fn five_things_that_are_wrong_with_a_backend_are_found_and_cured() {
    let site = Site::new();
    let netns = &site.host.netns;
    for (key, value) in [("all/arp_ignore", "0"), ("all/arp_announce", "0"), ("eth0/rp_filter", "1")] {
        netns.set_sysctl(&format!("ipv4/conf/{key}"), value).unwrap();
    }
    netns.ip("address add 203.0.113.10/24 dev lo").unwrap();
    let backend =
        ["--backend", "203.0.113.10", "--backend", "203.0.113.20", "--interface", "eth0", "--no-decap"];
    let found = problems(&site, &backend);
    let told: Vec<_> = found.iter().map(|(found, _)| found.as_str()).collect();
    assert_eq!(told.len(), 5, "{told:#?}");
    for part in [
        "prefix of 24 bits",
        "203.0.113.20 is not there",
        "answers ARP",
        "asks by ARP",
        "strict reverse path",
    ] {
        assert_eq!(told.iter().filter(|told| told.contains(part)).count(), 1, "{part} in {told:#?}");
    }
    cure(&site, &found);
    assert_eq!(problems(&site, &backend), []);
}

#[test]
fn what_keeps_a_balancer_from_balancing_is_found_and_cured() {
    let site = Site::new();
    let netns = &site.host.netns;
    let config = site.config_path();
    let balancer = ["--config", config.to_str().unwrap()];
    let [(other_end, _)] = problems(&site, &balancer).try_into().unwrap();
    assert!(other_end.contains("this end of the pair never arrives"), "{other_end}");
    let pass = PassProgram::load(&bpf::object().unwrap()).unwrap();
    pass.attach(netns, "peer0").unwrap();
    assert_eq!(problems(&site, &balancer), []);
    netns.ip("address add 203.0.113.10/32 dev eth0").unwrap();
    pass.attach(netns, "eth0").unwrap();
    netns.ip("link set eth0 down").unwrap();
    let found = problems(&site, &balancer);
    let told: Vec<_> = found.iter().map(|(found, _)| found.as_str()).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    for part in ["it is down", "XDP program of somebody else", "VIP 203.0.113.10 is an address of this host"]
    {
        assert_eq!(told.iter().filter(|told| told.contains(part)).count(), 1, "{part} in {told:#?}");
    }
    cure(&site, &found);
    assert_eq!(problems(&site, &balancer), []);
    let _daemon = site.start(&["--detach"]);
    assert_eq!(problems(&site, &balancer), [], "its own program is no problem");
}

#[test]
fn server_that_does_not_listen_at_the_vip_is_told() {
    let site = Site::new();
    let netns = &site.host.netns;
    netns.ip("address add 203.0.113.10/32 dev lo").unwrap();
    for (key, value) in [("all/arp_ignore", "1"), ("all/arp_announce", "2")] {
        netns.set_sysctl(&format!("ipv4/conf/{key}"), value).unwrap();
    }
    let backend = ["--backend", "203.0.113.10", "--interface", "eth0", "--no-decap", "--port", "80"];
    let told = |found: Vec<(String, String)>| found.into_iter().map(|(found, _)| found).collect::<Vec<_>>();
    let nobody = "nothing listens at the VIP 203.0.113.10, port 80/tcp";
    assert_eq!(told(problems(&site, &backend)), [nobody]);
    let elsewhere = netns.run(|| TcpListener::bind("192.0.2.1:80")).unwrap().unwrap();
    assert_eq!(told(problems(&site, &backend)), [format!("{nobody}, but at 192.0.2.1 alone")]);
    drop(elsewhere);
    let _at_vip = netns.run(|| TcpListener::bind("203.0.113.10:80")).unwrap().unwrap();
    assert_eq!(problems(&site, &backend), []);
}
