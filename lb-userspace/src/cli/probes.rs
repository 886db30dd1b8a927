//! What `sluice status` says of probes that do not go as they were meant to.

use std::collections::BTreeMap;

use crate::admin::status::Service;

/// A line for each cause, with the backends that it is one for.
pub(super) fn probes(service: &Service) -> Vec<String> {
    let mut by_cause: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for backend in &service.backends {
        if let Some((probe, problem)) =
            backend.probe.as_ref().and_then(|probe| Some((probe, probe.problem.as_deref()?)))
        {
            by_cause.entry((&probe.via, problem)).or_default().push(&backend.name);
        }
    }
    let line = |((via, problem), names): ((&str, &str), Vec<&str>)| {
        let names = names.join(", ");
        if via == "direct" {
            format!("probes of {names} go to the backends' own addresses: {problem}")
        } else {
            format!("probes of {names} wait: {problem}")
        }
    };
    by_cause.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::status::{Backend, Probe},
        cli::tests::{backend, service},
    };

    fn probed(name: &str, via: &str, problem: Option<&str>) -> Backend {
        let probe = Probe {
            kind: "tcp".to_owned(),
            via: via.to_owned(),
            target: "203.0.113.10:80".to_owned(),
            problem: problem.map(str::to_owned),
        };
        Backend { probe: Some(probe), ..backend(name) }
    }

    #[test]
    fn probes_that_go_as_they_are_meant_to_are_not_spoken_of() {
        let backends = vec![backend("b1"), probed("b2", "path", None), probed("b3", "direct", None)];
        assert!(probes(&service("web", backends)).is_empty());
    }

    #[test]
    fn each_cause_is_told_once() {
        let no_road = Some("the road for them could not be built");
        let backends = vec![
            probed("b1", "direct", no_road),
            probed("b2", "path", None),
            probed("b3", "path", Some("no next hop is known yet")),
            probed("b4", "direct", no_road),
        ];
        assert_eq!(
            probes(&service("web", backends)),
            [
                "probes of b1, b4 go to the backends' own addresses: the road for them could not be built",
                "probes of b3 wait: no next hop is known yet",
            ]
        );
    }
}
