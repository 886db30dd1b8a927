//! Metrics as a scraper gets them, and the alerts that are made of them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lb_tests::process::output;
use serde_json::Value;

use crate::site::Site;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What the daemon of `site` answers to a GET.
pub(crate) fn get(site: &Site, path: &str, options: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--unix-socket"]).arg(site.socket()).args(options);
    let answer = site.command(curl.arg(format!("http://sluice{path}")));
    assert!(answer.status.success(), "{answer:?}");
    answer.stdout
}

/// The metrics that an exposition has.
fn names(exposition: &str) -> Vec<&str> {
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn exposition_is_as_prometheus_wants_it_and_documented() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let exposition = get(&site, "/stats/prometheus", &[]);

    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics", "--extended"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut promtool = promtool.stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(String::from_utf8_lossy(&checked.stderr), "", "promtool has something to say");

    let documented = fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let names = names(&exposition);
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn scraper_that_reads_openmetrics_gets_it() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let accept = "accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1";
    let answer = get(&site, "/stats/prometheus?backends=false", &["--include", "--header", accept]);
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    assert!(answer.contains("\nsluice_service_generation{service=\"web\"} 1.0\n"), "{answer}");
    assert!(!answer.contains("sluice_backend_"), "backends were not asked for");
}

#[test]
fn rules_are_right_and_each_alert_fires_when_it_should() {
    let mut check = Command::new("promtool");
    output(check.args(["check", "rules"]).arg(repository().join("examples/prometheus/rules.yml"))).unwrap();
    let mut test = Command::new("promtool");
    output(test.args(["test", "rules"]).arg(repository().join("tests/suites/operator/alerts.yml"))).unwrap();
}

#[test]
fn paths_that_envoy_has_tell_of_services_and_backends() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    assert_eq!(get(&site, "/ready", &[]), "LIVE\n");
    assert_eq!(get(&site, "/listeners", &[]), "web::203.0.113.10:80\n");
    let clusters = get(&site, "/clusters", &[]);
    for line in ["web::192.0.2.11:80::hostname::b1", "web::192.0.2.13:80::health_flags::healthy"] {
        assert!(clusters.lines().any(|told| told == line), "no {line} in {clusters}");
    }
    let dump: Value = serde_json::from_str(&get(&site, "/config_dump", &[])).unwrap();
    let (digest, shown) = (dump["digest"].as_str().unwrap(), &dump["configuration"]);
    assert_eq!(digest.len(), 16, "{dump}");
    assert_eq!(shown["service"][0]["backend"][2]["address"], "192.0.2.13", "{dump}");
    assert_eq!(shown["service"][0]["idle_timeout"], "5m", "a default: {dump}");
    assert!(!dump.to_string().contains("000102030405060708090a0b0c0d0e0f"), "the seed is shown: {dump}");
    let stats = get(&site, "/stats?filter=weight", &[]);
    let weight = "sluice_backend_weight{service=\"web\",backend=\"b2\"}: 1.0";
    assert_eq!(stats.lines().count(), 3, "{stats}");
    assert!(stats.lines().any(|line| line == weight), "{stats}");
}
