//! What `sluice status` says of a service's guards.

use crate::admin::status::{Backend, Limits, Service};

/// A line about what its lists say and what was turned away, if there is anything to say, and one about each backend that
/// has a limit.
pub(super) fn guards(service: &Service) -> Vec<String> {
    let of_service = turned_away(service);
    let of_backends = service.backends.iter().filter_map(limits);
    of_service.into_iter().chain(of_backends).collect()
}

fn turned_away(service: &Service) -> Option<String> {
    let refused = service.refused.iter().filter(|(_, packets)| **packets > 0);
    let refused: Vec<_> = refused.map(|(cause, packets)| format!("{packets} {cause}")).collect();
    let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
    match service.prefixes {
        Some(prefixes) => Some(format!("guards: {prefixes} prefixes, packets turned away: {refused}")),
        None if refused != "none" => Some(format!("guards: packets turned away: {refused}")),
        None => None,
    }
}

fn limits(backend: &Backend) -> Option<String> {
    let Limits { max_new_per_sec, max_connections, connections } = backend.limits?;
    let most = max_connections.map_or_else(String::new, |most| format!(" of at most {most}"));
    let new = max_new_per_sec.map_or_else(String::new, |new| format!(", at most {new} new ones a second"));
    Some(format!("{}: {connections}{most} connections{new}", backend.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::tests::{backend, service};

    #[test]
    fn service_without_guards_is_not_spoken_of() {
        assert!(guards(&service("web", vec![backend("b1")])).is_empty());
    }

    #[test]
    fn guards_are_told_with_what_they_have_turned_away() {
        let limits = Limits { max_new_per_sec: Some(50), max_connections: Some(100), connections: 7 };
        let limited = Backend { limits: Some(limits), ..backend("b1") };
        let refused = BTreeMap::from([("denied".to_owned(), 3), ("malformed".to_owned(), 0)]);
        let web = Service { prefixes: Some(12), refused, ..service("web", vec![limited, backend("b2")]) };
        assert_eq!(
            guards(&web),
            [
                "guards: 12 prefixes, packets turned away: 3 denied",
                "b1: 7 of at most 100 connections, at most 50 new ones a second"
            ]
        );
    }
}
