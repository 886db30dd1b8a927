//! `[balancer.api]`: what it says, and what would let in anybody.

use super::{
    super::{Api, Certificate, Clients},
    messages, parse, with,
};

fn api(table: &str) -> String {
    with("interfaces = [\"eth0\"]\n", &format!("interfaces = [\"eth0\"]\n\n[balancer.api]\n{table}\n"))
}

#[test]
fn api_is_read_with_everything() {
    let (config, warnings) = parse(&api(
        "listen = \"[2001:db8::1]:9901\"\ntokens = \"/t\"\ncertificate = \"/c\"\nkey = \"/k\"\nclient_ca = \"/ca\"\n\
         operators = [\"ops\"]\nhosts = [\"lb1\"]",
    ))
    .unwrap();
    let expected = Api {
        listen: "[2001:db8::1]:9901".parse().unwrap(),
        tokens: Some("/t".into()),
        certificate: Some(Certificate { chain: "/c".into(), key: "/k".into() }),
        clients: Some(Clients { authority: "/ca".into(), operators: vec!["ops".to_owned()] }),
        hosts: vec!["lb1".to_owned()],
    };
    assert_eq!(config.balancer.api, Some(expected));
    assert_eq!(warnings, []);
}

#[test]
fn loopback_needs_nothing_else() {
    for listen in ["127.0.0.1:9901", "[::1]:9901", "127.1.2.3:80"] {
        assert!(parse(&api(&format!("listen = \"{listen}\""))).is_ok(), "{listen}");
    }
}

#[test]
fn api_that_lets_in_anybody_is_refused() {
    let cases = [
        ("no address", api("tokens = \"/t\"")),
        ("no port", api("listen = \"127.0.0.1\"")),
        ("port 0", api("listen = \"127.0.0.1:0\"")),
        ("nobody asked who he is", api("listen = \"192.0.2.1:9901\"")),
        ("every address", api("listen = \"0.0.0.0:9901\"")),
        ("tokens in clear", api("listen = \"192.0.2.1:9901\"\ntokens = \"/t\"")),
        ("no key", api("listen = \"127.0.0.1:9901\"\ncertificate = \"/c\"")),
        ("no certificate", api("listen = \"127.0.0.1:9901\"\nkey = \"/k\"")),
        ("clients' certificates without TLS", api("listen = \"127.0.0.1:9901\"\nclient_ca = \"/ca\"")),
        ("operators without an authority", api("listen = \"127.0.0.1:9901\"\noperators = [\"ops\"]")),
        ("a name with a space", api("listen = \"127.0.0.1:9901\"\nhosts = [\"lb 1\"]")),
    ];
    let said = messages(&cases, |text| parse(text).map(|(config, _)| config).expect_err(text).to_string());
    insta::assert_snapshot!(said);
}
