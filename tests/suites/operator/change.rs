//! Services and backends that are changed at run time, over the file.

use std::{fs, os::unix::fs::MetadataExt as _};

use lb_tests::{balancer::Daemon, process::wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    curl::{Reply, ask, kernel},
    site::{DEADLINE, Site, assert_says, changed},
};

const WEB: &str = "/v1/services/web";
const B1: &str = "/v1/services/web/backends/b1";
const B3: &str = "/v1/services/web/backends/b3";

fn send(site: &Site, method: &str, path: &str, body: &Value) -> Reply {
    ask(site, path, &["--request", method, "--data", &body.to_string()])
}

fn delete(site: &Site, path: &str) -> Reply {
    ask(site, path, &["--request", "DELETE"])
}

fn says(daemon: &Daemon<'_>, text: &str) {
    let said = || daemon.process.log().contains(text);
    wait_until(DEADLINE, &format!("the daemon to say {text:?}"), said).unwrap();
}

fn weight(site: &Site, backend: &str) -> Value {
    site.backend(backend)["weight"].clone()
}

#[test]
fn bad_body_and_stale_version_change_nothing() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let before = (site.digest(), kernel(&site));
    let version = ask(&site, B1, &[]).etag.unwrap();
    for (method, path, body, status, told) in [
        ("PUT", B1, "{", 400, "EOF"),
        ("PUT", B1, "[]", 400, "expected a map"),
        ("PUT", B1, r#"{"address": "192.0.2.11", "weight": 70000}"#, 400, "weight: 70000 is out of range"),
        ("PUT", B1, r#"{"address": "192.0.2.11", "weight": null}"#, 400, "null"),
        ("PUT", B1, r#"{"adress": "192.0.2.11"}"#, 400, "adress: unknown key `adress`"),
        ("PUT", B1, r#"{"name": "b2", "address": "192.0.2.11"}"#, 400, "is not b1"),
        ("PUT", B1, r#"{"address": "192.0.2.12"}"#, 400, "192.0.2.12 is used twice"),
        ("PATCH", B1, r#"{"weight": "much"}"#, 400, "weight: \"much\" is a string"),
        ("PATCH", B1, "5", 400, "expected a map"),
        ("PATCH", "/v1/services/web/backends/b9", "{}", 404, "has no backend b9"),
        ("DELETE", "/v1/services/mail", "", 404, "no service mail"),
        ("PUT", "/v1/services/mail/backends/m1", "{}", 404, "no service mail"),
        ("PUT", "/v1/services/mail", r#"{"port": 25}"#, 400, "missing key `address`"),
        (
            "PUT",
            "/v1/services/web/backends/b9?ttl=1ms",
            r#"{"address": "192.0.2.19"}"#,
            400,
            "no time for a lease",
        ),
        ("PATCH", WEB, r#"{"port": "much"}"#, 400, "port: "),
        ("PATCH", WEB, r#"{"probe": {"rise": 0}}"#, 400, "probe.rise: 0 is out of range"),
        ("PATCH", WEB, r#"{"address": null}"#, 400, "missing key `address`"),
        ("PATCH", WEB, r#"{"name": "www"}"#, 400, "is not web"),
        ("PATCH", WEB, r#"{"backend": [{"weight": 2}]}"#, 400, "backend[0] has no name"),
        ("PATCH", WEB, "[]", 400, "expected a map"),
        ("PATCH", "/v1/services/mail", "{}", 404, "no service mail"),
        ("PATCH", "/v1/services/web/backends/b1?dryrun=true", "{}", 400, "unknown field `dryrun`"),
        ("PATCH", "/v1/services/web/backends/b1?dry_run=maybe", "{}", 400, "dry_run"),
        ("PATCH", "/v1/services/%FF", "{}", 400, "UTF-8"),
        ("POST", B1, "{}", 405, "is not there to POST"),
    ] {
        let refused = ask(&site, path, &["--request", method, "--data", body]).expect(status);
        assert_says(refused["error"].as_str().unwrap_or_default(), &[told]);
    }
    let stale =
        ["--request", "PATCH", "--data", r#"{"weight": 5}"#, "--header", "If-Match: \"0123456789abcdef\""];
    assert_says(ask(&site, B1, &stale).expect(412)["error"].as_str().unwrap(), &[version.trim_matches('"')]);
    assert_eq!((site.digest(), kernel(&site)), before);
    assert_eq!(ask(&site, "/v1/changes", &[]).expect(200)["changes"], json!([]));

    let current = format!("If-Match: {version}");
    let good = ["--request", "PATCH", "--data", r#"{"weight": 5}"#, "--header", &current];
    let reply = ask(&site, B1, &good);
    let next = reply.etag.clone().unwrap();
    assert_eq!(reply.expect(200)["version"], next.trim_matches('"'));
    assert_ne!((site.digest(), &next), (before.0, &version));
    ask(&site, B1, &good).expect(412);
}

#[test]
fn backend_is_added_weighed_and_removed_and_leaves_as_from_the_file() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    site.host.netns.ip("neighbour add 192.0.2.14 lladdr 02:00:00:00:00:14 dev eth0 nud permanent").unwrap();
    let path = "/v1/services/web/backends/b4";
    let digest = site.digest();
    let preview =
        send(&site, "PUT", &format!("{path}?dry_run=true"), &json!({"address": "192.0.2.14"})).expect(200);
    assert_eq!(preview["preview"]["totals"]["added"], 1, "{preview}");
    assert_eq!(
        (site.digest(), site.backend("b4")),
        (digest.clone(), Value::Null),
        "a dry run changes nothing"
    );

    send(&site, "PUT", path, &json!({"address": "192.0.2.14", "weight": 2})).expect(200);
    assert_eq!((&site.backend("b4")["admin"], weight(&site, "b4")), (&json!("ready"), json!(2)));
    let told = site.sluice(&["weight", "b4", "3", "--socket", site.socket().to_str().unwrap()]);
    assert_eq!(told.stdout, "web/b4 has weight 3\n", "{told:?}");
    assert_eq!(
        ask(&site, path, &[]).expect(200),
        json!({"name": "b4", "address": "192.0.2.14", "weight": 3})
    );
    delete(&site, path).expect(200);
    let left = || {
        let backend = site.backend("b4");
        backend.is_null() || backend["admin"] == "leaving"
    };
    assert!(left(), "{}", site.backend("b4"));
    assert_eq!(site.digest(), digest, "the table is what it was");
    ask(&site, path, &[]).expect(404);
}

#[test]
fn service_is_patched_on_condition_and_its_backends_stay() {
    let site = Site::new();
    let mut daemon = site.start(&[]);
    let patch = |condition: &str, path: &str, body: &Value| {
        let body = body.to_string();
        ask(&site, path, &["--request", "PATCH", "--data", &body, "--header", condition])
    };
    let nothing = ask(&site, WEB, &[]);
    let (version, before) = (nothing.etag.clone().unwrap(), nothing.expect(200));
    let (current, kernel_before) = (format!("If-Match: {version}"), kernel(&site));
    let longer = json!({"idle_timeout": "7m", "probe": {"interval": "3s"}});
    patch("If-Match: \"0123456789abcdef\"", WEB, &longer).expect(412);
    patch("If-None-Match: *", WEB, &longer).expect(412);
    patch("If-Match: *", "/v1/services/mail", &longer).expect(404);
    let dry = patch(&current, &format!("{WEB}?dry_run=true"), &longer).expect(200);
    assert_eq!(dry["preview"]["services"][0]["settings"][0]["key"], "idle_timeout", "{dry}");
    assert_eq!((ask(&site, WEB, &[]).expect(200), kernel(&site)), (before.clone(), kernel_before));

    patch(&current, WEB, &longer).expect(200);
    patch(&current, WEB, &longer).expect(412);
    let after = ask(&site, WEB, &[]).expect(200);
    assert_eq!(
        (&after["idle_timeout"], &after["probe"]),
        (&json!("7m"), &json!({"type": "none", "interval": "3s"}))
    );
    assert_eq!(after["backend"], before["backend"]);
    daemon.process.signal(Signal::KILL).unwrap();
    daemon.process.wait(DEADLINE).unwrap();
    drop(daemon);

    let _daemon = site.start(&["--detach"]);
    assert_eq!(ask(&site, WEB, &[]).expect(200), after, "after a restart");
    patch("If-Match: *", WEB, &json!({"idle_timeout": null, "probe": {"interval": null}})).expect(200);
    assert_eq!(ask(&site, "/v1/changes", &[]).expect(200)["changes"], json!([]), "as the file has it");
    patch("If-Match: *", WEB, &json!({"backend": [{"name": "b2", "address": "192.0.2.12", "weight": 3}]}))
        .expect(200);
    assert_eq!((weight(&site, "b2"), &site.backend("b1")["admin"]), (json!(3), &json!("leaving")));
}

#[test]
fn new_backend_is_put_only_where_there_is_none() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let put = |condition: &str, path: &str| {
        ask(
            &site,
            path,
            &["--request", "PUT", "--data", r#"{"address": "192.0.2.19"}"#, "--header", condition],
        )
    };
    let b9 = "/v1/services/web/backends/b9";
    assert_says(
        put("If-None-Match: *", B1).expect(412)["error"].as_str().unwrap(),
        &["there is one already"],
    );
    assert_says(put("If-Match: *", b9).expect(412)["error"].as_str().unwrap(), &["there is no such thing"]);
    ask(&site, b9, &[]).expect(404);
    put("If-None-Match: *", b9).expect(200);
    put("If-None-Match: *", b9).expect(412);
    put("If-Match: *", b9).expect(200);
}

#[test]
fn service_is_added_and_removed() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let service = json!({
        "address": "203.0.113.20", "port": 25, "protocol": "tcp", "forwarding": "l2", "slots": 4099,
        "probe": {"type": "none"}, "backend": [{"name": "m1", "address": "192.0.2.11"}],
    });
    send(&site, "PUT", "/v1/services/mail", &service).expect(200);
    let table = site.sluice(&["backends", "mail", "--socket", site.socket().to_str().unwrap()]).stdout;
    assert_says(&table, &["mail/m1", "192.0.2.11"]);
    let services = ask(&site, "/v1/services", &[]).expect(200);
    assert_eq!(services["services"].as_array().unwrap().len(), 2);
    delete(&site, "/v1/services/mail").expect(200);
    let list =
        site.sluice(&["services", "--output", "json", "--socket", site.socket().to_str().unwrap()]).stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn changes_outlive_the_daemon() {
    let site = Site::new();
    let mut daemon = site.start(&[]);
    send(&site, "PATCH", B1, &json!({"weight": 5})).expect(200);
    delete(&site, B3).expect(200);
    let (digest, changes) = (site.digest(), ask(&site, "/v1/changes", &[]).expect(200));
    daemon.process.signal(Signal::KILL).unwrap();
    daemon.process.wait(DEADLINE).unwrap();
    drop(daemon);
    let later = site.start(&["--detach"]);
    assert_eq!((site.digest(), ask(&site, "/v1/changes", &[]).expect(200)), (digest, changes));
    assert!(!later.process.log().contains("table published"), "there is nothing to change");
}

#[test]
fn file_wins_where_it_has_changed_since_and_that_is_said() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    send(&site, "PATCH", B1, &json!({"weight": 5})).expect(200);
    send(&site, "PATCH", B3, &json!({"weight": 7})).expect(200);
    site.write("sluice.toml", &changed(&site.config, "192.0.2.11\"", "192.0.2.11\"\nweight = 2"));
    says(&daemon, "the file says something else now name=\"web/b1\"");
    wait_until(DEADLINE, "the file's weight", || weight(&site, "b1") == 2).unwrap();
    assert_eq!(weight(&site, "b3"), 7, "of which the file has said nothing new");
    let changes = ask(&site, "/v1/changes", &[]).expect(200)["changes"].take();
    assert_eq!(changes.as_array().unwrap().len(), 1);
    assert_eq!((&changes[0]["backend"], &changes[0]["is"]["weight"]), (&json!("b3"), &json!(7)));
}

#[test]
fn changes_that_do_not_go_with_the_file_any_more_are_put_aside_at_a_start() {
    let mut site = Site::new();
    let mut daemon = site.start(&["--detach"]);
    send(&site, "PUT", "/v1/services/web/backends/b4", &json!({"address": "192.0.2.14"})).expect(200);
    daemon.terminate().unwrap();
    drop(daemon);
    site.change("192.0.2.13", "192.0.2.14");
    let daemon = site.start(&["--detach"]);
    assert_says(&daemon.process.log(), &["does not go with the file any more", "state.changes.rejected"]);
    assert_eq!(site.backend("b4"), Value::Null);
}

#[test]
fn lease_is_renewed_outlives_a_restart_and_lapses_by_drain() {
    let site = Site::new();
    let mut daemon = site.start(&[]);
    site.host.netns.ip("neighbour add 192.0.2.14 lladdr 02:00:00:00:00:14 dev eth0 nud permanent").unwrap();
    let put = |ttl: &str| {
        let path = format!("/v1/services/web/backends/b4?ttl={ttl}");
        send(&site, "PUT", &path, &json!({"address": "192.0.2.14"})).expect(200)["version"].take()
    };
    let left = || ask(&site, "/v1/changes", &[]).expect(200)["changes"][0]["lease_left"].as_f64().unwrap();
    let digest = site.digest();
    let version = put("10m");
    assert_eq!(site.backend("b4")["admin"], "ready");
    assert!((500.0..=600.0).contains(&left()));
    assert_eq!(put("20m"), version, "said again, nothing is another but when it lapses");
    assert!(left() > 1000.0);
    let kept = || fs::metadata(site.state_path().with_extension("changes")).unwrap().ino();
    let (file, before) = (kept(), left());
    wait_until(DEADLINE, "some of the time to be over", || left() < before).unwrap();
    put("20m");
    assert!(left() >= before - 0.5, "it is renewed");
    assert_eq!(kept(), file, "and the file was not replaced for that");
    assert_eq!(leases(&site), "held 1, registered 1, renewed 2, lapsed 0");
    daemon.process.signal(Signal::KILL).unwrap();
    daemon.process.wait(DEADLINE).unwrap();
    drop(daemon);

    let daemon = site.start(&["--detach"]);
    assert_eq!(site.backend("b4")["admin"], "ready");
    assert!((900.0..=1200.0).contains(&left()), "it goes on");
    assert_eq!(leases(&site), "held 1, registered 0, renewed 0, lapsed 0");
    put("1s");
    says(&daemon, "the lease of the backend has lapsed service=\"web\" backend=\"b4\"");
    wait_until(DEADLINE, "the table of before", || site.digest() == digest).unwrap();
    let backend = site.backend("b4");
    assert!(backend.is_null() || backend["admin"] == "leaving", "{backend}");
    assert_eq!(
        fs::read_to_string(site.state_path().with_extension("changes")).unwrap().matches("b4").count(),
        0
    );
    assert_eq!(leases(&site), "held 0, registered 0, renewed 1, lapsed 1");
}

/// What the metrics tell of the leases of `web`.
fn leases(site: &Site) -> String {
    let metrics = ask(site, "/stats?filter=_leases", &[]).expect(200);
    let value = |name: &str| {
        let name = format!("sluice_service_{name}{{service=\"web\"}}: ");
        let line =
            metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim_end_matches(".0").to_owned()
    };
    let [held, registered, renewed, lapsed] =
        ["leases", "registered_leases_total", "renewed_leases_total", "lapsed_leases_total"].map(value);
    format!("held {held}, registered {registered}, renewed {renewed}, lapsed {lapsed}")
}
