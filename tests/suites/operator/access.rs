//! Who may do what over TCP, and what is written down of it.

use std::{fs, path::PathBuf};

use lb_tests::process::wait_until;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    authority::Authority,
    curl::{Reply, TCP, curl, kernel},
    site::{DEADLINE, Site, assert_says},
};

/// SHA-256 of `sesame` and of `peep`.
const OPERATOR: &str = "deploy operator d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272\n";
const READER: &str = "graph read-only b9ae0309808fc250ffbd19b787091d947774ffe2a98348642f474c69bff01315\n";

const WEB: &str = "/v1/services/web";
const ADMIN: &str = "/v1/services/web/backends/b1/admin";
const DRAIN: [&str; 2] = ["--data", r#"{"state": "drain"}"#];

/// A site whose API listens over TCP, with a table of the configuration's own.
fn site(table: &str) -> Site {
    let mut site = Site::new();
    let audit = audit_path(&site);
    let listen = TCP.trim_start_matches("http://");
    let api = format!(
        "\naudit_path = \"{}\"\n\n[balancer.api]\nlisten = \"{listen}\"\n{table}\n[fleet]\n",
        audit.display()
    );
    site.change("\n[fleet]\n", &api);
    site
}

fn audit_path(site: &Site) -> PathBuf {
    site.config_path().with_file_name("audit.log")
}

fn with_tokens() -> Site {
    let site = site("");
    let path = site.write("tokens", &format!("{OPERATOR}{READER}"));
    let mut site = site;
    site.change("[balancer.api]\n", &format!("[balancer.api]\ntokens = \"{}\"\n", path.display()));
    site
}

/// The lines of the audit log.
fn audit(site: &Site) -> Vec<Value> {
    let text = fs::read_to_string(audit_path(site)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn tcp(site: &Site, path: &str, arguments: &[&str]) -> Reply {
    curl(site, &[&[format!("{TCP}{path}").as_str()], arguments].concat())
}

fn token(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn without_the_right_token_nothing_changes() {
    let site = with_tokens();
    let daemon = site.start(&["--detach"]);
    let before = (site.digest(), kernel(&site), site.backend("b1")["admin"].clone());
    let (wrong, reader) = (token("guess"), token("peep"));
    for (header, status, told) in [
        ("X-Nothing: at all", 401, "without saying who he is"),
        (&wrong, 401, "nobody has this token"),
        ("Authorization: Basic c2VzYW1l", 401, "no bearer token"),
        (&reader, 403, "token graph may only read"),
    ] {
        let refused = tcp(&site, ADMIN, &[&DRAIN[..], &["-H", header]].concat()).expect(status);
        assert_says(refused["error"].as_str().unwrap(), &[told]);
        assert!(refused["remedy"].is_string(), "{refused}");
    }
    assert_eq!(before, (site.digest(), kernel(&site), site.backend("b1")["admin"].clone()));

    tcp(&site, "/v1/status", &[]).expect(401);
    tcp(&site, "/v1/status", &["-H", &wrong]).expect(401);
    let status = tcp(&site, "/v1/status", &["-H", &reader]).expect(200);
    assert_eq!(status["services"][0]["name"], "web");

    let obeyed = tcp(&site, ADMIN, &[&DRAIN[..], &["-H", &token("sesame")]].concat()).expect(200);
    assert_eq!(obeyed["admin"], "drain");
    let lines = audit(&site);
    let told: Vec<_> =
        lines.iter().map(|line| (line["who"].as_str().unwrap(), line["status"].as_u64().unwrap())).collect();
    let expected = [
        ("nobody", 401),
        ("nobody", 401),
        ("nobody", 401),
        ("token graph", 403),
        ("nobody", 401),
        ("nobody", 401),
        ("token deploy", 200),
    ];
    assert_eq!(told, expected);
    let last = &lines[6];
    assert_eq!((&last["method"], &last["path"]), (&json!("POST"), &json!(ADMIN)));
    assert_eq!(last["body"], r#"{"state":"drain"}"#);
    assert!(last["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{last}");
    assert_says(&daemon.process.log(), &["admin API: done", "who=\"token deploy\"", "admin API: refused"]);
    for secret in ["guess", "peep", "sesame"] {
        assert!(!daemon.process.log().contains(secret), "{secret} is in the log");
    }
}

#[test]
fn secrets_are_for_operators_and_in_no_log() {
    let site = with_tokens();
    let daemon = site.start(&["--detach"]);
    let header = |secret: &str| format!(r#"{{"authorization": "Bearer {secret}"}}"#);
    let probe = |headers: &str| {
        format!(r#"{{"probe": {{"type": "http", "path": "/", "headers": {headers}, "interval": "1h"}}}}"#)
    };
    let patch = |body: &str| crate::curl::ask(&site, WEB, &["--request", "PATCH", "--data", body]);
    patch(&probe(&header("topsecret"))).expect(200);
    let refused = patch(&probe(&header("topsecret\\u0001 of all"))).expect(400);
    assert_says(refused["error"].as_str().unwrap(), &["topsecret"]);
    patch(&probe(&format!("{}, ", header("topsecret")))).expect(400);

    let read = |path: &str, who: &str| tcp(&site, path, &["-H", &token(who)]).expect(200).to_string();
    for path in [WEB, "/v1/services", "/v1/changes"] {
        let (told, shown) = (read(path, "sesame"), read(path, "peep"));
        assert!(told.contains("Bearer topsecret") && !shown.contains("topsecret"), "{path}: {shown}");
        assert_says(&shown, &[r#""authorization":"(secret)""#]);
    }
    let lines = audit(&site);
    assert_says(lines[0]["body"].as_str().unwrap(), &[r#""headers":{"authorization":"(secret)"}"#]);
    assert_eq!(lines[1]["error"], "probe.headers.authorization");
    assert_says(lines[2]["body"].as_str().unwrap(), &["neither JSON nor TOML"]);
    assert_eq!(lines.len(), 3);
    let (log, file) = (daemon.process.log(), fs::read_to_string(audit_path(&site)).unwrap());
    assert!(!log.contains("topsecret") && !file.contains("topsecret"), "{log}\n{file}");
}

#[test]
fn socket_is_an_operators_and_says_which_user() {
    let site = site("");
    let _daemon = site.start(&["--detach"]);
    crate::curl::ask(&site, ADMIN, &DRAIN).expect(200);
    let lines = audit(&site);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["who"], "uid 0");
    assert_says(lines[0]["from"].as_str().unwrap(), &["socket, pid "]);
}

#[test]
fn loopback_without_tokens_is_for_reading() {
    let site = site("");
    let _daemon = site.start(&["--detach"]);
    tcp(&site, "/v1/status", &[]).expect(200);
    tcp(&site, "/openapi.json", &[]).expect(200);
    tcp(&site, ADMIN, &DRAIN).expect(403);
    assert_eq!(site.backend("b1")["admin"], "ready");
}

#[test]
fn web_page_of_others_gets_nothing_and_changes_nothing() {
    let site = with_tokens();
    let _daemon = site.start(&["--detach"]);
    let sesame = token("sesame");
    let with =
        |header: &str, more: &[&str]| tcp(&site, ADMIN, &[&["-H", &sesame, "-H", header], more].concat());
    with("Host: evil.example", &DRAIN).expect(421);
    with("Origin: https://evil.example", &DRAIN).expect(403);
    tcp(&site, "/v1/status", &["-H", &sesame, "-H", "Host: evil.example:9901"]).expect(421);
    assert_eq!(site.backend("b1")["admin"], "ready");
    with(&format!("Origin: {TCP}"), &DRAIN).expect(200);
}

#[test]
fn body_without_end_is_not_taken() {
    let site = with_tokens();
    let _daemon = site.start(&["--detach"]);
    let huge = site.write("huge", &" ".repeat(5 << 20));
    let data = format!("@{}", huge.display());
    // What is left of it is not even read, so that curl may see the connection end first.
    let reply = tcp(&site, ADMIN, &["-H", &token("sesame"), "--data-binary", &data]);
    assert!([0, 413].contains(&reply.status), "{reply:?}");
    let lines = audit(&site);
    assert_eq!((&lines[0]["status"], &lines[0]["body"]), (&json!(413), &Value::Null));
}

#[test]
fn certificate_says_who_it_is_and_what_he_may() {
    let mut site = site("");
    let authority = Authority::new();
    let own = authority.issue("lb1.example.net");
    let table = format!(
        "[balancer.api]\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\noperators = [\"deploy\"]\nhosts = \
         [\"lb1.example.net\"]\n",
        own.chain(),
        own.key(),
        authority.path()
    );
    site.change("[balancer.api]\n", &table);
    let _daemon = site.start(&["--detach"]);
    let tls = |path: &str, arguments: &[&str]| {
        let url = format!("https://lb1.example.net:9901{path}");
        let resolve = "lb1.example.net:9901:127.0.0.1";
        curl(&site, &[&[&url, "--resolve", resolve, "--cacert", authority.path()], arguments].concat())
    };
    let before = kernel(&site);
    let (reader, stranger) = (authority.issue("graph"), Authority::new().issue("deploy"));
    assert_eq!(tls("/v1/status", &[]).status, 0, "nobody gets in without a certificate");
    assert_eq!(tls("/v1/status", &stranger.curl()).status, 0, "nor with one of another authority");
    tls("/v1/status", &reader.curl()).expect(200);
    let refused = tls(ADMIN, &[&reader.curl()[..], &DRAIN].concat()).expect(403);
    assert_eq!(refused["error"], "certificate graph may only read");
    assert_eq!(kernel(&site), before);
    tls(ADMIN, &[&authority.issue("deploy").curl()[..], &DRAIN].concat()).expect(200);
    let who: Vec<_> = audit(&site).iter().map(|line| line["who"].clone()).collect();
    assert_eq!(who, ["certificate graph", "certificate deploy"]);
}

#[test]
fn reload_follows_tokens_and_address_and_refuses_what_it_cannot_have() {
    let site = with_tokens();
    let daemon = site.start(&["--detach"]);
    let says = |text: &str| {
        let said = || daemon.process.log().contains(text);
        wait_until(DEADLINE, &format!("the daemon to say {text:?}"), said).unwrap();
    };
    let status = |port: u16, secret: &str| {
        let url = format!("http://127.0.0.1:{port}/v1/status");
        curl(&site, &[&url, "-H", &token(secret)]).status
    };
    assert_eq!(status(9901, "sesame"), 200);
    site.write("tokens", "ali admin 00\n");
    daemon.process.signal(Signal::HUP).unwrap();
    says("tokens: line 1: \"admin\" is no role");
    assert_eq!(status(9901, "sesame"), 200, "what was served goes on");

    site.write("tokens", READER);
    daemon.process.signal(Signal::HUP).unwrap();
    let revoked = || status(9901, "sesame") == 401;
    wait_until(DEADLINE, "the token to be nobody's", revoked).unwrap();
    assert_eq!(status(9901, "peep"), 200);

    let text = crate::site::changed(&site.config, "127.0.0.1:9901", "127.0.0.1:9902");
    site.write("sluice.toml", &text);
    wait_until(DEADLINE, "the other port", || status(9902, "peep") == 200).unwrap();
    assert_eq!(status(9901, "peep"), 0, "the former port is closed");

    let text = crate::site::changed(&site.config, "127.0.0.1:9901", "192.0.2.200:9901");
    site.write("sluice.toml", &text);
    says("192.0.2.200 is no loopback address");
    let text = crate::site::changed(&site.config, "127.0.0.1:9901", "127.0.0.1:9903");
    site.write("sluice.toml", &text.replace("/tokens\"", "/nowhere\""));
    says("balancer.api.tokens: cannot read");
    assert_eq!(status(9902, "peep"), 200);
}

#[test]
fn listener_moves_to_all_addresses_of_its_port_and_back_or_stays() {
    let mut site = site("");
    let authority = Authority::new();
    let own = authority.issue("lb1.example.net");
    let tokens = site.write("tokens", READER);
    let table = format!(
        "[balancer.api]\ncertificate = \"{}\"\nkey = \"{}\"\ntokens = \"{}\"\nhosts = [\"lb1.example.net\"]\n",
        own.chain(),
        own.key(),
        tokens.display(),
    );
    site.change("[balancer.api]\n", &table);
    let daemon = site.start(&["--detach"]);
    let status = |address: &str| {
        let resolve = format!("lb1.example.net:9901:{address}");
        let url = "https://lb1.example.net:9901/v1/status";
        let with = ["--resolve", &resolve, "--cacert", authority.path(), "-H", &token("peep")];
        curl(&site, &[&[url], &with[..]].concat()).status
    };
    let listen = |address: &str| {
        site.write("sluice.toml", &crate::site::changed(&site.config, "127.0.0.1:9901", address));
    };
    assert_eq!((status("127.0.0.1"), status("192.0.2.1")), (200, 0));
    listen("0.0.0.0:9901");
    wait_until(DEADLINE, "the other address", || status("192.0.2.1") == 200).unwrap();
    assert_eq!(status("127.0.0.1"), 200);
    listen("127.0.0.1:9901");
    wait_until(DEADLINE, "the other address to be closed", || status("192.0.2.1") == 0).unwrap();
    assert_eq!(status("127.0.0.1"), 200);

    let _other = site.host.netns.run(|| std::net::TcpListener::bind("192.0.2.1:9902").unwrap()).unwrap();
    listen("0.0.0.0:9902");
    let told =
        "configuration not reloaded (file changed), the running one stays: cannot listen on 0.0.0.0:9902";
    wait_until(DEADLINE, "a refusal", || daemon.process.log().contains(told)).unwrap();
    assert_eq!(status("127.0.0.1"), 200);
}

#[test]
fn tokens_that_others_may_read_are_refused() {
    let site = with_tokens();
    let tokens = site.config_path().with_file_name("tokens");
    fs::set_permissions(&tokens, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_says(&site.refusal(), &["balancer.api.tokens: others may read", "`chmod o-r` it"]);
}
