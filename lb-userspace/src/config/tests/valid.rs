//! What whole files become: defaults, inheritance, order.

use std::{sync::Arc, time::Duration};

use lb_common::{backend::OldFlows, maglev::DEFAULT_LENGTH, service::Track};

use super::{
    super::{
        Backend, Check, Config, DEFAULT_SEED, Forwarding, HttpVersion, OnDeadline, OnRemove, Passive, Probe,
        TlsCheck, Trust, UdpCheck, Via, XdpMode,
    },
    DNS, FLAWLESS, parse, with,
};

fn config(text: &str) -> Config {
    match parse(text) {
        Ok((config, _)) => config,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = config(FLAWLESS);
    let service = &config.services[0];
    assert_eq!(config.balancer.mode, XdpMode::Auto);
    assert_eq!(config.balancer.socket.to_str(), Some("/run/sluice/sluice.sock"));
    assert_eq!(config.balancer.pin_path.to_str(), Some("/sys/fs/bpf/sluice"));
    assert_eq!(config.balancer.state_path.to_str(), Some("/var/lib/sluice/state.json"));
    assert_eq!(config.balancer.next_program, None);
    assert_eq!((service.slots, service.track), (DEFAULT_LENGTH, Track::Moved));
    assert_eq!((service.idle_timeout, service.down_grace), (Duration::from_mins(5), Duration::from_secs(30)));
    assert_eq!(
        service.probe,
        Some(Probe {
            interval: Duration::from_secs(2),
            fast_interval: Duration::from_secs(2),
            jitter: Duration::from_millis(125),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            grace: Duration::ZERO,
            concurrency: u32::MAX,
            port: 80,
            follows_backend: true,
            via: Via::Path,
            check: Arc::new(Check::Tcp),
        })
    );
}

#[test]
fn probes_take_the_way_of_packets_where_they_can() {
    let via = |keys: &str, defaults: &str| {
        let text =
            with("interval = \"2s\"", keys).replacen("[[service]]", &format!("{defaults}[[service]]"), 1);
        config(&text).services[0].probe.as_ref().expect("probed").via
    };
    let defaults = |via: &str| format!("[defaults.probe]\nvia = \"{via}\"\n");
    assert_eq!(via("rise = 2", ""), Via::Path);
    assert_eq!(via("rise = 2", &defaults("direct")), Via::Direct);
    assert_eq!(via("via = \"path\"", &defaults("direct")), Via::Path);
    assert_eq!(via("type = \"icmp\"", ""), Via::Direct);
    assert_eq!(via("type = \"icmp\"", &defaults("path")), Via::Direct, "[defaults] mean those that can");
    assert_eq!(via("type = \"icmp\"\nvia = \"direct\"", ""), Via::Direct);
}

#[test]
fn passive_remembers_every_connection() {
    let service = |text: &str| config(text).services[0].clone();
    assert_eq!(service(FLAWLESS).passive, None);
    let plain = service(&with("port = 80", "port = 80\npassive = {}"));
    assert_eq!((plain.passive, plain.track), (Some(Passive::default()), Track::Always));
    let said = service(&with(
        "port = 80",
        "port = 80\npassive = { share = \"30%\", connections = 5, window = \"5s\", hold = \"1m\" }",
    ));
    let expected =
        Passive { share: 30, connections: 5, window: Duration::from_secs(5), hold: Duration::from_mins(1) };
    assert_eq!(said.passive, Some(expected));
}

#[test]
fn next_program_is_where_the_file_says() {
    let config = config(&with("[\"eth0\"]", "[\"eth0\"]\nnext_program = \"/sys/fs/bpf/firewall\""));
    assert_eq!(config.balancer.next_program.as_deref(), Some("/sys/fs/bpf/firewall".as_ref()));
}

#[test]
fn ends_of_flows_have_their_defaults() {
    let service = &config(FLAWLESS).services[0];
    assert_eq!((service.on_down, service.on_deadline), (OldFlows::Move, OnDeadline::Move));
    assert_eq!((service.on_remove, service.drain_deadline), (OnRemove::Drain, None));
}

#[test]
fn affinity_counts_the_bits_of_the_vips_family() {
    // (what the file says, bits for an IPv4 VIP, bits for an IPv6 VIP)
    let cases = [
        ("\"flow\"", 0, 0),
        ("\"source\"", 32, 128),
        ("{ ipv4 = 24, ipv6 = 56 }", 24, 56),
        ("{ ipv4 = 24 }", 24, 128),
        ("{ ipv6 = 56 }", 32, 56),
    ];
    for (said, v4, v6) in cases {
        let text = format!("{FLAWLESS}{DNS}").replacen(
            "[[service]]",
            &format!("[defaults]\naffinity = {said}\n[[service]]"),
            1,
        );
        let config = config(&text);
        let bits: Vec<_> = config.services.iter().map(|service| service.source_bits).collect();
        assert_eq!(bits, [v6, v4], "{said}");
    }
}

#[test]
fn udp_remembers_every_flow_for_a_minute() {
    let config = config(&format!("{FLAWLESS}{DNS}"));
    let dns = &config.services[0];
    assert_eq!((dns.track, dns.idle_timeout), (Track::Always, Duration::from_mins(1)));
}

#[test]
fn services_and_backends_are_sorted_by_name() {
    let swapped = FLAWLESS.replace("web-1", "x").replace("web-2", "web-1").replace("\"x\"", "\"web-2\"");
    let config = config(&format!("{swapped}{DNS}"));
    let names =
        |backends: &[Backend]| backends.iter().map(|backend| backend.name.clone()).collect::<Vec<_>>();
    assert_eq!(config.services.iter().map(|service| &*service.name).collect::<Vec<_>>(), ["dns", "web"]);
    assert_eq!(names(&config.services[1].backends), ["web-1", "web-2"]);
}

#[test]
fn service_overrides_defaults_key_by_key() {
    let defaults = "slots = 131\ntrack = \"never\"\n[defaults.probe]\ninterval = \"9s\"\nrise = 5\n";
    let config =
        config(&with("[[service]]", &format!("[defaults]\n{defaults}\n[[service]]\ntrack = \"always\"")));
    let service = &config.services[0];
    let probe = service.probe.as_ref().expect("probed");
    assert_eq!((service.slots, service.track), (131, Track::Always));
    assert_eq!((probe.interval, probe.rise), (Duration::from_secs(2), 5));
}

#[test]
fn backend_overrides_its_services_forwarding() {
    let config = config(&with("name = \"web-2\"", "name = \"web-2\"\nforwarding = \"l2\""));
    let forwardings: Vec<_> = config.services[0].backends.iter().map(|backend| backend.forwarding).collect();
    assert_eq!(forwardings, [Forwarding::Ipip, Forwarding::L2]);
}

#[test]
fn service_needs_no_forwarding_where_every_backend_has_its_own() {
    let text = with("forwarding = \"ipip\"\n", "")
        .replace("[[service.backend]]", "[[service.backend]]\nforwarding = \"l2\"");
    assert_eq!(config(&text).services[0].backends.len(), 2);
}

#[test]
fn service_without_probe_type_none_is_not_probed() {
    assert_eq!(config(&with("interval = \"2s\"", "type = \"none\"")).services[0].probe, None);
}

/// What a service's probe does that has these keys.
fn check(keys: &str) -> Check {
    let probe = config(&with("interval = \"2s\"", keys)).services[0].probe.clone().expect("probed");
    Check::clone(&probe.check)
}

#[test]
fn http_probe_asks_for_the_root_and_takes_success() {
    let Check::Http(http) = check("type = \"http\"") else { panic!("not http") };
    assert_eq!((http.method.as_str(), http.path.as_str(), http.status), ("GET", "/", vec![200..=299]));
    assert_eq!((http.tls, http.version, http.host), (None, HttpVersion::One, None));
    let keys = "type = \"http\"\nstatus = [204, \"300-399\"]\nheaders = { \"X-Probe\" = \"1\" }\nhttp_version = \"2\"";
    let Check::Http(http) = check(keys) else { panic!("not http") };
    assert_eq!((http.status, http.version), (vec![204..=204, 300..=399], HttpVersion::Two));
    assert_eq!(http.headers["x-probe"], "1");
}

#[test]
fn tls_trusts_the_host_unless_told_otherwise() {
    let tls = |trust, name: Option<&str>| TlsCheck { trust, server_name: name.map(str::to_owned) };
    assert_eq!(check("type = \"tls\""), Check::Tls(tls(Trust::System, None)));
    let file = Trust::File("/etc/ca.pem".into());
    let keys = "type = \"tls\"\nca = \"/etc/ca.pem\"\nserver_name = \"a.example.org\"";
    assert_eq!(check(keys), Check::Tls(tls(file, Some("a.example.org"))));
    assert_eq!(check("type = \"tls\"\nverify = false"), Check::Tls(tls(Trust::Anybody, None)));
}

#[test]
fn virtual_hosts_certificate_is_in_its_own_name() {
    let name = |keys: &str| match check(&format!("type = \"https\"\n{keys}")) {
        Check::Http(http) => http.tls.expect("over TLS").server_name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name("host = \"www.example.org:8443\"").as_deref(), Some("www.example.org"));
    assert_eq!(name("host = \"[2001:db8::1]\"").as_deref(), Some("2001:db8::1"));
    assert_eq!(name("host = \"a.example\"\nserver_name = \"b.example\"").as_deref(), Some("b.example"));
    assert_eq!(name("").as_deref(), None);
}

#[test]
fn bytes_are_a_text_or_hexadecimal() {
    let keys = "type = \"udp\"\nport = 53\nsend = \"hex:00fF\"\nexpect = \"pong\"";
    assert_eq!(check(keys), Check::Udp(UdpCheck { send: vec![0, 255], expect: b"pong".to_vec() }));
}

#[test]
fn probe_without_a_port_needs_none() {
    let any = with("port = 80", "port = \"any\"");
    for kind in ["type = \"icmp\"", "type = \"exec\"\ncommand = [\"/bin/true\"]"] {
        let text = any.replace("interval = \"2s\"", kind);
        assert_eq!(config(&text).services[0].probe.as_ref().expect("probed").port, 0, "{kind}");
    }
    let exec = config(&with("interval = \"2s\"", "type = \"exec\"\ncommand = [\"/bin/true\"]"));
    assert_eq!(exec.services[0].probe.as_ref().expect("probed").concurrency, 8);
}

#[test]
fn dns_server_is_probed_on_its_own_port() {
    let dns = DNS.replace("port = 8053", "type = \"dns\"\nquery = \"health.example.org.\"");
    let service = &config(&format!("{FLAWLESS}{dns}")).services[0];
    let probe = service.probe.as_ref().expect("probed");
    let Check::Dns(check) = &*probe.check else { panic!("{:?}", probe.check) };
    assert_eq!((probe.port, check.name.as_str(), check.record.1), (53, "health.example.org", "A"));
}

#[test]
fn every_port_is_port_zero_beside_a_service_on_one_port() {
    let any = DNS
        .replace("port = 53", "port = \"any\"")
        .replace("2001:db8::53", "203.0.113.10")
        .replace("udp", "tcp");
    let config = config(&format!("{FLAWLESS}{any}"));
    assert_eq!(config.services.iter().map(|service| service.port).collect::<Vec<_>>(), [0, 80]);
}

#[test]
fn default_timeout_does_not_exceed_a_short_interval() {
    let probe = config(&with("\"2s\"", "\"200ms\"")).services[0].probe.clone().expect("probed");
    assert_eq!(probe.timeout, Duration::from_millis(200));
}

#[test]
fn bare_address_is_a_fixed_tunnel_source() {
    let config = config(&with("port = 80", "port = 80\ntunnel_source = [\"192.0.2.1\"]"));
    assert_eq!(config.services[0].tunnel_source, ["192.0.2.1/32".parse().unwrap()]);
}

#[test]
fn seed_is_read_as_big_endian_hexadecimal() {
    let fleet = config(FLAWLESS).fleet;
    assert!(!fleet.seed_is_default);
    assert_eq!(fleet.seed.0[..3], [0x00, 0x11, 0x22]);
}

#[test]
fn seed_that_is_not_said_is_the_known_one() {
    let fleet = config(&with("seed = \"00112233445566778899aabbccddeeff\"", "")).fleet;
    assert!(fleet.seed_is_default);
    assert!(fleet.seed == DEFAULT_SEED);
}

#[test]
fn peers_talk_on_a_port_of_their_own_unless_told_otherwise() {
    assert_eq!(config(FLAWLESS).fleet.peers, [] as [std::net::IpAddr; 0]);
    let peers = "[fleet]\npeers = [\"192.0.2.1\", \"192.0.2.2\"]";
    let fleet = config(&with("[fleet]", peers)).fleet;
    assert_eq!((fleet.peers, fleet.port), (vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()], 9902));
    assert_eq!(config(&with("[fleet]", &format!("{peers}\nport = 7000"))).fleet.port, 7000);
}
