//! The whole file: all tables, and what the services mean together.

use std::{collections::HashMap, net::IpAddr};

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

/// Reads and checks the document; `None` if it was refused.
pub(super) fn config(root: &Section<'_>, read_list: ReadList<'_>) -> Option<Config> {
    let balancer = balancer(root);
    let fleet = fleet(root);
    let beside = Beside { balancer: balancer.balancer.as_ref(), nat: balancer.nat.as_ref(), fleet: &fleet };
    let limits = LocatedLimits::read(root);
    let mut lists = Lists::read(root, read_list);
    let services = services(root, &beside, &limits, &mut lists);
    let lists = lists.into_sorted();
    Some(Config { balancer: balancer.balancer?, fleet, limits: limits.values(), lists, services })
}

/// What the services are checked against, beside each other.
struct Beside<'a> {
    balancer: Option<&'a Balancer>,
    nat: Option<&'a NatReading>,
    fleet: &'a Fleet,
}

fn services(
    root: &Section<'_>,
    beside: &Beside<'_>,
    limits: &LocatedLimits,
    lists: &mut Lists,
) -> Vec<Service> {
    let defaults = root.section("defaults", &schema::DEFAULTS);
    let defaults = defaults.map(|section| Policy::read(&section, &OF_DEFAULTS)).unwrap_or_default();
    let sections = root.sections("service", &schema::SERVICE);
    let readings: Vec<_> = sections.into_iter().map(|section| Reading::new(section, &defaults)).collect();
    readings.iter().for_each(Reading::check);
    check_together(root, &readings);
    if let Some(balancer) = beside.balancer {
        for reading in &readings {
            check_places(balancer, reading);
        }
    }
    nat::check(root.file, beside.nat, beside.fleet, &readings);
    limits.check(root.file, beside.nat, &readings);
    let mut services: Vec<_> =
        readings.into_iter().filter_map(|reading| reading.into_service(lists)).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

fn check_together(root: &Section<'_>, readings: &[Reading<'_>]) {
    let file = root.file;
    if readings.is_empty() {
        let warning = file.warning(&root.place_of("service"), "there are no services");
        file.warn(warning.help("expected at least one [[service]]"));
    }
    refuse_repeated_names(file, readings);
    refuse_overlap(file, readings);
    refuse_vips_as_backends(file, readings);
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
