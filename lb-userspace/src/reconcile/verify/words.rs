//! What maps hold, in the words of the configuration.

use std::net::IpAddr;

use lb_common::{
    address::Address,
    backend::Backend,
    guard::Rate,
    nat::Pool,
    policy::Policy,
    quic::ServerId,
    service::{Service, ServiceKey, TableRef},
};

/// A field of an entry, and how to say what it is.
pub(super) type Field<T> = (&'static str, fn(&T) -> String);

/// The fields of a backend's entry.
pub(super) const BACKEND: [Field<Backend>; 14] = [
    ("address", |entry| address(entry.address)),
    ("source", |entry| address(entry.source)),
    ("source_mask", |entry| format!("{:#06x}", u16::from_be_bytes(entry.source_mask))),
    ("port", |entry| u16::from_be_bytes(entry.port).to_string()),
    ("ifindex", |entry| entry.ifindex.to_string()),
    ("next_hop_mac", |entry| mac(entry.next_hop_mac)),
    ("source_mac", |entry| mac(entry.source_mac)),
    ("mtu", |entry| entry.mtu.to_string()),
    ("vlan", |entry| entry.vlan.to_string()),
    ("forwarding", |entry| one_of(&FORWARDING, entry.forwarding)),
    ("old_flows", |entry| one_of(&["keep", "move", "reset"], entry.old_flows)),
    ("takes_new", |entry| one_of(&["no", "yes"], entry.takes_new)),
    ("health", |entry| one_of(&["unknown", "up", "down"], entry.health)),
    ("health_since_s", |entry| entry.health_since_s.to_string()),
];

/// The fields of a service's entry.
pub(super) const SERVICE: [Field<Service>; 11] = [
    ("key", |entry| key(&entry.key)),
    ("first_backend", |entry| entry.first_backend.to_string()),
    ("capacity", |entry| entry.capacity.to_string()),
    ("table", |entry| table(entry.table)),
    ("previous_table", |entry| table(entry.previous_table)),
    ("digest", |entry| format!("{:016x}", entry.digest)),
    ("generation", |entry| entry.generation.to_string()),
    ("track", |entry| one_of(&["moved", "always", "never"], entry.track)),
    ("source_bits", |entry| entry.source_bits.to_string()),
    ("previous_source_bits", |entry| entry.previous_source_bits.to_string()),
    ("options", |entry| options(entry.options)),
];

/// The fields of a service's policy.
pub(super) const POLICY: [Field<Policy>; 7] = [
    ("mss", |policy| policy.mss.to_string()),
    ("max_new_per_source", |policy| rate(policy.guard.source)),
    ("max_new", |policy| rate(policy.guard.service)),
    ("source_bits", |policy| policy.guard.source_bits.to_string()),
    ("on_full", |policy| one_of(&["next", "refuse"], policy.guard.on_full)),
    ("quic.config_id", |policy| policy.quic.config_id.to_string()),
    ("quic.server_id_length", |policy| policy.quic.server_id_length.to_string()),
];

/// Names of [`lb_common::backend::Forwarding`].
const FORWARDING: [&str; 10] = [
    "unresolved",
    "l2",
    "ipip over IPv4",
    "ipip over IPv6",
    "gue over IPv4",
    "gue over IPv6",
    "gue over IPv4, variant 1",
    "gue over IPv6, variant 1",
    "nat",
    "this host",
];

/// Names of the options of services, from the lowest bit on.
const OPTIONS: [&str; 8] = ["echo", "fragments", "guard", "quic", "mss", "nat", "strict", "limits"];

pub(super) fn nothing() -> String {
    "nothing".to_owned()
}

pub(super) fn address(address: Address) -> String {
    IpAddr::from(address).to_string()
}

pub(super) fn key(key: &ServiceKey) -> String {
    let port = u16::from_be_bytes(key.port);
    let protocol = match key.protocol {
        0 => "no protocol".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    };
    format!("{} port {port} {protocol}", address(key.address))
}

pub(super) fn backend(entry: &Backend) -> String {
    format!("{} by {}", address(entry.address), one_of(&FORWARDING, entry.forwarding))
}

pub(super) fn server_id(id: &ServerId) -> String {
    let octets = &id.octets[..usize::from(id.length).min(id.octets.len())];
    let digits: Vec<_> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("server id {}", digits.concat())
}

pub(super) fn pool(pool: &Pool) -> String {
    let addresses = pool.addresses.iter().take(pool.count as usize).map(|&one| address(one));
    let addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() {
        return nothing();
    }
    format!("{}, ports {} to {}", addresses.join(", "), pool.first_port, pool.last_port)
}

fn table(table: TableRef) -> String {
    let TableRef { base, length } = table;
    if length == 0 { "none".to_owned() } else { format!("{length} slots from {base}") }
}

fn rate(rate: Rate) -> String {
    let Rate { interval_ns, burst_ns } = rate;
    if interval_ns == 0 { "any".to_owned() } else { format!("one in {interval_ns} ns, {burst_ns} ns ahead") }
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

fn options(bits: u8) -> String {
    let set = (0..).zip(OPTIONS).filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| name);
    let set: Vec<_> = set.collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

/// The name of a number, where it has one.
fn one_of(names: &[&str], number: u8) -> String {
    let name = names.get(usize::from(number));
    name.map_or_else(|| format!("number {number}"), |name| (*name).to_owned())
}
