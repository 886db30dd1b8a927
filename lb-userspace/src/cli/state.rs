//! How the state of a backend is put into words.

use super::daemon::shown;
use crate::admin::status::{Backend, LEAVING};

/// For a cell: admin state where it is not the usual one, then health, why it is down, and what it says of itself.
pub(super) fn cell(backend: &Backend) -> String {
    let health =
        if backend.health == "down" { format!("down: {}", backend.reason) } else { backend.health.clone() };
    let health = backend.held_back.as_ref().map_or(health.clone(), |why| format!("{health} ({why})"));
    let health = backend.says.as_ref().map_or(health.clone(), |says| format!("{health} (says {says})"));
    if backend.admin == "ready" { health } else { format!("{}, {health}", backend.admin) }
}

/// For a line: what it is, and what is left of its flows.
pub(super) fn sentence(service: &str, backend: &Backend) -> String {
    let name = format!("{service}/{}", backend.name);
    let verb = match backend.admin.as_str() {
        "ready" if backend.health == "down" => {
            return format!("{name} is ready, and down: {}", backend.reason);
        }
        "ready" => match &backend.held_back {
            Some(why) => return format!("{name} is ready, and gets no new flows: {why}"),
            None => return format!("{name} is ready"),
        },
        "drain" => "drains",
        LEAVING => "leaves",
        _ => "is in maintenance",
    };
    let by = if backend.by_command { " by command" } else { "" };
    format!("{name} {verb}{by}: {}", remainder(backend))
}

/// What is left of a backend's flows.
pub(super) fn remainder(backend: &Backend) -> String {
    if backend.empty {
        return "empty, it gets no packet any more".to_owned();
    }
    let mut parts = vec![match backend.tracked_flows {
        0 => "no tracked flow, but silent ones may live".to_owned(),
        1 => "1 tracked flow".to_owned(),
        flows => format!("{flows} tracked flows"),
    }];
    parts.extend(backend.last_packet_ago.map(|ago| format!("the last packet {} ago", shown(ago))));
    parts.extend(backend.deadline_left.map(|left| format!("{} until it gives up what is left", shown(left))));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::backend;

    #[test]
    fn cell_holds_what_the_backend_says_of_itself() {
        let says = Some("drain, 75%".to_owned());
        let advised = Backend { admin: "drain".to_owned(), says, ..backend("b1") };
        assert_eq!(cell(&advised), "drain, up (says drain, 75%)");
    }

    #[test]
    fn sentence_says_what_is_left() {
        let draining = Backend { admin: "drain".to_owned(), ..backend("b1") };
        let (by_command, tracked_flows, last_packet_ago) = (true, 12, Some(3.2));
        let busy = Backend { by_command, tracked_flows, last_packet_ago, ..draining.clone() };
        let leaving = Backend { admin: LEAVING.to_owned(), deadline_left: Some(59.6), ..draining.clone() };
        let down = Backend { health: "down".to_owned(), reason: "probe failed".to_owned(), ..backend("b1") };
        let cases = [
            (backend("b1"), "web/b1 is ready"),
            (down, "web/b1 is ready, and down: probe failed"),
            (draining.clone(), "web/b1 drains: no tracked flow, but silent ones may live"),
            (busy, "web/b1 drains by command: 12 tracked flows, the last packet 3s ago"),
            (
                leaving,
                "web/b1 leaves: no tracked flow, but silent ones may live, 1m until it gives up what is left",
            ),
            (
                Backend { admin: "maintenance".to_owned(), empty: true, ..draining },
                "web/b1 is in maintenance: empty, it gets no packet any more",
            ),
        ];
        for (backend, said) in cases {
            assert_eq!(sentence("web", &backend), said);
        }
    }
}
