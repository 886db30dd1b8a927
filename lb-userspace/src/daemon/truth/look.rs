//! The walk through the tables of flows: what may settle, what there is of each backend's flows, and who has left.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use anyhow::Result;
use lb_common::{
    backend::{Backend as Entry, OldFlows},
    service::ServiceKey,
};
use tokio::task::block_in_place;
use tracing::{error, info};

use super::Truth;
use crate::{
    causes::with_causes,
    config::{AdminState, Backend, Service},
    daemon::{census, now},
    dataplane::DataPlane as _,
    reconcile,
    wishes::Wish,
};

/// How often the tables are walked through.
const EVERY: Duration = Duration::from_secs(5);

/// The same while somebody may wait for a backend's last flow.
const WHILE_DRAINING: Duration = Duration::from_secs(1);

/// A walk of large tables takes a while; all of them together take no more than this part of the time.
const MOST_OF_THE_TIME: u32 = 20;

impl Truth {
    /// When the tables are to be walked through.
    pub(in crate::daemon) const fn next_look(&self) -> Duration {
        self.next_look
    }

    /// What is to be done once, after the first tables.
    pub(in crate::daemon) fn begin(&mut self) {
        self.let_go();
        self.record.save();
        self.answer(None);
        self.keep_or_log();
    }

    /// Settles moved slots whose old flows are gone, and counts the others. Whether a backend has left by that.
    pub(in crate::daemon) fn look(&mut self) -> bool {
        let began = now();
        if let Err(error) = block_in_place(|| self.try_look(began)) {
            error!("cannot walk through the tables of flows: {}", with_causes(error.as_ref()));
        }
        self.read_counters();
        let pause = if self.somebody_drains() { WHILE_DRAINING } else { EVERY };
        let took = now().saturating_sub(began);
        self.meters.walk.observe(took.as_secs_f64());
        self.next_look = now() + pause.max(took * MOST_OF_THE_TIME);
        let left = self.let_go();
        if left {
            self.record.forget(&self.config, &self.view.wishes);
            self.keep_or_log();
        }
        left
    }

    fn try_look(&mut self, began: Duration) -> Result<()> {
        let timeouts: HashMap<u32, Duration> =
            self.applied.services().map(|(_, service)| (service.id, service.idle_timeout)).collect();
        let draining = self.draining_services();
        let named =
            census::named(draining.iter().filter_map(|key| self.applied.service(key)), &self.dataplane);
        let before = self.dataplane.tracking();
        let live = self.dataplane.sweep(began, &|service| timeouts.get(&service).copied())?;
        if self.dataplane.tracking().may_have_forgotten(&before, &self.config.limits) {
            self.applied.note_forgotten(now());
        }
        self.view.translated = self.dataplane.translated().addresses.keys().copied().collect();
        self.applied.note_server_ids(&self.dataplane.server_ids()?);
        self.census.take(&self.applied, &named, &live, began);
        if reconcile::settle_is_due(&self.applied, now()) {
            let ops = reconcile::settle(&mut self.applied, &live, &self.dataplane, now());
            self.dataplane.apply(&ops);
        }
        Ok(())
    }

    /// Services with a backend that is to have no new flows.
    fn draining_services(&self) -> Vec<ServiceKey> {
        let drains = |service: &Service| {
            self.with_wishes(service)
                .any(|(_, wish)| wish.is_some_and(|wish| wish.state != AdminState::Ready))
        };
        self.config.services.iter().filter(|service| drains(service)).map(|service| service.key()).collect()
    }

    /// Whether a backend is to be empty and is not.
    fn somebody_drains(&self) -> bool {
        self.draining_services().into_iter().filter_map(|key| self.applied.service(&key)).any(|applied| {
            let entries = applied.entries();
            let service = self.config.services.iter().find(|service| service.key() == applied.entry.key);
            service.is_some_and(|service| {
                self.with_wishes(service).any(|(backend, wish)| {
                    let entry = entries.get(&backend.address.into()).map(|(_, entry)| entry);
                    wish.is_some_and(|wish| wish.state == AdminState::Drain)
                        && !self.is_empty(service.key(), backend.address, entry, wish)
                })
            })
        })
    }

    /// The backends of a service, leaving ones included.
    pub(super) fn with_wishes<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = (&'a Backend, Option<&'a Wish>)> {
        let wish = |backend: &Backend| self.view.wishes.of(&service.name, &backend.name);
        let leaving = self.view.wishes.leaving_of(service.key());
        let leaving = leaving.map(|leaving| (&leaving.backend, Some(&leaving.wish)));
        service.backends.iter().map(move |backend| (backend, wish(backend))).chain(leaving)
    }

    /// Whether a backend gets no packet any more: it takes no new flows, and its old ones are gone or given up.
    /// One without an entry is not even known to the data plane.
    pub(super) fn is_empty(
        &self,
        service: ServiceKey,
        backend: IpAddr,
        entry: Option<&Entry>,
        wish: Option<&Wish>,
    ) -> bool {
        let Some(entry) = entry else { return true };
        let since = wish.map_or(Duration::MAX, |wish| wish.since);
        entry.takes_new == 0
            && (entry.old_flows != OldFlows::Keep as u8
                || self.census.is_empty(service, backend.into(), since))
    }

    /// Looks no more after backends that have left. Whether there are any.
    fn let_go(&mut self) -> bool {
        let applied = &self.applied;
        let left = self.view.wishes.let_go(|leaving| {
            let held = applied
                .service(&leaving.service)
                .is_some_and(|service| service.backend_id(leaving.backend.address).is_some());
            if !held {
                let (backend, address) = (&leaving.backend.name, leaving.backend.address);
                info!(backend, %address, "backend has left: nothing names it any more");
            }
            held
        });
        if left {
            self.stale.everything();
        }
        left
    }
}
