//! Commands that ask a daemon over TCP.

use crate::{
    authority::Authority,
    site::{Answer, Site, assert_says},
};

/// SHA-256 of `sesame` and of `peep`.
const TOKENS: &str = "deploy operator d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272\n\
                      graph read-only b9ae0309808fc250ffbd19b787091d947774ffe2a98348642f474c69bff01315\n";

const URL: &str = "https://localhost:9901";

/// A site that takes tokens and certificates.
fn site(authority: &Authority) -> Site {
    let mut site = Site::new();
    let (own, tokens) = (authority.issue("localhost"), site.write("tokens", TOKENS));
    let api = format!(
        "\n[balancer.api]\nlisten = \"127.0.0.1:9901\"\ntokens = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \
         \"{}\"\noperators = [\"deploy\"]\n\n[fleet]\n",
        tokens.display(),
        own.chain(),
        own.key(),
        authority.path()
    );
    site.change("\n[fleet]\n", &api);
    site
}

fn told(answer: &Answer) -> &str {
    assert!(answer.status.success(), "{answer:?}");
    &answer.stdout
}

#[test]
fn commands_reach_a_daemon_over_tcp_by_token_or_certificate() {
    let authority = Authority::new();
    let site = site(&authority);
    let _daemon = site.start(&["--detach"]);
    let (operator, reader) = (site.write("sesame", "sesame\n"), site.write("peep", "peep\n"));
    let ask = |command: &[&str], shown: &[&str]| {
        site.sluice(&[command, &["--api", URL, "--cacert", authority.path()], shown].concat())
    };
    let operator = ["--token-file", operator.to_str().unwrap()];
    let reader = ["--token-file", reader.to_str().unwrap()];
    assert_says(told(&ask(&["services"], &reader)), &["web", "203.0.113.10", "3 of 3"]);
    let frame = ask(&["top", "--once", "--interval", "100ms", "--size", "80x24"], &reader);
    assert_says(told(&frame), &["203.0.113.10:80/tcp", "backends of web"]);
    let refused = ask(&["weight", "web/b1", "5"], &reader).error_line();
    assert_says(&refused, &["web/b1: ", "token graph may only read"]);
    assert_eq!(site.backend("b1")["weight"], 1);
    assert_says(told(&ask(&["weight", "web/b1", "5"], &operator)), &["web/b1 has weight 5"]);
    assert_eq!(site.backend("b1")["weight"], 5);

    let deploy = authority.issue("deploy");
    let certificate = ["--cert", deploy.chain(), "--key", deploy.key()];
    assert_says(told(&ask(&["drain", "web/b1"], &certificate)), &["web/b1 drains by command"]);
}

#[test]
fn what_keeps_a_command_from_a_daemon_is_told_with_its_remedy() {
    let authority = Authority::new();
    let site = site(&authority);
    let _daemon = site.start(&["--detach"]);
    let status = |options: &[&str]| site.sluice(&[&["status"], options].concat());
    assert_says(
        &status(&["--api", URL, "--cacert", authority.path()]).error_line(),
        &["without saying who he is"],
    );
    let stranger = status(&["--api", URL, "--cacert", Authority::new().path()]).error_line();
    assert_says(&stranger, &[URL, "--cacert names who has signed its certificate"]);
    let nobody = status(&["--api", "http://127.0.0.1:9902"]).error_line();
    assert_says(&nobody, &["no sluice answers at http://127.0.0.1:9902", "balancer.api"]);
    let missing =
        status(&["--api", URL, "--cacert", authority.path(), "--token-file", "/nowhere"]).error_line();
    assert_says(&missing, &["cannot read /nowhere"]);
    for (options, says) in [
        (&["--token-file", "token"][..], "--api <URL>"),
        (&["--api", URL, "--socket", "/run/other"], "cannot be used with"),
        (&["--api", "lb1:9901"], "such as https://"),
    ] {
        let answer = status(options);
        assert_eq!(answer.status.code(), Some(2), "{answer:?}");
        assert_says(&answer.stderr, &[says]);
    }
}
