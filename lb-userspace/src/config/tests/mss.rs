//! `mss` of services and of `[defaults]`.

use super::{super::Mss, DNS, FLAWLESS, messages, parse, with};

/// The first service with a line more.
fn saying(line: &str) -> String {
    with("port = 80", &format!("port = 80\n{line}"))
}

#[test]
fn mss_is_a_number_of_bytes_or_left_to_the_way() {
    let cases = [
        ("mss = 536", Some(Mss::Bytes(536))),
        ("mss = 65495", Some(Mss::Bytes(65_495))),
        ("mss = \"auto\"", Some(Mss::Auto)),
        ("", None),
    ];
    for (line, expected) in cases {
        let (config, _) = parse(&saying(line)).expect(line);
        assert_eq!(config.services[0].mss, expected, "{line}");
    }
}

#[test]
fn default_holds_for_tcp_where_the_service_says_nothing_else() {
    let defaults = |text: String| text.replacen("[[service]]", "[defaults]\nmss = 1400\n[[service]]", 1);
    let mss = |text: String, name: &str| {
        let (config, _) = parse(&defaults(text)).expect("a configuration");
        config.services.iter().find(|service| service.name == name).expect("the service").mss
    };
    assert_eq!(mss(saying(""), "web"), Some(Mss::Bytes(1400)));
    assert_eq!(mss(saying("mss = \"auto\""), "web"), Some(Mss::Auto));
    assert_eq!(mss(format!("{FLAWLESS}{DNS}"), "dns"), None);
}

#[test]
fn mss_that_cannot_be_is_refused() {
    let udp = format!("{FLAWLESS}{}", DNS.replacen("[[service]]", "[[service]]\nmss = 1360", 1));
    let cases = [
        ("less than every host takes", saying("mss = 535")),
        ("more than a packet carries", saying("mss = 65496")),
        ("another word", saying("mss = \"clamp\"")),
        ("a number in quotes", saying("mss = \"1360\"")),
        ("a truth", saying("mss = true")),
        ("an MSS of udp", udp),
    ];
    let said = messages(&cases, |text| parse(text).expect_err(text).to_string());
    insta::assert_snapshot!(said);
}
