//! The pinned maps, as `bpftool` shows them: with the names of their fields.

use std::process::Command;

use lb_tests::process::output;
use serde_json::{Value, json};

use crate::site::{Site, assert_says};

#[test]
fn bpftool_shows_services_by_field_names() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let dump = dump(&site, "services");
    assert_says(&dump, &["\"first_backend\"", "\"generation\"", "\"table\"", "\"digest\""]);
    let service = entry(&dump, 0);
    assert_eq!(service["key"]["address"]["octets"], mapped([203, 0, 113, 10]));
    assert_eq!(service["key"]["port"], json!([0, 80]));
    assert_eq!(service["key"]["protocol"], 6);
    assert_eq!(service["table"]["length"], 4099);
    assert_eq!(service["generation"], 1);
    assert_eq!(format!("{:016x}", service["digest"].as_u64().unwrap()), site.digest());
}

#[test]
fn bpftool_shows_backends_by_field_names() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let first = entry(&dump(&site, "services"), 0)["first_backend"].as_u64().unwrap();
    let dump = dump(&site, "backends");
    assert_says(&dump, &["\"next_hop_mac\"", "\"source_mac\"", "\"ifindex\"", "\"forwarding\""]);
    for number in 1..=3_u8 {
        let backend = entry(&dump, first + u64::from(number) - 1);
        assert_eq!(backend["address"]["octets"], mapped([192, 0, 2, 10 + number]));
        assert_eq!(backend["next_hop_mac"], json!([2, 0, 0, 0, 0, 0x10 + number]));
        assert_eq!((&backend["mtu"], &backend["forwarding"]), (&json!(1500), &json!(1)));
    }
}

fn dump(site: &Site, map: &str) -> String {
    let mut bpftool = Command::new("bpftool");
    output(bpftool.args(["map", "dump", "pinned"]).arg(site.pins.path().join(map))).unwrap()
}

/// The value under `key` of a dump, which is JSON where the map has types.
fn entry(dump: &str, key: u64) -> Value {
    let entries: Vec<Value> = serde_json::from_str(dump).unwrap();
    entries.iter().find(|entry| entry["key"] == key).unwrap()["value"].clone()
}

/// An IPv4 address as the maps hold it.
fn mapped(octets: [u8; 4]) -> Value {
    json!(std::net::Ipv4Addr::from(octets).to_ipv6_mapped().octets())
}
