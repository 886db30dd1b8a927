//! What a new plan changes of services as a whole, in lines of the log.

use std::mem::discriminant;

use tracing::{info, warn};

use crate::{
    config::Panic,
    plan::{
        Plan, PlannedService,
        shares::{Availability, Belief},
    },
};

/// Tells which services are available, or are not any more, and where probes are not followed.
pub(super) fn log(before: &Plan, after: &Plan) {
    for (before, service) in before.changes(after) {
        let before = before.map(|before| &before.shares);
        log_availability(service, before.map_or(Availability::Available, |shares| shares.availability));
        log_belief(service, before.map_or(Belief::Probes, |shares| shares.belief));
    }
}

fn log_availability(service: &PlannedService, before: Availability) {
    let (service, availability) = (&service.name, service.shares.availability);
    if discriminant(&availability) == discriminant(&before) {
        return;
    }
    match availability {
        Availability::Available => info!(service, "service is available"),
        reason => warn!(service, "service is not available: {reason}"),
    }
}

fn log_belief(service: &PlannedService, before: Belief) {
    let (service, belief) = (&service.name, service.shares.belief);
    if belief == before {
        return;
    }
    match belief {
        Belief::Probes => info!(service, "probes are followed again"),
        Belief::Panic(Panic::All) => {
            warn!(service, "panic: too few backends are healthy, so all get new flows");
        }
        Belief::Panic(Panic::None) => {
            warn!(service, "panic: too few backends are healthy, so none gets new flows");
        }
        Belief::AllDown => {
            warn!(
                service,
                "all backends fail their probes at once: probes are not believed until one passes"
            );
        }
    }
}
