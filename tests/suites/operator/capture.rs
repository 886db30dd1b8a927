//! `sluice capture` and `sluice trace`: what they show is what the program did, and nothing of them is left.

use std::process::Command;

use lb_tests::process::{Process, output, wait_until};
use serde_json::{Value, json};

use crate::{
    explain::{Api, Tally, compare, stage},
    site::{DEADLINE, Site},
    wire::Wire,
};

/// What `sluice` is started with beside `arguments`, until it ends.
fn start(site: &Site, arguments: &[&str]) -> Process {
    let mut command = Command::new(lb_tests::balancer::binary().unwrap());
    command.args(arguments).arg("--socket").arg(site.socket());
    Process::spawn(&site.host.netns, arguments[0], &mut command).unwrap()
}

/// Name and number of the program that `eth0` has.
fn program(site: &Site) -> (String, u64) {
    let attached = site.program("eth0")["prog"].clone();
    let id = attached["id"].as_u64().unwrap();
    let mut bpftool = Command::new("bpftool");
    let found: Value = serde_json::from_str(
        &output(bpftool.args(["--json", "prog", "show", "id", &id.to_string()])).unwrap(),
    )
    .unwrap();
    (found["name"].as_str().unwrap().to_owned(), id)
}

fn wait_for(site: &Site, what: &str, condition: impl Fn(&str, u64) -> bool) {
    let met = || {
        let (name, id) = program(site);
        condition(&name, id)
    };
    wait_until(DEADLINE * 4, what, met).unwrap();
}

fn is_captured(name: &str) -> bool {
    name.starts_with("sluice_capture")
}

/// Sends a packet of this client to the first service by `ipip`, and sees it leave.
fn send(api: &mut Api, wire: &Wire, client: &str) {
    let asked = json!({ "source": client, "destination": "203.0.113.21:80/tcp", "syn": true });
    compare(api, wire, &asked, &mut Tally::default());
}

#[test]
fn capture_shows_both_sides_of_a_packet_and_is_gone_afterwards() {
    let (site, wire) = stage();
    let _daemon = site.start(&[]);
    let mut api = Api::open(&site);
    let before = program(&site);
    let file = site.write("packets.pcapng", "");
    let path = file.to_str().unwrap();
    let mut capture = start(&site, &["capture", "--service", "ipip", "--count", "2", "-w", path]);
    wait_for(&site, "the program that shows packets", |name, _| is_captured(name));
    let refused = site.sluice(&["capture", "-w", "-", "--socket", site.socket().to_str().unwrap()]);
    assert!(refused.error_line().contains("one at a time"));
    let other = json!({ "source": "198.51.100.9:9", "destination": "203.0.113.20:80/tcp" });
    compare(&mut api, &wire, &other, &mut Tally::default());
    send(&mut api, &wire, "198.51.100.7:5555");
    send(&mut api, &wire, "198.51.100.7:5556");
    assert!(capture.wait(DEADLINE).unwrap().success(), "{}", capture.log());
    wait_for(&site, "the program of before", |name, id| (name.to_owned(), id) == before);
    send(&mut api, &wire, "198.51.100.7:5557");
    let mut tshark = Command::new("tshark");
    tshark.args(["-r", path, "-T", "fields", "-E", "occurrence=a", "-E", "separator=|"]);
    for field in
        ["frame.interface_name", "frame.packet_flags_direction", "ip.dst", "tcp.srcport", "frame.comment"]
    {
        tshark.args(["-e", field]);
    }
    let told = output(&mut tshark).unwrap();
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines.len(), 4, "{told}");
    for (pair, port) in lines.chunks(2).zip(["5555", "5556"]) {
        let [arrived, left] = pair else { panic!("{told}") };
        assert_eq!((arrived[0], arrived[2], arrived[3]), ("eth0 in", "203.0.113.21", port), "{told}");
        assert_eq!((left[0], left[3]), ("eth0 out", port), "{told}");
        assert!(left[2].starts_with("192.0.2.1") && left[2].ends_with(",203.0.113.21"), "{told}");
        for comment in [arrived[4], left[4]] {
            assert!(
                comment.contains("forwarded, transmitted; ipip/b") && comment.contains("settled"),
                "{told}"
            );
        }
    }
}

#[test]
fn trace_tells_decisions_and_ends_with_whoever_asked() {
    let (site, wire) = stage();
    let _daemon = site.start(&[]);
    let mut api = Api::open(&site);
    let before = program(&site);
    let mut trace = start(
        &site,
        &[
            "trace",
            "--output",
            "json",
            "--client",
            "198.51.100.0/28",
            "--reason",
            "dropped",
            "--reason",
            "transmitted",
        ],
    );
    wait_for(&site, "the program that shows packets", |name, _| is_captured(name));
    send(&mut api, &wire, "198.51.100.77:1");
    send(&mut api, &wire, "198.51.100.7:5555");
    // From the VIP to itself, but for its port.
    let fragment = api.explain(&json!({ "source": "198.51.100.8:1", "destination": "203.0.113.21:80/tcp" }));
    let mut frame = crate::explain::bytes(&fragment["bytes"]);
    frame[20] = 0x20;
    wire.send(&frame);
    let lines =
        || -> Vec<Value> { trace.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect() };
    wait_until(DEADLINE, "two decisions", || lines().len() >= 2).unwrap();
    let told = lines();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["flow"], "198.51.100.7:5555 -> 203.0.113.21:80/tcp");
    assert_eq!(
        (&told[0]["fate"], &told[0]["service"], &told[0]["how"]),
        (&json!("forwarded"), &json!("ipip"), &json!("settled"))
    );
    assert_eq!((&told[1]["fate"], &told[1]["reason"]), (&json!("dropped"), &json!("fragment")));
    trace.signal(rustix::process::Signal::KILL).unwrap();
    let _ = trace.wait(DEADLINE);
    wait_for(&site, "the program of before", |name, id| (name.to_owned(), id) == before);
    let drops = site.sluice(&["drops", "--socket", site.socket().to_str().unwrap()]);
    assert!(drops.stdout.contains("fragment") && drops.stdout.contains("fragments = true"), "{drops:?}");
}
