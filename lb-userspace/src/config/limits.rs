//! `[limits]`: the sizes of the maps, and whether the services fit.

use lb_common::slot::LINE;
use std::{collections::HashSet, net::IpAddr, sync::Arc};

use super::{
    Limits, Service,
    file::{File, Located, Place},
    nat::NatReading,
    schema,
    section::Section,
    service::Reading,
};

/// Sizes of the maps, with the places that set them.
#[derive(Debug)]
pub(super) struct LocatedLimits {
    services: Located<u32>,
    backends: Located<u32>,
    slots: Located<u32>,
    connections: Located<u32>,
    openings: Located<u32>,
    inserts: Located<u32>,
    sources: Located<u32>,
    answers: Located<u32>,
    fragments: Located<u32>,
    nat_sessions: Located<u32>,
    nat_openings: Located<u32>,
}

impl LocatedLimits {
    /// Reads `[limits]`. The upper bounds keep each map below 16 GiB.
    pub(super) fn read(root: &Section<'_>) -> Self {
        let section = root.section("limits", &schema::LIMITS);
        let limit = |key: &str, default: u32, most: u32| {
            let written = section.as_ref().and_then(|s| s.optional(key, |entry| entry.integer(&(1..=most))));
            written.unwrap_or_else(|| {
                let header = section.as_ref().unwrap_or(root);
                let place = Place { key: format!("limits.{key}"), ..header.place.clone() };
                Located { value: default, place }
            })
        };
        Self {
            services: limit("services", 1024, 1 << 20),
            backends: limit("backends", 65_536, 1 << 24),
            slots: limit("slots", 4_194_304, (1 << 31) - 1),
            connections: limit("connections", 262_144, 1 << 26),
            openings: limit("openings", 131_072, 1 << 26),
            inserts: limit("inserts", 100_000, 100_000_000),
            sources: limit("sources", 65_536, 1 << 26),
            answers: limit("answers", 1000, 10_000_000),
            fragments: limit("fragments", 16_384, 1 << 24),
            nat_sessions: limit("nat_sessions", 131_072, 1 << 25),
            nat_openings: limit("nat_openings", 32_768, 1 << 25),
        }
    }

    /// The sizes themselves.
    pub(super) const fn values(&self) -> Limits {
        Limits {
            services: self.services.value,
            backends: self.backends.value,
            slots: self.slots.value,
            connections: self.connections.value,
            openings: self.openings.value,
            inserts: self.inserts.value,
            sources: self.sources.value,
            answers: self.answers.value,
            fragments: self.fragments.value,
            nat_sessions: self.nat_sessions.value,
            nat_openings: self.nat_openings.value,
        }
    }

    /// Reports which of them the services exceed, those included that are `known`, and by how much.
    pub(super) fn check(
        &self,
        file: &File<'_>,
        nat: Option<&NatReading>,
        readings: &[Reading<'_>],
        known: &[Arc<Service>],
    ) {
        let (services, vips) = (readings.len() + known.len(), count_vips(readings, known));
        let translated = nat.map_or(0, NatReading::count);
        let and_translated =
            if translated > 0 { format!(", and {translated} for nat,") } else { String::new() };
        check_limit(
            file,
            &self.services,
            services + vips + translated,
            &format!("{services} services and {vips} VIPs{and_translated} take an entry each"),
        );
        let read = readings.iter().map(|reading| reading.backends.written);
        let backends = read.chain(known.iter().map(|service| service.backends.len())).sum();
        check_limit(file, &self.backends, backends, &format!("there are {backends} backends in all"));
        let read = || readings.iter().map(|reading| reading.slots.value);
        let slots = || read().chain(known.iter().map(|service| service.slots));
        let lengths = || slots().map(|slots| (slots as usize).next_multiple_of(LINE));
        let (sum, longest, shortest) =
            (lengths().sum::<usize>(), lengths().max().unwrap_or(0), lengths().min().unwrap_or(0));
        // Tables of one length fit into each other's gaps; those of several leave gaps that none of them fits.
        let spare = if shortest == longest { longest } else { sum };
        check_limit(
            file,
            &self.slots,
            sum + spare,
            &format!(
                "the tables take {sum} slots in lines of {LINE}, and {spare} more have to be free while they are replaced"
            ),
        );
    }
}

fn check_limit(file: &File<'_>, limit: &Located<u32>, needed: usize, why: &str) {
    if needed > limit.value as usize {
        let key = limit.place.key.trim_start_matches("limits.");
        let error = file.error(&limit.place, format!("{} is too few for this file", limit.value));
        file.report(
            error
                .expected(format!("expected at least {needed}"))
                .help(format!("{why}: set `{key} = {needed}` or more under [limits]")),
        );
    }
}

fn count_vips(readings: &[Reading<'_>], known: &[Arc<Service>]) -> usize {
    let read = readings.iter().filter_map(|reading| Some(reading.address.as_ref()?.value));
    read.chain(known.iter().map(|service| service.address)).collect::<HashSet<IpAddr>>().len()
}
