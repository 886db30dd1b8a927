//! `protocol = "quic"`: what it is, and what cannot be.

use std::time::Duration;

use lb_common::{quic::ServerId, service::Track};

use super::{
    super::{Protocol, Quic},
    FLAWLESS, messages, parse, replaced,
};

/// A service that routes by connection ids.
const QUIC: &str = r#"[balancer]
interfaces = ["eth0"]

[fleet]
seed = "00112233445566778899aabbccddeeff"

[[service]]
name = "web"
address = "203.0.113.10"
port = 443
protocol = "quic"
forwarding = "ipip"

[service.probe]
port = 443

[service.quic]
server_id_length = 2
config_id = 3

[[service.backend]]
name = "web-1"
address = "198.51.100.11"
server_id = "0a1b"

[[service.backend]]
name = "web-2"
address = "198.51.100.12"
server_id = "0A1C"
"#;

fn with(line: &str, flawed: &str) -> String {
    replaced(QUIC, line, flawed)
}

#[test]
fn connection_ids_name_backends() {
    let (config, warnings) = parse(QUIC).unwrap();
    let service = &config.services[0];
    assert_eq!((service.protocol, service.protocol.number()), (Protocol::Quic, 17));
    assert_eq!(service.quic, Some(Quic { config_id: 3, server_id_length: 2 }));
    assert_eq!((service.track, service.idle_timeout), (Track::Moved, Duration::from_mins(1)));
    let ids: Vec<_> = service.backends.iter().map(|backend| backend.server_id).collect();
    assert_eq!(ids, [ServerId::new(&[0x0a, 0x1b]), ServerId::new(&[0x0a, 0x1c])]);
    assert_eq!(warnings, []);
}

#[test]
fn config_is_the_first_where_nothing_is_said() {
    let (config, _) = parse(&with("config_id = 3\n", "")).unwrap();
    assert_eq!(config.services[0].quic.map(|quic| quic.config_id), Some(0));
}

#[test]
fn connection_ids_that_cannot_be_are_refused() {
    let tcp = |text: &str| text.replace("\"quic\"", "\"tcp\"");
    let table = "[service.quic]\nserver_id_length = 2\nconfig_id = 3\n";
    let cases = [
        ("no length", with("server_id_length = 2\n", "")),
        ("a length of nothing", with("length = 2", "length = 0")),
        ("a length that is too long", with("length = 2", "length = 16")),
        ("the config that is not routed", with("config_id = 3", "config_id = 7")),
        ("a backend without id", with("server_id = \"0a1b\"\n", "")),
        ("an id that is too short", with("0a1b", "0a")),
        ("half a byte", with("0a1b", "0a1")),
        ("an id with a prefix", with("0a1b", "0x0a1b")),
        ("an id that is a number", with("\"0a1b\"", "2587")),
        ("an id that is used twice", with("0a1b", "0a1c")),
        ("connection ids of tcp", tcp(QUIC)),
        ("server ids of tcp", tcp(&with(table, ""))),
        ("server ids without their form", with(table, "")),
        ("a reset", with("port = 443\nprotocol", "on_down = \"reset\"\nport = 443\nprotocol")),
        (
            "quic beside udp",
            format!(
                "{QUIC}{}",
                stretch("[[service]]").replace("\"web\"", "\"dns\"").replace("\"quic\"", "\"udp\"")
            ),
        ),
        ("a probe without port", with("[service.probe]\nport = 443\n", "[service.probe]\n")),
    ];
    let said = messages(&cases, |text| parse(text).expect_err(text).to_string());
    insta::assert_snapshot!(said);
}

/// The service of [`QUIC`] up to its connection ids.
fn stretch(from: &str) -> String {
    let (_, rest) = QUIC.split_once(from).unwrap();
    format!("{from}{}", rest.split_once("[service.quic]").unwrap().0)
}

#[test]
fn quic_that_reads_no_connection_ids_is_warned_of() {
    let text = FLAWLESS.replace("\"tcp\"", "\"quic\"").replace("interval = \"2s\"", "port = 443");
    let warnings: Vec<_> = parse(&text).unwrap().1.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"));
}
