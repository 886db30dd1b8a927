//! What `sluice status` says of who gets new flows, where that is not plainly the weights.

use crate::admin::status::{Backend, Level, Service, SlowStart};

/// Lines about the service: whether it is available, whether probes are followed, what each priority gets; then one about each
/// backend that has a priority, a place or a slow start.
pub(super) fn shares(service: &Service) -> Vec<String> {
    let unavailable = service.unavailable.as_ref().map(|reason| format!("not available: {reason}"));
    let lines = [unavailable, probes(service), levels(&service.levels)];
    lines.into_iter().flatten().chain(service.backends.iter().filter_map(backend)).collect()
}

fn probes(service: &Service) -> Option<String> {
    match service.probes.as_str() {
        "panic" => Some("panic: too few backends are healthy, so probes are not followed".to_owned()),
        "all_down" => Some("all backends fail their probes at once, so probes are not believed".to_owned()),
        _ => None,
    }
}

fn levels(levels: &[Level]) -> Option<String> {
    let part = |level: &Level| format!("priority {} gets {:.2} %", level.priority, level.part * 100.0);
    (levels.len() > 1).then(|| levels.iter().map(part).collect::<Vec<_>>().join(", "))
}

fn backend(backend: &Backend) -> Option<String> {
    let priority = (backend.priority > 0).then(|| format!("priority {}", backend.priority));
    let place = backend.location.as_ref().map(|location| format!("in {location}"));
    let start =
        backend.slow_start.map(|SlowStart { step, steps }| format!("slow start, step {step} of {steps}"));
    let mut parts: Vec<String> = [priority, place, start].into_iter().flatten().collect();
    if parts.is_empty() {
        return None;
    }
    parts.push(format!("{:.2} % promised", backend.promised * 100.0));
    Some(format!("{}: {}", backend.name, parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{backend, service};

    #[test]
    fn service_that_goes_by_weights_is_not_spoken_of() {
        assert!(shares(&service("web", vec![backend("b1")])).is_empty());
    }

    #[test]
    fn what_decides_beside_weights_is_told() {
        let start = Some(SlowStart { step: 2, steps: 5 });
        let starting = Backend { slow_start: start, promised: 0.28, ..backend("b1") };
        let spare =
            Backend { priority: 1, location: Some("eu.ams".to_owned()), promised: 0.72, ..backend("b2") };
        let levels = vec![Level { priority: 0, part: 0.28 }, Level { priority: 1, part: 0.72 }];
        let (unavailable, probes) = (Some("1 healthy backends".to_owned()), "panic".to_owned());
        let web =
            Service { unavailable, probes, levels, ..service("web", vec![starting, spare, backend("b3")]) };
        assert_eq!(
            shares(&web),
            [
                "not available: 1 healthy backends",
                "panic: too few backends are healthy, so probes are not followed",
                "priority 0 gets 28.00 %, priority 1 gets 72.00 %",
                "b1: slow start, step 2 of 5, 28.00 % promised",
                "b2: priority 1, in eu.ams, 72.00 % promised",
            ]
        );
    }
}
