//! What `sluice status` says of the packets that fit on the way to a service's backends.

use std::collections::BTreeMap;

use crate::admin::status::Service;

/// A line about the largest packets, and one about what to do where they are smaller than clients'.
pub(super) fn sizes(service: &Service) -> Vec<String> {
    let mut by_size: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for backend in &service.backends {
        if let Some(largest) = backend.largest_packet {
            by_size.entry(largest).or_default().push(&backend.name);
        }
    }
    let to_all = by_size.len() == 1;
    let part = |(largest, names): (&u16, &Vec<&str>)| {
        if to_all { format!("{largest} bytes") } else { format!("{largest} bytes to {}", names.join(", ")) }
    };
    let parts: Vec<_> = by_size.iter().map(part).collect();
    let fits = (!parts.is_empty()).then(|| format!("largest packet of a client: {}", parts.join("; ")));
    fits.into_iter().chain(service.size_warning.clone()).collect()
}
