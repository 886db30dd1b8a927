//! What became of tables, and of the parts that backends were promised.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use lb_common::{address::Address, service::ServiceKey, slot::Slot};
use tracing::info;

use super::{Truth, key};
use crate::{
    admin::status,
    config::Service,
    daemon::now,
    dataplane::DataPlane as _,
    measured::{Packets, Readings},
    moves::{Change, Changes, Concerned, Moves, Standing},
    plan::{Plan, PlannedService},
    reconcile::{Applied, AppliedService, ReadSlots as _},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Published {
    changes: BTreeMap<ServiceKey, Changes>,
    readings: Readings<ServiceKey, Address>,
    /// When the data plane was made to follow before: whatever has become of backends since is a cause.
    followed_at: Duration,
}

/// A table that is about to be replaced.
#[derive(Debug)]
pub(super) struct Former {
    service: ServiceKey,
    slots: Vec<Slot>,
}

/// A service's backends, and what they were promised.
fn standings(planned: &PlannedService) -> impl Iterator<Item = Standing<'_, Address>> {
    let targets = planned.source.backends.iter().zip(&planned.shares.targets);
    targets.map(|(backend, &target)| Standing {
        name: &backend.name,
        address: backend.address.into(),
        target,
    })
}

impl Truth {
    /// The tables of services that get another one by `next`.
    pub(super) fn former_tables(&self, next: &Applied) -> Vec<Former> {
        let published = next.services().filter_map(|(&service, after)| {
            let before = self.applied.service(&service);
            let generation = before.map_or(0, |before| before.entry.generation);
            let table = before.map(|before| before.entry.table).unwrap_or_default();
            (after.entry.generation != generation)
                .then(|| Former { service, slots: self.dataplane.slots(table) })
        });
        published.collect()
    }

    /// Takes note of the tables that were published, and tells the log of each.
    pub(super) fn note_tables(&mut self, former: &[Former], plan: &Plan, next: &Applied) {
        let changes: HashMap<ServiceKey, _> =
            self.plan.changes(plan).map(|(before, after)| (after.key, (before, after))).collect();
        for Former { service, slots } in former {
            let Some(after) = next.service(service) else { continue };
            let concerned = changes.get(service).and_then(|(before, since)| {
                Some(Concerned::between(standings((*before)?), standings(since)))
            });
            let (moves, cause) = self.moves(slots, after, concerned.as_ref());
            log(after, &moves, &cause);
            let change = Change {
                at: now(),
                generation: after.entry.generation,
                slots: after.entry.table.length,
                moves,
                cause,
            };
            self.published.changes.entry(*service).or_default().add(change);
        }
        self.published.changes.retain(|service, _| next.service(service).is_some());
        self.published.followed_at = now();
    }

    fn moves(
        &self,
        former: &[Slot],
        after: &AppliedService,
        concerned: Option<&Concerned<Address>>,
    ) -> (Moves, String) {
        let slots = self.dataplane.slots(after.entry.table);
        if former.is_empty() {
            return (Moves { moved: 0, collateral: Some(0) }, "the service is new".to_owned());
        }
        if former.len() != slots.len() {
            return (Moves::all(slots.len() as u32), "its table has another length".to_owned());
        }
        let Some(concerned) = concerned else {
            let moves = Moves::between(former, &slots, None);
            return (moves, "of what has changed while no daemon ran".to_owned());
        };
        let addresses = after.addresses();
        let is_concerned =
            |index: u16| addresses.get(&index).is_none_or(|&address| concerned.include(address));
        let moves = Moves::between(former, &slots, Some(&is_concerned));
        (moves, concerned.cause(|backend| self.last_of(&after.name, backend)))
    }

    /// What has become of a backend since the data plane was made to follow before.
    fn last_of(&self, service: &str, backend: &str) -> Option<String> {
        let service = self.config.service(service)?;
        let last = self.record.histories().of(&key(service, backend)).next_back()?;
        let is_new = last.at >= self.published.followed_at;
        is_new.then(|| format!("{} {}: {}", last.aspect.name(), last.is, last.why))
    }

    /// Reads what backends were sent, now and then.
    pub(super) fn read_counters(&mut self) {
        if now() < self.published.readings.next() {
            return;
        }
        let readings = &self.published.readings;
        let of_service = |key: &ServiceKey, applied: &AppliedService| {
            let all = self.dataplane.service_traffic(applied.id).packets;
            // A read of a counter is a system call: none where nothing can have been counted.
            let before = readings.last_of(key).filter(|before| before.all == all);
            before.map_or_else(|| Arc::new(self.read_backends(all, applied)), Arc::clone)
        };
        let packets: HashMap<_, _> =
            self.applied.services().map(|(key, applied)| (*key, of_service(key, applied))).collect();
        self.published.readings.add(now(), packets);
    }

    fn read_backends(&self, all: u64, applied: &AppliedService) -> Packets<Address> {
        if all == 0 {
            return Packets { all, of: HashMap::new() };
        }
        let ids = applied.entries().into_iter().map(|(address, (id, _))| (address, id));
        let of = ids.map(|(address, id)| (address, self.dataplane.backend_traffic(id).packets));
        Packets { all, of: of.collect() }
    }

    /// Puts the parts that backends have got into the status of a service.
    pub(super) fn measure(&self, service: &Service, backends: &mut [status::Backend]) {
        let parts = self.published.readings.parts_of(&service.key());
        for backend in backends {
            backend.measured = parts.get(&backend.address.into()).copied();
        }
    }

    pub(super) fn tables_status(&self, service: &Service, all: bool) -> status::Tables {
        let Some(changes) = self.published.changes.get(&service.key()) else {
            return status::Tables::default();
        };
        let told = |change: &Change| status::TableChange {
            at: (self.boot + change.at).as_secs_f64(),
            generation: change.generation,
            slots: change.slots,
            moved_slots: change.moves.moved,
            collateral_slots: change.moves.collateral,
            cause: change.cause.clone(),
        };
        status::Tables {
            moved_slots: changes.moved,
            collateral_slots: changes.collateral,
            last_change: changes.last().next_back().map(told),
            changes: changes.last().filter(|_| all).map(told).collect(),
        }
    }
}

/// One line for each table that was published.
fn log(service: &AppliedService, moves: &Moves, cause: &str) {
    let digest = format!("{:016x}", service.entry.digest);
    info!(
        service = service.name,
        generation = service.entry.generation,
        digest,
        moved_slots = moves.moved,
        collateral_slots = moves.collateral,
        "table published, since {cause}"
    );
}
