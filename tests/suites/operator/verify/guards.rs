//! Guards: what is written to their maps is found by whose it is, and packets are judged as before after the repair.

use std::process::Command;

use lb_tests::{
    bpf::{PassProgram, object},
    process::output,
};
use serde_json::{Value, json};

use super::{Map, PATIENCE, assert_repaired, hex};
use crate::{
    explain::{Api, bytes},
    site::Site,
    wire::Wire,
};

/// What the site's maps have room for.
const SERVICES_AT_MOST: u32 = 16;
const BACKENDS_AT_MOST: u32 = 64;

/// Where the bound of a backend's flows begins in a value of `backend_limits`, behind that of new ones.
const CONNECTIONS: usize = 16;

/// Beside `web`, which denies a prefix: a service whose backend takes one flow, and one that answers every SYN with a cookie.
const SERVICES: &str = r#"
[service.guard]
deny = ["bad"]

[[list]]
name = "bad"
prefixes = ["198.51.100.0/24", "2001:db8:bad::/48"]

[[service]]
name = "full"
address = "203.0.113.11"
port = 80
protocol = "tcp"
forwarding = "l2"
on_full = "refuse"
slots = 499
probe = { type = "none" }
[[service.backend]]
name = "b1"
address = "192.0.2.11"
max_connections = 1

[[service]]
name = "cookies"
address = "203.0.113.12"
port = 80
protocol = "tcp"
forwarding = "nat"
slots = 499
probe = { type = "none" }
guard = { syn_cookies = "always" }
[[service.backend]]
name = "b1"
address = "192.0.2.11"
"#;

/// A site with these services, and its far end.
fn stage() -> (Site, Wire) {
    let mut site = Site::new();
    site.change("[fleet]", "nat = { addresses = [\"192.0.2.250\"] }\n[fleet]");
    site.change("probe = { type = \"none\" }\n", "");
    let (own, backends) = site.config.split_once("\n[[service.backend]]").unwrap();
    let (guard, others) = SERVICES.split_once("\n[[list]]").unwrap();
    site.config = format!(
        "{own}probe = {{ type = \"none\" }}\n{guard}\n[[service.backend]]{backends}\n[[list]]{others}"
    );
    site.save();
    PassProgram::load(&object().unwrap()).unwrap().attach(&site.host.netns, "peer0").unwrap();
    let wire = Wire::open(&site.host.netns, "peer0");
    (site, wire)
}

/// The SYN from a port of `source` to a VIP.
fn syn(source: &str, port: u16, vip: u8) -> Value {
    json!({ "source": format!("{source}:{port}"), "destination": format!("203.0.113.{vip}:80/tcp"), "syn": true })
}

/// What becomes of the packet, and why.
fn judged(api: &mut Api, packet: &Value) -> (String, String) {
    let said = api.explain(packet);
    assert_eq!(said["disagreement"], Value::Null, "{said}");
    let word = |key: &str| said[key].as_str().unwrap_or_else(|| panic!("{said}")).to_owned();
    (word("fate"), word("reason"))
}

/// Sends the packet, which must reach a backend.
#[track_caller]
fn assert_forwarded(api: &mut Api, wire: &Wire, packet: &Value) {
    wire.send(&bytes(&api.explain(packet)["bytes"]));
    let to_backend = |frame: &[u8]| frame[..5] == [2, 0, 0, 0, 0] && matches!(frame[5], 0x11..=0x13);
    assert!(wire.next(PATIENCE, to_backend).is_some(), "it has not reached a backend: {packet}");
}

/// The number of the one whose value in a map is not zero, of so many.
#[track_caller]
fn owner(map: &Map<'_>, all: u32) -> u32 {
    let mut owners = (0..all).filter(|number| map.value(*number).iter().any(|byte| *byte != 0));
    let owner = owners.next().unwrap();
    assert_eq!(owners.next(), None);
    owner
}

/// The trie of the only service with rules.
struct Trie<'a>(&'a Site);

impl Trie<'_> {
    /// The service's number, and the kernel's number of the trie.
    fn found(&self) -> (u32, u32) {
        let rules = Map { site: self.0, name: "rules" };
        let of = |service| Some((service, rules.found(service)?));
        let (service, id) = (0..SERVICES_AT_MOST).find_map(of).unwrap();
        (service, u32::from_le_bytes(id.try_into().unwrap()))
    }

    /// Does `action` to a prefix, with a rule where it takes one.
    fn change(&self, action: &str, prefix: &[u8; 24], rule: &[u8]) {
        let (_, id) = self.found();
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["map", action, "id", &id.to_string(), "key", "hex"]).args(hex(prefix));
        if !rule.is_empty() {
            bpftool.args(["value", "hex"]).args(hex(rule));
        }
        output(&mut bpftool).unwrap();
    }
}

/// A prefix of an address as the key of a trie: the bits of family and address that count, the family, the address.
fn prefix(bits: u8, family: u8, address: &[u8]) -> [u8; 24] {
    let mut key = [0; 24];
    (key[0], key[4]) = (32 + bits, family);
    key[8..8 + address.len()].copy_from_slice(address);
    key
}

#[test]
fn rules_are_whole_again_after_the_repair() {
    let (site, wire) = stage();
    let _daemon = site.start(&["--detach"]);
    let mut api = Api::open(&site);
    let (denied, free) = (|port| syn("198.51.100.7", port, 10), |port| syn("198.18.0.7", port, 10));
    let is_denied = ("dropped".to_owned(), "denied".to_owned());
    assert_eq!(judged(&mut api, &denied(5000)), is_denied);
    assert_forwarded(&mut api, &wire, &free(5000));
    let trie = Trie(&site);
    let entry = format!("entry {}", trie.found().0);
    let otherwise = [("rules", Some("web"), None, entry.as_str())];

    trie.change("delete", &prefix(24, 4, &[198, 51, 100]), &[]);
    assert_forwarded(&mut api, &wire, &denied(5001));
    assert_repaired(&site, &otherwise);
    assert_eq!(judged(&mut api, &denied(5002)), is_denied);

    // As many as before, and another one among them.
    trie.change("delete", &prefix(48, 6, &[0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad]), &[]);
    trie.change("update", &prefix(16, 4, &[198, 18]), &[1, 0, 0, 0]);
    assert_eq!(judged(&mut api, &free(5003)), is_denied);
    assert_repaired(&site, &otherwise);
    assert_forwarded(&mut api, &wire, &free(5003));
    assert_eq!(judged(&mut api, &denied(5003)), is_denied);
}

#[test]
fn limit_of_a_backend_holds_again_after_the_repair() {
    let (site, wire) = stage();
    let _daemon = site.start(&["--detach"]);
    let mut api = Api::open(&site);
    let packet = |port| syn("198.18.0.7", port, 11);
    assert_forwarded(&mut api, &wire, &packet(5000));
    assert_eq!(judged(&mut api, &packet(5001)).1, "refused");
    let limits = Map { site: &site, name: "backend_limits" };
    let number = owner(&limits, BACKENDS_AT_MOST);

    // As many as one likes.
    limits.damage(number, |limit| limit[CONNECTIONS..].fill(0));
    assert_forwarded(&mut api, &wire, &packet(5001));
    assert_repaired(&site, &[("backend_limits", Some("full"), Some("b1"), &format!("entry {number}"))]);
    assert_eq!(judged(&mut api, &packet(5002)).1, "refused");
}

#[test]
fn syns_are_answered_again_after_the_repair() {
    let (site, wire) = stage();
    let _daemon = site.start(&["--detach"]);
    let mut api = Api::open(&site);
    let packet = |port| syn("198.18.0.7", port, 12);
    let is_answered = ("answered".to_owned(), "cookie".to_owned());
    assert_eq!(judged(&mut api, &packet(5000)), is_answered);
    let rates = Map { site: &site, name: "cookie_rates" };
    let number = owner(&rates, SERVICES_AT_MOST);

    rates.damage(number, |rate| rate.fill(0));
    assert_forwarded(&mut api, &wire, &packet(5000));
    assert_repaired(&site, &[("cookie_rates", Some("cookies"), None, &format!("entry {number}"))]);
    assert_eq!(judged(&mut api, &packet(5001)), is_answered);
    wire.send(&bytes(&api.explain(&packet(5001))["bytes"]));
    let syn_ack = |frame: &[u8]| frame[26..30] == [203, 0, 113, 12] && frame[47] == 0x12;
    assert!(wire.next(PATIENCE, syn_ack).is_some(), "no answer has come");
}
