//! `[[service.backend]]`.

use std::{collections::HashMap, net::IpAddr};

use super::{
    AdminState, Backend, BackendLimits, MAX_WEIGHT,
    file::{File, Located, Place},
    guard::MOST,
    location::location,
    policy::{Policy, forwarding},
    quic::server_id,
    rollout::version,
    schema,
    section::{Entry, Section},
};

const ADMIN_STATES: &[(&str, AdminState)] =
    &[("ready", AdminState::Ready), ("drain", AdminState::Drain), ("maintenance", AdminState::Maintenance)];

/// The last level that there can be.
pub(super) const MAX_PRIORITY: u32 = 127;

/// The most flows that a backend may be limited to.
pub(super) const MAX_CONNECTIONS: u32 = 1 << 26;

/// The backends of one service.
#[derive(Debug)]
pub(super) struct Backends {
    /// Those that could be read.
    pub(super) read: Vec<Reading>,
    /// How many the file has.
    pub(super) written: usize,
}

impl Backends {
    /// Whether any may be given only so many flows.
    pub(super) fn have_limits(&self) -> bool {
        self.read.iter().any(|reading| reading.backend.limits.is_some())
    }
}

/// A backend, and the places that later complaints may be about.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) backend: Backend,
    pub(super) address: Place,
    pub(super) weight: Place,
    pub(super) version: Place,
    pub(super) mentions_version: bool,
    /// Where its own port is, if it has one.
    pub(super) port: Option<Place>,
    pub(super) location: Place,
    pub(super) server_id: Place,
    pub(super) mentions_server_id: bool,
}

/// Reads the backends of `service`.
pub(super) fn backends(service: &Section<'_>, policy: &Policy) -> Backends {
    let sections = service.sections("backend", &schema::BACKEND);
    refuse_without_forwarding(service, policy, &sections);
    let mut seen = Seen::default();
    let read = sections.iter().filter_map(|section| backend(section, policy, &mut seen)).collect();
    Backends { read, written: sections.len() }
}

/// There is no default: whichever it were, those who need the other would lose packets without a word.
fn refuse_without_forwarding(service: &Section<'_>, policy: &Policy, backends: &[Section<'_>]) {
    let is_said = service.mentions("forwarding") || policy.forwarding.is_some();
    if !is_said && !backends.iter().all(|backend| backend.mentions("forwarding")) {
        service.refuse_absence("forwarding", "forwarding = \"ipip\"` or `forwarding = \"l2\"");
    }
}

/// Names and addresses within one service.
#[derive(Debug, Default)]
struct Seen {
    names: HashMap<String, Place>,
    addresses: HashMap<IpAddr, Place>,
}

fn backend(section: &Section<'_>, policy: &Policy, seen: &mut Seen) -> Option<Reading> {
    let name = section.required("name", "name = \"web-1\"", Entry::name);
    let address = section.required("address", "address = \"198.51.100.11\"", Entry::address);
    let weight = section.optional("weight", |entry| entry.integer(&(0..=MAX_WEIGHT)));
    let version = section.optional("version", version);
    let port = section.optional("port", |entry| entry.integer(&(1..=u32::from(u16::MAX))));
    let priority = section.optional("priority", |entry| entry.integer(&(0..=MAX_PRIORITY)));
    let place = section.optional("location", location);
    let admin = section.optional("admin", |entry| entry.choice(ADMIN_STATES));
    let forwarding = section.optional("forwarding", forwarding).or_else(|| policy.forwarding.clone());
    let server_id = section.optional("server_id", server_id);
    seen.refuse_repeated(section.file, name.as_ref(), address.as_ref());
    let address = address?;
    Some(Reading {
        backend: Backend {
            name: name?.value,
            address: address.value,
            weight: weight.map_or(1, |weight| weight.value),
            version: version.map(|version| version.value),
            priority: priority.map_or(0, |priority| priority.value as u8),
            location: place.map(|location| location.value),
            admin: admin.map(|admin| admin.value).unwrap_or_default(),
            forwarding: forwarding?.value,
            port: port.as_ref().map(|port| port.value as u16),
            limits: limits(section),
            server_id: server_id.map(|id| id.value),
        },
        address: address.place,
        weight: section.place_of("weight"),
        version: section.place_of("version"),
        mentions_version: section.mentions("version"),
        port: port.map(|port| port.place),
        location: section.place_of("location"),
        server_id: section.place_of("server_id"),
        mentions_server_id: section.mentions("server_id"),
    })
}

/// What it may be given. The bounds are what one balancer may come to at most.
fn limits(section: &Section<'_>) -> BackendLimits {
    let limit =
        |key, most| section.optional(key, |entry| entry.integer(&(1..=most))).map(|limit| limit.value);
    BackendLimits {
        max_new_per_sec: limit("max_new_per_sec", MOST),
        max_connections: limit("max_connections", MAX_CONNECTIONS),
    }
}

impl Seen {
    fn refuse_repeated(
        &mut self,
        file: &File<'_>,
        name: Option<&Located<String>>,
        address: Option<&Located<IpAddr>>,
    ) {
        if let Some(Located { value, place }) = name
            && let Some(first) = self.names.insert(value.clone(), place.clone())
        {
            let message = format!("backend name {value} is used twice in this service");
            file.report_second(place, &first, message, "expected another name");
        }
        if let Some(Located { value, place }) = address
            && let Some(first) = self.addresses.insert(*value, place.clone())
        {
            let message = format!("backend address {value} is used twice in this service");
            file.report_second(
                place,
                &first,
                message,
                "expected one backend per address: `weight` sets its share",
            );
        }
    }
}
