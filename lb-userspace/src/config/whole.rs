//! The whole file: all tables, and what the services mean together.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Balancer, Config, Fleet, Service,
    balancer::balancer,
    file::{File, Located, Place},
    fleet::fleet,
    limits::LocatedLimits,
    list::{Lists, ReadList},
    nat::{self, NatReading},
    places::check_places,
    policy::{OF_DEFAULTS, Policy},
    schema,
    section::Section,
    service::Reading,
};

/// Reads and checks the document, to which services belong that are `known` to be right; `None` if it was refused. Its own
/// services are given too, in their order.
pub(super) fn config(
    root: &Section<'_>,
    read_list: ReadList<'_>,
    known: &[Arc<Service>],
) -> Option<(Config, Vec<Arc<Service>>)> {
    let balancer = balancer(root);
    let fleet = fleet(root);
    let (nat, own) = (balancer.nat.as_ref(), balancer.balancer.as_ref());
    let beside = Beside { balancer: own, nat, fleet: &fleet, services: known };
    let limits = LocatedLimits::read(root);
    let mut lists = Lists::read(root, read_list);
    let read = services(root, &beside, &limits, &mut lists);
    let lists = lists.into_sorted();
    let mut services = [known, &read].concat();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let config = Config { balancer: balancer.balancer?, fleet, limits: limits.values(), lists, services };
    Some((config, read))
}

/// What the services are checked against, beside each other.
struct Beside<'a> {
    balancer: Option<&'a Balancer>,
    nat: Option<&'a NatReading>,
    fleet: &'a Fleet,
    /// Services that are right, alone and with each other.
    services: &'a [Arc<Service>],
}

fn services(
    root: &Section<'_>,
    beside: &Beside<'_>,
    limits: &LocatedLimits,
    lists: &mut Lists,
) -> Vec<Arc<Service>> {
    let defaults = root.section("defaults", &schema::DEFAULTS);
    let defaults = defaults.map(|section| Policy::read(&section, &OF_DEFAULTS)).unwrap_or_default();
    let sections = root.sections("service", &schema::SERVICE);
    let readings: Vec<_> = sections.into_iter().map(|section| Reading::new(section, &defaults)).collect();
    readings.iter().for_each(Reading::check);
    check_together(root, &readings, beside.services);
    if let Some(balancer) = beside.balancer {
        for reading in &readings {
            check_places(balancer, reading);
        }
    }
    nat::check(root.file, beside.nat, beside.fleet, &readings, beside.services);
    limits.check(root.file, beside.nat, &readings, beside.services);
    let services = readings.into_iter().filter_map(|reading| reading.into_service(lists));
    let mut services: Vec<_> = services.map(Arc::new).collect();
    // They have been collected in the place of what was read, which is many times as large.
    services.shrink_to_fit();
    services
}

fn check_together(root: &Section<'_>, readings: &[Reading<'_>], known: &[Arc<Service>]) {
    let file = root.file;
    if readings.is_empty() && known.is_empty() {
        let warning = file.warning(&root.place_of("service"), "there are no services");
        file.warn(warning.help("expected at least one [[service]]"));
    }
    refuse_repeated_names(file, readings);
    refuse_overlap(file, readings);
    refuse_vips_as_backends(file, readings);
    if !known.is_empty() && !go_together(readings, known) {
        file.report(file.error(&root.place_of("service"), "two services do not go together"));
    }
}

/// Whether services that were read go with those that are known. Why they do not is told by reading all.
fn go_together(readings: &[Reading<'_>], known: &[Arc<Service>]) -> bool {
    let (mut names, mut endpoints) = (HashSet::new(), HashSet::new());
    let known_endpoint = |service: &Service| (service.address, service.port, service.protocol.number());
    let are_new = |(name, endpoint)| names.insert(name) && endpoints.insert(endpoint);
    let of_known = known.iter().map(|service| (service.name.as_str(), known_endpoint(service)));
    let of_read = readings.iter().filter_map(|reading| {
        let (vip, port, protocol) = reading.endpoint()?;
        Some((reading.name.as_ref()?.value.as_str(), (vip, port, protocol.number())))
    });
    if !of_known.chain(of_read).all(are_new) {
        return false;
    }
    let vips: HashSet<IpAddr> = known.iter().map(|service| service.address).collect();
    let mut backends = readings.iter().flat_map(|reading| &reading.backends.read);
    if backends.any(|backend| vips.contains(&backend.backend.address)) {
        return false;
    }
    let read = readings.iter().filter_map(|reading| Some(reading.address.as_ref()?.value));
    let added: HashSet<IpAddr> = read.filter(|vip| !vips.contains(vip)).collect();
    let mut backends = known.iter().flat_map(|service| &service.backends);
    added.is_empty() || !backends.any(|backend| added.contains(&backend.address))
}

fn refuse_repeated_names(file: &File<'_>, readings: &[Reading<'_>]) {
    let mut seen = HashMap::new();
    for Located { value, place } in readings.iter().filter_map(|reading| reading.name.as_ref()) {
        if let Some(first) = seen.insert(value, place) {
            let message = format!("service name {value} is used twice");
            file.report_second(place, first, message, "expected another name");
        }
    }
}

fn refuse_overlap(file: &File<'_>, readings: &[Reading<'_>]) {
    let mut seen = HashMap::new();
    for reading in readings {
        let (Some((vip, port, protocol)), Some(address)) = (reading.endpoint(), &reading.address) else {
            continue;
        };
        let endpoint = (vip, port, protocol.number());
        if let Some((first, first_place)) = seen.insert(endpoint, (reading, &address.place)) {
            let port = if port == 0 { "every port".to_owned() } else { format!("port {port}") };
            let message = format!(
                "services {} and {} both serve {vip}, {port}, {}",
                Reading::label(first),
                reading.label(),
                protocol.name()
            );
            file.report_second(
                &address.place,
                first_place,
                message,
                "expected another address, port or protocol",
            );
        }
    }
}

/// What the balancer sends to such a backend comes back to the balancer.
fn refuse_vips_as_backends(file: &File<'_>, readings: &[Reading<'_>]) {
    let vips = vips(readings);
    for backend in readings.iter().flat_map(|reading| &reading.backends.read) {
        let address = backend.backend.address;
        if let Some(vip) = vips.get(&address) {
            let error = file.error(&backend.address, format!("{address} is a VIP"));
            let error = error.expected("expected the host's own address");
            file.report(error.related(file.spot(vip), "the VIP"));
        }
    }
}

fn vips<'a>(readings: &'a [Reading<'_>]) -> HashMap<IpAddr, &'a Place> {
    let addresses = readings.iter().rev().filter_map(|reading| reading.address.as_ref());
    addresses.map(|address| (address.value, &address.place)).collect()
}
