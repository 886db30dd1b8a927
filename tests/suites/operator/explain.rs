//! What `sluice explain` says of a packet is what becomes of it, byte for byte; and asking leaves no trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::Duration,
};

use lb_tests::{
    bpf::{PassProgram, object},
    process::output,
    random::Random,
};
use serde_json::{Value, json};

use crate::{site::Site, wire::Wire};

/// Flows that are asked about for each way of forwarding.
const FLOWS: usize = 1000;

/// How long a frame may take that is to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// A service for each way of forwarding, and for each family where that differs.
const SERVICES: &str = r#"
[[service]]
name = "l2"
address = "203.0.113.20"
port = 80
protocol = "tcp"
forwarding = "l2"
slots = 1021
probe = { type = "none" }
[[service]]
name = "l2-6"
address = "2001:db8:113::20"
port = 80
protocol = "tcp"
forwarding = "l2"
slots = 1021
probe = { type = "none" }
[[service]]
name = "ipip"
address = "203.0.113.21"
port = 80
protocol = "tcp"
forwarding = "ipip"
slots = 1021
probe = { type = "none" }
[[service]]
name = "ipip-6"
address = "2001:db8:113::21"
port = 53
protocol = "udp"
forwarding = "ipip"
slots = 1021
probe = { type = "none" }
[[service]]
name = "gue"
address = "203.0.113.22"
port = 53
protocol = "udp"
forwarding = "gue"
slots = 1021
probe = { type = "none" }
[[service]]
name = "gue-6"
address = "2001:db8:113::22"
port = 80
protocol = "tcp"
forwarding = "gue"
slots = 1021
probe = { type = "none" }
[[service]]
name = "nat"
address = "203.0.113.23"
port = 80
protocol = "tcp"
forwarding = "nat"
slots = 1021
probe = { type = "none" }
[[service]]
name = "nat-udp"
address = "203.0.113.23"
port = 53
protocol = "udp"
forwarding = "nat"
slots = 1021
probe = { type = "none" }
"#;

/// Destinations for each way of forwarding.
const MODES: [(&str, &[&str]); 4] = [
    ("l2", &["203.0.113.20:80/tcp", "[2001:db8:113::20]:80/tcp"]),
    ("ipip", &["203.0.113.21:80/tcp", "[2001:db8:113::21]:53/udp"]),
    ("gue", &["203.0.113.22:53/udp", "[2001:db8:113::22]:80/tcp"]),
    ("nat", &["203.0.113.23:80/tcp", "203.0.113.23:53/udp"]),
];

/// A site with these services, and the far end of its interface.
pub(crate) fn stage() -> (Site, Wire) {
    let mut site = Site::new();
    for sysctl in ["net.ipv6.conf.peer0.disable_ipv6=1", "net.ipv6.conf.eth0.disable_ipv6=1"] {
        assert!(site.command(Command::new("sysctl").args(["-w", sysctl])).status.success());
    }
    // What the program transmits arrives only where the other end has a program too.
    PassProgram::load(&object().unwrap()).unwrap().attach(&site.host.netns, "peer0").unwrap();
    let backend =
        |number| format!("[[service.backend]]\nname = \"b{number}\"\naddress = \"192.0.2.1{number}\"\n");
    let backends = [1, 2, 3].map(backend).concat();
    let services: String = SERVICES
        .split_inclusive("probe = { type = \"none\" }\n")
        .map(
            |service| {
                if service.contains("[[service]]") { format!("{service}{backends}") } else { String::new() }
            },
        )
        .collect();
    site.config =
        site.config.replacen("[fleet]", "nat = { addresses = [\"192.0.2.250\"] }\n[fleet]", 1) + &services;
    for (from, to) in [("services = 16", "services = 64"), ("backends = 64", "backends = 256")] {
        site.config = site.config.replace(from, to);
    }
    for (from, to) in [("slots = 20000", "slots = 100000"), ("connections = 1024", "connections = 65536")] {
        site.config = site.config.replace(from, to);
    }
    site.save();
    let wire = Wire::open(&site.host.netns, "peer0");
    (site, wire)
}

/// A connection to the admin API.
pub(crate) struct Api(BufReader<UnixStream>);

impl Api {
    pub(crate) fn open(site: &Site) -> Self {
        Self(BufReader::new(UnixStream::connect(site.socket()).unwrap()))
    }

    pub(crate) fn explain(&mut self, question: &Value) -> Value {
        let body = question.to_string();
        let stream = self.0.get_mut();
        write!(
            stream,
            "POST /v1/explain HTTP/1.1\r\nhost: sluice\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

/// How many answers were of a kind.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    moved: usize,
    remembered: usize,
    backends: BTreeSet<String>,
}

/// Asks about a packet, sends it, and compares what leaves with what was said.
pub(crate) fn compare(api: &mut Api, wire: &Wire, question: &Value, tally: &mut Tally) {
    let said = api.explain(question);
    assert_eq!(said["fate"], "forwarded", "{question}: {said}");
    assert_eq!(said["disagreement"], Value::Null, "{said}");
    tally.moved += usize::from(said["slot"]["settled"] == json!(false));
    tally.remembered += usize::from(said["remembered"] != json!([]));
    tally.backends.insert(said["backend"]["name"].as_str().unwrap().to_owned());
    let expected = bytes(&said["leaves"]["bytes"]);
    wire.send(&bytes(&said["bytes"]));
    // To the backend by its MAC address, which none of the frames that are sent here has.
    let to_backend = |frame: &[u8]| frame[..5] == [2, 0, 0, 0, 0] && matches!(frame[5], 0x11..=0x13);
    let left = wire.next(PATIENCE, to_backend).unwrap_or_else(|| panic!("nothing has left: {said}"));
    assert_eq!(hex(&left), hex(&expected), "{said}");
    let name = format!("b{}", left[5] - 0x10);
    assert_eq!(said["backend"]["name"], name.as_str());
}

fn question(random: &mut Random, number: usize, destinations: &[&str]) -> Value {
    let destination = destinations[number % destinations.len()];
    let (host, port) = (1 + random.below(250), 1024 + random.below(64_000));
    let source = if destination.starts_with('[') {
        format!("[2001:db8:77::{host:x}]:{port}")
    } else {
        format!("198.51.100.{host}:{port}")
    };
    let is_translated = destination.contains(".23:");
    let syn = destination.ends_with("tcp") && (is_translated || random.below(2) == 0);
    json!({ "source": source, "destination": destination, "syn": syn })
}

/// Asks about packets of `count` flows and sends them, of each as many as `packets` says: the second one finds what the
/// first has left, the third what the second has.
fn compare_flows(
    (api, wire, random): (&mut Api, &Wire, &mut Random),
    count: usize,
    destinations: &[&str],
    packets: fn(usize) -> usize,
) -> Tally {
    let mut tally = Tally::default();
    for number in 0..count {
        let mut asked = question(random, number, destinations);
        for _ in 0..packets(number) {
            compare(api, wire, &asked, &mut tally);
            asked["syn"] = json!(false);
        }
    }
    tally
}

#[test]
fn explanation_is_what_becomes_of_a_thousand_flows_each_way() {
    let (site, wire) = stage();
    let _daemon = site.start(&[]);
    let mut random = Random::new(0x6578_706c);
    let mut api = Api::open(&site);
    let mut compare_all = |count, packets| {
        MODES.map(|(mode, destinations)| {
            (mode, compare_flows((&mut api, &wire, &mut random), count, destinations, packets))
        })
    };
    let settled = compare_all(FLOWS * 3 / 4, |_| 1);
    assert!(settled.iter().all(|(_, tally)| tally.backends.len() == 3), "{settled:?}");
    let drained = site.sluice(&["drain", "b1", "--socket", site.socket().to_str().unwrap()]);
    assert!(drained.status.success(), "{drained:?}");
    let moved = compare_all(FLOWS / 4, |number| if number % 4 == 0 { 3 } else { 2 });
    let has_some = |tally: &Tally| tally.moved > FLOWS / 20 && tally.remembered > FLOWS / 20;
    assert!(moved.iter().all(|(_, tally)| has_some(tally)), "{moved:?}");
    println!("settled: {settled:#?}\nmoved: {moved:#?}");
}

#[test]
fn question_leaves_no_trace() {
    let (site, wire) = stage();
    let _daemon = site.start(&[]);
    let mut random = Random::new(7);
    let mut api = Api::open(&site);
    let drained = site.sluice(&["drain", "b1", "--socket", site.socket().to_str().unwrap()]);
    assert!(drained.status.success(), "{drained:?}");
    // Something to be remembered and counted.
    let known: Vec<Value> = (0..16)
        .map(|number| {
            let asked = question(&mut random, number, MODES[number % 4].1);
            compare(&mut api, &wire, &asked, &mut Tally::default());
            asked
        })
        .collect();
    let before = dumps(site.pins.path());
    for number in 0..64 {
        let fresh = question(&mut random, number, MODES[number % 4].1);
        api.explain(&fresh);
        api.explain(&known[number % known.len()]);
        api.explain(&json!({ "packet": "ffffffffffff0200000000010806" }));
    }
    let after = dumps(site.pins.path());
    for (map, before) in &before {
        assert!(*before == after[map], "{map} is another one:\n{before}\n{}", after[map]);
    }
    assert!(
        wire.next(Duration::from_millis(1), |frame| frame[..4] == [2, 0, 0, 0]).is_none(),
        "something was sent"
    );
}

/// What all pinned maps hold.
fn dumps(pins: &Path) -> BTreeMap<String, String> {
    let maps =
        ["connections", "openings", "nat_openings", "nat_sessions", "budgets", "sources", "service_rates"];
    let counters =
        ["backend_loads", "refusals", "service_counters", "backend_counters", "reasons", "server_ids"];
    let dump = |map: &str| {
        let mut bpftool = Command::new("bpftool");
        let mut lines: Vec<_> = output(bpftool.args(["map", "dump", "pinned"]).arg(pins.join(map)))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        (map.to_owned(), lines.join("\n"))
    };
    maps.into_iter().chain(counters).map(dump).collect()
}

#[test]
fn command_tells_what_is_wrong_and_what_to_do() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let socket = site.socket();
    let ask = |arguments: &[&str]| {
        site.sluice(&[&["explain"], arguments, &["--socket", socket.to_str().unwrap()]].concat())
    };
    let told = ask(&["198.51.100.7:5555", "203.0.113.10:80/tcp", "--syn"]);
    assert!(told.status.success(), "{told:?}");
    for part in
        ["forwarded, transmitted", "service     web, generation 1", "settled, b", "TCP 5555 -> 80, SYN"]
    {
        assert!(told.stdout.contains(part), "no {part:?} in:\n{}", told.stdout);
    }
    let passes = ask(&["198.51.100.7:5555", "203.0.113.99:80"]);
    assert!(passes.stdout.contains("passes, not_ours"), "{}", passes.stdout);
    assert!(ask(&["198.51.100.7", "203.0.113.10:80"]).error_line().contains("no address with a port"));
    let nowhere = ask(&["198.51.100.7:1", "203.0.113.10:80", "--interface", "eth9"]).error_line();
    assert!(nowhere.contains("\"eth9\""), "{nowhere}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

pub(crate) fn bytes(digits: &Value) -> Vec<u8> {
    let digits = digits.as_str().unwrap_or_else(|| panic!("{digits} are no digits"));
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
