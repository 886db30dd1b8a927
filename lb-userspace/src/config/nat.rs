//! `[balancer.nat]`: the addresses that packets are translated to, and what backends behind `forwarding = "nat"` need.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive, sync::Arc};

use lb_common::nat::MAX_ADDRESSES;

use super::{
    Fleet, Forwarding, Service,
    backend::Reading as BackendReading,
    file::{File, Located, Place},
    policy::family,
    schema,
    section::{Entry, Section},
    service::Reading,
};

/// What packets are translated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Addresses of this balancer, at most [`lb_common::nat::MAX_ADDRESSES`] of each family.
    pub addresses: Vec<IpAddr>,
    /// Their ports that flows are given.
    pub ports: RangeInclusive<u16>,
}

/// Those below are left to the host.
const DEFAULT_PORTS: RangeInclusive<u16> = 1024..=u16::MAX;

/// `[balancer.nat]`, with the places that later complaints may be about.
#[derive(Debug)]
pub(super) struct NatReading {
    place: Place,
    /// None where they were refused: then nothing else can be said of them.
    addresses: Option<Vec<Located<IpAddr>>>,
    ports: RangeInclusive<u16>,
}

impl NatReading {
    pub(super) fn read(balancer: &Section<'_>) -> Option<Self> {
        let section = balancer.section("nat", &schema::NAT)?;
        let addresses = section.required("addresses", "addresses = [\"198.51.100.9\"]", addresses);
        let ports = section.optional("ports", ports);
        Some(Self {
            addresses: addresses.map(|addresses| addresses.value),
            ports: ports.map_or(DEFAULT_PORTS, |ports| ports.value),
            place: section.place,
        })
    }

    /// The values themselves.
    pub(super) fn values(&self) -> Nat {
        let addresses = self.addresses.iter().flatten().map(|address| address.value).collect();
        Nat { addresses, ports: self.ports.clone() }
    }

    /// How many addresses there are.
    pub(super) fn count(&self) -> usize {
        self.addresses.as_ref().map_or(0, Vec::len)
    }

    fn may_have(&self, is_v4: bool) -> bool {
        let is_of_family = |address: &Located<IpAddr>| address.value.is_ipv4() == is_v4;
        self.addresses.as_ref().is_none_or(|addresses| addresses.iter().any(is_of_family))
    }
}

fn addresses(entry: &Entry<'_>) -> Option<Vec<Located<IpAddr>>> {
    let entries = entry.list("addresses")?;
    if entries.is_empty() {
        return entry.refuse("there is no address", "expected at least one, such as [\"198.51.100.9\"]");
    }
    let read = entries.iter().filter_map(|entry| Some((entry.address()?, entry)));
    let read: Vec<_> = read.map(|(value, entry)| Located { value, place: entry.place.clone() }).collect();
    let mut seen: HashMap<IpAddr, &Place> = HashMap::new();
    for Located { value, place } in &read {
        if let Some(first) = seen.insert(*value, place) {
            let message = format!("{value} is listed twice");
            entry.file.report_second(place, first, message, "expected each address once");
        }
    }
    for is_v4 in [true, false] {
        let count = read.iter().filter(|address| address.value.is_ipv4() == is_v4).count();
        if count > MAX_ADDRESSES {
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            let message = format!("{count} {family} addresses are too many");
            return entry.refuse(message, format!("expected at most {MAX_ADDRESSES} of one family"));
        }
    }
    Some(read)
}

/// A range such as "1024-65535".
fn ports(entry: &Entry<'_>) -> Option<RangeInclusive<u16>> {
    const EXPECTED: &str = "expected the first and the last port, such as \"1024-65535\"";
    let text = entry.string("a range of ports such as \"1024-65535\"")?;
    let ends = text.split_once('-').and_then(|(first, last)| Some((port(first)?, port(last)?)));
    match ends {
        Some((first, last)) if first <= last => Some(first..=last),
        _ => entry.refuse(format!("{} is not a range of ports", entry.excerpt()), EXPECTED),
    }
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

/// Reports what backends that packets are translated for lack, and addresses that are somebody else's. Of services that are
/// `known` to be right it matters only whether they are translated for.
pub(super) fn check(
    file: &File<'_>,
    nat: Option<&NatReading>,
    fleet: &Fleet,
    readings: &[Reading<'_>],
    known: &[Arc<Service>],
) {
    let mut others = known.iter().flat_map(|service| &service.backends);
    let mut is_used = nat.is_some() && others.any(|backend| backend.forwarding == Forwarding::Nat);
    for reading in readings {
        for backend in &reading.backends.read {
            if backend.backend.forwarding == Forwarding::Nat {
                is_used = true;
                check_backend(file, nat, reading, backend);
            } else if let Some(port) = &backend.port {
                refuse_port(file, backend.backend.forwarding, port);
            }
        }
    }
    let Some(nat) = nat else { return };
    if !is_used {
        let warning = file.warning(&nat.place, "no backend is reached by address translation");
        file.warn(
            warning.help("`forwarding = \"nat\"` in a service or a backend makes use of the addresses"),
        );
    }
    for address in nat.addresses.iter().flatten() {
        refuse_somebodys(file, address, fleet, readings);
    }
}

fn check_backend(file: &File<'_>, nat: Option<&NatReading>, service: &Reading<'_>, backend: &BackendReading) {
    let address = backend.backend.address;
    let Some(vip) = &service.address else { return };
    if vip.value.is_ipv4() != address.is_ipv4() {
        let message = format!("{} cannot be translated to {}", family(vip.value), family(address));
        let error = file.error(&backend.address, message).expected("expected an address of the VIP's family");
        let error = error.related(file.spot(&vip.place), "the VIP");
        file.report(error.help("`forwarding = \"ipip\"` and `\"gue\"` carry any family in any other"));
        return;
    }
    if !nat.is_some_and(|nat| nat.may_have(address.is_ipv4())) {
        let family = family(address);
        let message = format!("there is no {family} address to translate packets for {address} to");
        let error = file.error(&backend.address, message);
        let error = error.expected(format!("expected an {family} address under [balancer.nat]"));
        file.report(error.help(
            "add `addresses = [\"…\"]` there: addresses of this balancer alone, which the backends' replies go to",
        ));
    }
}

/// Other modes deliver the client's own packet.
fn refuse_port(file: &File<'_>, forwarding: Forwarding, port: &Place) {
    let mode = forwarding.name();
    let error = file.error(port, format!("`{mode}` leaves a packet's port as it is"));
    let error = error.expected("expected no `port`");
    file.report(error.help(
        "the backend has to listen on the service's own port, or be reached with `forwarding = \"nat\"`",
    ));
}

fn refuse_somebodys(file: &File<'_>, address: &Located<IpAddr>, fleet: &Fleet, readings: &[Reading<'_>]) {
    let refuse = |whose: &str, place: Option<&Place>| {
        let error = file.error(&address.place, format!("{} is {whose}", address.value));
        let error = error.expected("expected an address that nothing else has");
        let spot = place.and_then(|place| file.spot(place));
        file.report(
            error
                .related(spot, "this one")
                .help("what comes to it is taken for a backend's reply, and dropped where it is none"),
        );
    };
    let vips = readings.iter().filter_map(|reading| reading.address.as_ref());
    if let Some(vip) = vips.into_iter().find(|vip| vip.value == address.value) {
        return refuse("a VIP", Some(&vip.place));
    }
    let mut backends = readings.iter().flat_map(|reading| &reading.backends.read);
    if let Some(backend) = backends.find(|backend| backend.backend.address == address.value) {
        return refuse("a backend's address", Some(&backend.address));
    }
    if fleet.peers.contains(&address.value) {
        refuse("a balancer's own address", None);
    }
}

impl Reading<'_> {
    /// The translation knows flows by their ports, which later fragments do not have.
    pub(super) fn check_translated_fragments(&self) {
        let wanted = self.policy.fragments.as_ref().filter(|fragments| fragments.value);
        let Some(fragments) = wanted else { return };
        let mut backends = self.backends.read.iter();
        let Some(backend) = backends.find(|backend| backend.backend.forwarding == Forwarding::Nat) else {
            return;
        };
        let file = self.section.file;
        let message = format!("fragments cannot be translated, as {} needs it", backend.backend.name);
        let error = file.error(&fragments.place, message).expected("expected false");
        file.report(error.help(format!("say `fragments = false` in {}", self.label())));
    }
}
