//! `forwarding = "nat"`: what it needs, and what cannot be.

use super::{
    super::{Forwarding, Nat},
    messages, parse, replaced,
};

/// A service behind NAT.
const NAT: &str = r#"[balancer]
interfaces = ["eth0"]

[balancer.nat]
addresses = ["198.51.100.250", "2001:db8:1::fa"]
ports = "20000-29999"

[fleet]
seed = "00112233445566778899aabbccddeeff"

[[service]]
name = "web"
address = "203.0.113.10"
port = 80
protocol = "tcp"
forwarding = "nat"

[service.probe]
interval = "2s"

[[service.backend]]
name = "web-1"
address = "198.51.100.11"
port = 8080

[[service.backend]]
name = "web-2"
address = "198.51.100.12"
"#;

fn with(line: &str, flawed: &str) -> String {
    replaced(NAT, line, flawed)
}

#[test]
fn addresses_ports_and_modes_are_read() {
    let (config, warnings) = parse(NAT).unwrap();
    let addresses = ["198.51.100.250", "2001:db8:1::fa"].map(|address| address.parse().unwrap());
    assert_eq!(config.balancer.nat, Some(Nat { addresses: addresses.into(), ports: 20_000..=29_999 }));
    let backends = &config.services[0].backends;
    let read: Vec<_> = backends.iter().map(|backend| (backend.forwarding, backend.port)).collect();
    assert_eq!(read, [(Forwarding::Nat, Some(8080)), (Forwarding::Nat, None)]);
    assert_eq!(warnings, []);
    let (config, _) = parse(&with("ports = \"20000-29999\"", "")).unwrap();
    assert_eq!(config.balancer.nat.unwrap().ports, 1024..=65_535);
}

#[test]
fn backend_is_probed_on_its_own_port_unless_the_probe_has_one() {
    let targets = |text: &str| {
        let (config, _) = parse(text).unwrap();
        let service = &config.services[0];
        service
            .backends
            .iter()
            .map(|backend| service.probe_target(backend).unwrap().port())
            .collect::<Vec<_>>()
    };
    assert_eq!(targets(NAT), [8080, 80]);
    assert_eq!(targets(&with("interval = \"2s\"", "port = 9000")), [9000, 9000]);
}

#[test]
fn nat_that_cannot_be_is_refused() {
    let pool = "addresses = [\"198.51.100.250\", \"2001:db8:1::fa\"]";
    let many: Vec<_> = (1..=17).map(|n| format!("\"192.0.2.{n}\"")).collect();
    let cases = [
        (
            "no addresses at all",
            with("[balancer.nat]\n", "").replace(pool, "").replace("ports = \"20000-29999\"\n", ""),
        ),
        ("an empty list", with(pool, "addresses = []")),
        ("no list", with(pool, "")),
        ("none of the family", with(pool, "addresses = [\"2001:db8:1::fa\"]")),
        ("one address twice", with(pool, "addresses = [\"198.51.100.250\", \"198.51.100.250\"]")),
        ("too many", with(pool, &format!("addresses = [{}]", many.join(", ")))),
        ("a VIP", with("\"198.51.100.250\"", "\"203.0.113.10\"")),
        ("a backend", with("\"198.51.100.250\"", "\"198.51.100.12\"")),
        ("a balancer", with("[fleet]", "[fleet]\npeers = [\"198.51.100.250\"]")),
        ("ports the wrong way round", with("20000-29999", "29999-20000")),
        ("port 0", with("20000-29999", "0-29999")),
        ("a single port", with("\"20000-29999\"", "20000")),
        ("another family", with("\"198.51.100.12\"", "\"2001:db8:1::12\"")),
        ("a port of a tunnel's backend", with("port = 8080", "port = 8080\nforwarding = \"ipip\"")),
        ("a port out of range", with("port = 8080", "port = 65536")),
        ("fragments", with("forwarding = \"nat\"", "forwarding = \"nat\"\nfragments = true")),
        ("addresses beyond the limit", format!("{NAT}\n[limits]\nservices = 3\n")),
    ];
    let said = messages(&cases, |text| parse(text).map(|(config, _)| config).expect_err(text).to_string());
    insta::assert_snapshot!(said);
}

#[test]
fn addresses_that_nobody_needs_are_warned_of() {
    let unused = with("forwarding = \"nat\"", "forwarding = \"ipip\"").replace("port = 8080\n", "");
    let said = messages(&[("no backend behind nat", unused)], |text| {
        let (_, warnings) = parse(text).unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    });
    insta::assert_snapshot!(said);
}
