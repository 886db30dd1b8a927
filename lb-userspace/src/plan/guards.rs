//! What the data plane is told of guards beyond policies: rules and cookies of services, limits of backends. They lie in maps of
//! their own, by the numbers that reconciliation has given out.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lb_common::{
    budget::BURST_NS,
    guard::{Limit, Rate},
};

use super::Plan;
use crate::{
    config::{BackendLimits, Service},
    reconcile::Applied,
    rules::Rules,
};

/// Those of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceGuards {
    /// What its lists say, where it has any.
    pub rules: Option<Arc<Rules>>,
    /// Above which rate it sends cookies, where it sends any.
    pub cookies: Option<Rate>,
    /// The limits of its backends that have any.
    pub limits: Vec<(IpAddr, Limit)>,
}

/// Those of all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// By the number of the service.
    pub rules: BTreeMap<u32, Arc<Rules>>,
    /// By the number of the service.
    pub cookies: BTreeMap<u32, Rate>,
    /// By the number of the backend.
    pub limits: BTreeMap<u32, Limit>,
}

pub(super) fn of_service(service: &Service) -> ServiceGuards {
    let limited = service.backends.iter().filter(|backend| backend.limits.is_some());
    ServiceGuards {
        rules: service.guard.rules.clone(),
        cookies: service.guard.syn_cookies,
        limits: limited.map(|backend| (backend.address, limit(backend.limits))).collect(),
    }
}

/// As many at once as come in a tenth of a second: what a backend is spared are bursts.
fn limit(limits: BackendLimits) -> Limit {
    let new = limits
        .max_new_per_sec
        .map_or(Rate::default(), |rate| Rate { burst_ns: BURST_NS, ..Rate::new(rate, 1) });
    Limit { new, connections: limits.max_connections.unwrap_or(0), _pad: 0 }
}

impl Guards {
    /// The guards of `plan`, by the numbers that `applied` has given its services and backends.
    #[must_use]
    pub fn of(plan: &Plan, applied: &Applied) -> Self {
        let mut guards = Self::default();
        for planned in &plan.services {
            let Some(service) = applied.service(&planned.key) else { continue };
            guards.rules.extend(planned.guards.rules.as_ref().map(|rules| (service.id, Arc::clone(rules))));
            guards.cookies.extend(planned.guards.cookies.map(|rate| (service.id, rate)));
            for (address, limit) in &planned.guards.limits {
                guards.limits.extend(service.backend_id(*address).map(|id| (id, *limit)));
            }
        }
        guards
    }
}
