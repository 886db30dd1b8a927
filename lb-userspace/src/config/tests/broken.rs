//! Broken configurations, with the messages that they get.

use super::{DNS, FLAWLESS, messages, parse, with};

fn refusals(cases: &[(&str, String)]) -> String {
    messages(cases, |text| parse(text).map(|(config, _)| config).expect_err(text).to_string())
}

#[test]
fn what_is_not_toml_is_refused() {
    let said = refusals(&[
        ("a string without quotes", with("\"tcp\"", "tcp")),
        ("an unfinished header", with("[[service]]", "[[service")),
        ("a key written twice", with("port = 80", "port = 80\nport = 81")),
        ("two mistakes at once", with("[fleet]", "[fleet").replace("\"web\"", "'web")),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn tables_and_keys_that_do_not_exist_or_do_not_fit_are_refused() {
    let said = refusals(&[
        ("a misspelt key", with("address = \"203", "adress = \"203")),
        ("a misspelt table", FLAWLESS.replace("[service.probe]", "[service.prob]")),
        ("a word of other balancers", FLAWLESS.replace("[[service.backend]]", "[[service.server]]")),
        ("a key below the wrong header", with("interval = \"2s\"", "slots = 65537")),
        ("a key that nothing resembles", with("port = 80", "port = 80\ncolour = \"blue\"")),
        ("one bracket where two belong", FLAWLESS.replace("[[service.backend]]\nname = \"web-2\"\naddress = \"2001:db8:1::12\"\n", "").replace("[[service.backend]]", "[service.backend]")),
        ("two brackets where one belongs", with("[balancer]", "[[balancer]]")),
        ("no [balancer]", with("[balancer]\ninterfaces = [\"eth0\"]\n", "")),
        ("no keys at all", FLAWLESS.replace("name = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\nforwarding = \"ipip\"\n", "")),
        ("a backend without address", with("address = \"198.51.100.11\"", "")),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn wrong_types_are_refused() {
    let said = refusals(&[
        ("a number for a name", with("\"web\"", "5")),
        ("a quoted port", with("port = 80", "port = \"80\"")),
        ("a quoted weight", with("name = \"web-1\"", "name = \"web-1\"\nweight = \"10\"")),
        ("a fraction", with("name = \"web-1\"", "name = \"web-1\"\nweight = 1.5")),
        ("a string for a list", with("[\"eth0\"]", "\"eth0\"")),
        ("a number for a duration", with("\"2s\"", "2")),
        ("a boolean for a word", with("\"tcp\"", "true")),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn values_of_the_balancer_its_fleet_and_its_limits_are_checked() {
    let said = refusals(&[
        ("no interface", with("[\"eth0\"]", "[]")),
        ("an interface listed twice", with("[\"eth0\"]", "[\"eth0\", \"eth1\", \"eth0\"]")),
        ("an interface name that is too long", with("eth0", "enp0s31f6-uplink")),
        ("an alias for an interface", with("eth0", "eth0:1")),
        ("a mode that there is not", with("[\"eth0\"]", "[\"eth0\"]\nmode = \"Natve\"")),
        (
            "relative paths",
            with("[\"eth0\"]", "[\"eth0\"]\nsocket = \"sluice.sock\"\npin_path = \"/sys/fs/bpf/../x\""),
        ),
        ("a relative path of the state", with("[\"eth0\"]", "[\"eth0\"]\nstate_path = \"state.json\"")),
        ("the BPF file system itself", with("[\"eth0\"]", "[\"eth0\"]\npin_path = \"/sys/fs/bpf\"")),
        ("a mark with bits of numbers", with("[\"eth0\"]", "[\"eth0\"]\nprobe_mark = 0x5a500001")),
        ("a mark of too many bits", with("[\"eth0\"]", "[\"eth0\"]\nprobe_mark = 0x1_0000_0000")),
        ("a dot in a pin", with("[\"eth0\"]", "[\"eth0\"]\npin_path = \"/sys/fs/bpf/sluice.d\"")),
        (
            "a relative path of the next program",
            with("[\"eth0\"]", "[\"eth0\"]\nnext_program = \"xdp/firewall\""),
        ),
        (
            "Sluice's own program as the next one",
            with("[\"eth0\"]", "[\"eth0\"]\nnext_program = \"/sys/fs/bpf/sluice/program\""),
        ),
        ("a seed that is too short", with("ccddeeff", "ccddee")),
        ("a seed that is not hexadecimal", with("0011", "0x11")),
        ("peers and no seed", with("seed = \"00112233445566778899aabbccddeeff\"", "peers = [\"192.0.2.1\"]")),
        (
            "a peer listed twice",
            with("[fleet]", "[fleet]\npeers = [\"192.0.2.1\", \"192.0.2.2\", \"192.0.2.1\"]"),
        ),
        ("peers of two families", with("[fleet]", "[fleet]\npeers = [\"192.0.2.1\", \"2001:db8::2\"]")),
        ("a peer with its port", with("[fleet]", "[fleet]\npeers = [\"192.0.2.1:9902\"]\nport = 0")),
        ("a single peer without brackets", with("[fleet]", "[fleet]\npeers = \"192.0.2.1\"")),
        ("limits out of range", format!("{FLAWLESS}\n[limits]\nservices = 0\nslots = 4_294_967_296\n")),
        (
            "limits below what the file needs",
            format!("{FLAWLESS}{DNS}\n[limits]\nservices = 3\nbackends = 2\nslots = 131074\n"),
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn values_of_a_service_are_checked() {
    let said = refusals(&[
        ("a name with a space", with("\"web\"", "\"web shop\"")),
        ("port 0", with("port = 80", "port = 0")),
        ("a port beyond the last", with("port = 80", "port = 70000")),
        ("a port by name", with("port = 80", "port = \"http\"")),
        ("a protocol in capitals", with("\"tcp\"", "\"TCP\"")),
        ("a protocol that is not balanced", with("\"tcp\"", "\"sctp\"")),
        ("a word of other balancers", with("\"ipip\"", "\"dsr\"")),
        ("no forwarding", with("forwarding = \"ipip\"\n", "")),
        ("slots that are not prime", with("port = 80", "port = 80\nslots = 65536")),
        ("more backends than slots", with("port = 80", "port = 80\nslots = 2").replace("[[service.backend]]\nname = \"web-2\"", "[[service.backend]]\nname = \"web-3\"\naddress = \"198.51.100.13\"\n[[service.backend]]\nname = \"web-2\"")),
        ("durations without unit, below and above their range", with("port = 80", "port = 80\ndown_grace = \"30\"\nidle_timeout = \"0s\"").replace("\"2s\"", "\"2h\"")),
        ("a duration that is none", with("\"2s\"", "\"soon\"")),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn affinities_and_ends_of_drains_that_cannot_be_are_refused() {
    let said = |line: &str| with("port = 80", &format!("port = 80\n{line}"));
    let refused = refusals(&[
        ("an affinity of other balancers", said("affinity = \"cookie\"")),
        ("an affinity that is a number", said("affinity = 24")),
        ("prefixes of neither family", said("affinity = {}")),
        ("a prefix that is too long", said("affinity = { ipv4 = 33 }")),
        ("a prefix of no bits", said("affinity = { ipv6 = 0 }")),
        ("a family by another name", said("affinity = { ip4 = 24 }")),
        ("flows that are killed", said("on_down = \"kill\"")),
        ("flows that stay after the deadline", said("on_deadline = \"keep\"")),
        ("a removal that keeps", said("on_remove = \"keep\"")),
        ("a deadline without unit", said("drain_deadline = \"600\"")),
        ("a deadline of a year", said("drain_deadline = \"1y\"")),
        ("a reset of udp", format!("{FLAWLESS}{}", DNS.replace("udp\"", "udp\"\non_down = \"reset\""))),
        (
            "a reset of udp by default",
            format!("{FLAWLESS}{DNS}").replacen(
                "[[service]]",
                "[defaults]\non_deadline = \"reset\"\n[[service]]",
                1,
            ),
        ),
    ]);
    insta::assert_snapshot!(refused);
}

#[test]
fn impossible_addresses_are_refused() {
    let vip = |address: &str| with("203.0.113.10", address);
    let said = refusals(&[
        ("unspecified", vip("0.0.0.0")),
        ("loopback", vip("::1")),
        ("multicast", vip("239.1.2.3")),
        ("broadcast", vip("255.255.255.255")),
        ("link-local", vip("fe80::1")),
        ("IPv4-mapped", vip("::ffff:203.0.113.10")),
        ("a prefix", vip("203.0.113.10/32")),
        ("with its port", vip("203.0.113.10:80")),
        ("in brackets", vip("[2001:db8::10]")),
        ("a name", vip("www.example.org")),
        ("a leading zero", vip("203.0.113.010")),
        ("a backend on loopback", with("198.51.100.11", "127.0.0.1")),
        ("a backend that is a VIP", with("198.51.100.11", "203.0.113.10")),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn what_may_exist_only_once_is_refused_the_second_time() {
    let said = refusals(&[
        ("two services of one name", format!("{FLAWLESS}{}", DNS.replace("\"dns\"", "\"web\""))),
        (
            "two services on one endpoint",
            format!(
                "{FLAWLESS}{}",
                DNS.replace("2001:db8::53", "203.0.113.10")
                    .replace("udp", "tcp")
                    .replace("port = 53", "port = 80")
            ),
        ),
        ("two backends of one name", with("web-2", "web-1")),
        ("two backends of one address", with("2001:db8:1::12", "198.51.100.11")),
        (
            "two prefixes of one family",
            with("port = 80", "port = 80\ntunnel_source = [\"192.0.2.0/25\", \"192.0.2.128/25\"]"),
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn tunnel_sources_and_probes_that_cannot_work_are_refused() {
    let source = |prefix: &str| with("port = 80", &format!("port = 80\ntunnel_source = [\"{prefix}\"]"));
    let said = refusals(&[
        ("not a prefix", source("192.0.2.0/33")),
        ("bits beyond the length", source("192.0.2.7/24")),
        ("everybody's addresses", source("0.0.0.0/0")),
        ("an IPv4-mapped prefix", source("::ffff:192.0.2.0/120")),
        ("a backend within the prefix", source("198.51.100.0/24")),
        ("a VIP within the prefix", source("203.0.113.0/24")),
        ("a timeout beyond the interval", with("\"2s\"", "\"2s\"\ntimeout = \"3s\"")),
        ("a timeout beyond the default interval", with("interval = \"2s\"", "timeout = \"3s\"")),
        ("counts of zero", with("\"2s\"", "\"2s\"\nrise = 0\nfall = 0")),
        ("a probe of another kind", with("\"2s\"", "\"2s\"\ntype = \"smtp\"")),
        ("a tcp probe of a udp service", with("\"tcp\"", "\"udp\"")),
        ("a probe of a service on every port", with("port = 80", "port = \"any\"")),
        (
            "a default probe of a udp service",
            with("\"tcp\"", "\"udp\"").replace(
                "[service.probe]",
                "[[service.backend]]\nname = \"web-0\"\naddress = \"198.51.100.10\"\n[defaults.probe]",
            ),
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn what_probes_cannot_do_is_refused() {
    let said = |keys: &str| with("interval = \"2s\"", keys);
    let udp = |keys: &str| with("\"tcp\"", "\"udp\"").replace("interval = \"2s\"", keys);
    let refused = refusals(&[
        ("parts longer than the interval", said("fast_interval = \"3s\"\njitter = \"1m\"")),
        ("a grace of a day", said("grace = \"1d\"\nconcurrency = 0")),
        ("a key of another type", said("type = \"tcp\"\npath = \"/health\"")),
        ("a key of no type that was said", said("body = \"ready\"")),
        ("a path without its slash", said("type = \"http\"\npath = \"health\"")),
        ("a method in small letters", said("type = \"http\"\nmethod = \"get\"")),
        ("a URL for a host", said("type = \"http\"\nhost = \"http://example.org/\"")),
        ("a header that is not one", said("type = \"http\"\nheaders = { \"X Probe\" = \"1\" }")),
        ("a header with a key of its own", said("type = \"http\"\nheaders = { Host = \"example.org\" }")),
        ("headers as a list", said("type = \"http\"\nheaders = [\"X-Probe: 1\"]")),
        ("statuses that there are not", said("type = \"http\"\nstatus = [700, \"300-200\", \"2xx\"]")),
        ("no status", said("type = \"http\"\nstatus = []")),
        ("an empty body", said("type = \"http\"\nbody = \"\"")),
        ("a number for a version", said("type = \"http\"\nhttp_version = 2")),
        ("an authority that nobody asks", said("type = \"https\"\nverify = false\nca = \"/etc/ca.pem\"")),
        ("a quoted boolean", said("type = \"tls\"\nverify = \"no\"")),
        ("a relative path of an authority", said("type = \"tls\"\nca = \"ca.pem\"")),
        ("a server's name with its port", said("type = \"tls\"\nserver_name = \"example.org:443\"")),
        ("an authority without TLS", said("type = \"grpc\"\nca = \"/etc/ca.pem\"")),
        ("no question", udp("type = \"dns\"")),
        ("a question that is no name", udp("type = \"dns\"\nquery = \"health..example\"")),
        ("a record that is not asked for", udp("type = \"dns\"\nquery = \"example.org\"\nrecord = \"AXFR\"")),
        ("bytes that are not hexadecimal", udp("type = \"udp\"\nsend = \"hex:0x\"")),
        ("no program", said("type = \"exec\"")),
        ("a shell's line", said("type = \"exec\"\ncommand = \"check | grep ok\"")),
        ("a program without its path", said("type = \"exec\"\ncommand = [\"check\"]")),
        ("an agent on the service's port", said("type = \"agent\"")),
        (
            "a window that is too short",
            with("port = 80", "port = 80\npassive = { window = \"1s\", share = 50 }"),
        ),
        (
            "what is passive beside nothing",
            with("port = 80", "port = 80\npassive = {}").replace("interval = \"2s\"", "type = \"none\""),
        ),
        ("flows that are not remembered", with("port = 80", "port = 80\npassive = {}\ntrack = \"moved\"")),
        (
            "datagrams that are opened again",
            udp("type = \"none\"").replace("port = 80", "port = 80\npassive = {}"),
        ),
        ("a way that is none", said("via = \"tunnel\"")),
        ("an echo by the path of traffic", said("type = \"icmp\"\nvia = \"path\"")),
        ("datagrams to a tcp service", said("type = \"dns\"\nquery = \"example.org\"")),
    ]);
    insta::assert_snapshot!(refused);
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let text =
        with("eth0", "").replace("tcp", "tpc").replace("198.51.100.11", "198.51.100").replace("2s", "2");
    let diagnostics = parse(&text).expect_err("four mistakes");
    let found: Vec<_> = diagnostics.iter().map(|one| (one.position(), one.key_path())).collect();
    assert_eq!(
        found,
        [
            (Some((2, 15)), "balancer.interfaces[0]"),
            (Some((11, 12)), "service[0].protocol"),
            (Some((15, 12)), "service[0].probe.interval"),
            (Some((19, 11)), "service[0].backend[0].address"),
        ]
    );
}

#[test]
fn a_seed_is_not_repeated_in_the_message() {
    let message = parse(&with("ccddeeff", "ccddeefg")).expect_err("not hexadecimal").to_string();
    assert!(!message.contains("aabbcc"), "{message}");
}

#[test]
fn colours_are_there_only_when_asked_for() {
    let diagnostics = parse("").expect_err("there is no [balancer]");
    assert!(diagnostics.styled().contains("\u{1b}["));
    assert!(!diagnostics.to_string().contains('\u{1b}'));
}
