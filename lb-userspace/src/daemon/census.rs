//! What a walk through the tables of flows tells of each backend. Pure; the walk is the truth's.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::{address::Address, service::ServiceKey, slot::Slot};

use crate::{
    preview::Placed,
    reconcile::{Applied, AppliedService, LiveFlow, ReadSlots},
};

/// What the last walk has told.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    /// When it began, on the monotonic clock.
    at: Duration,
    held: HashMap<(ServiceKey, Address), Held>,
    placed: Vec<Placed>,
}

/// What there is of a backend's flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Flows that are remembered to be with it.
    pub(super) flows: u32,
    /// When the last packet of one of them came, also of one that has been forgotten since.
    pub(super) last_packet: Option<Duration>,
    /// Whether a slot names it, or connection ids do.
    named: bool,
}

/// The indexes that the slots of services name, by number of the service.
pub(super) type Named = HashMap<u32, HashSet<u16>>;

/// Which backends the slots of these services name. To be asked before the walk: what no slot names any more gets no
/// entry after it.
pub(super) fn named<'a>(services: impl Iterator<Item = &'a AppliedService>, slots: &impl ReadSlots) -> Named {
    let both = |slot: Slot| [slot.current(), slot.previous()];
    let of = |service: &AppliedService| -> HashSet<u16> {
        let tables = [service.entry.table, service.entry.previous_table];
        tables
            .into_iter()
            .filter(|table| table.length > 0)
            .flat_map(|table| slots.slots(table))
            .flat_map(both)
            .collect()
    };
    services.map(|service| (service.id, of(service))).collect()
}

impl Census {
    /// Takes in a walk that began at `at` and found `live`. A service that `named` leaves out counts as naming all of
    /// its backends.
    pub(super) fn take(&mut self, applied: &Applied, named: &Named, live: &[LiveFlow], at: Duration) {
        let mut before = std::mem::take(&mut self.held);
        let mut flows: HashMap<(u32, u16), Held> = HashMap::new();
        for flow in live {
            let held = flows.entry((flow.service, flow.backend)).or_default();
            held.flows += 1;
            held.last_packet = held.last_packet.max(Some(flow.last_seen));
        }
        for (&key, service) in applied.services() {
            let named = named.get(&service.id);
            for (index, member) in (0..).zip(&service.members) {
                let Some(member) = member else { continue };
                let host = (key, member.entry.address);
                let mut held = flows.remove(&(service.id, index)).unwrap_or_default();
                held.last_packet =
                    held.last_packet.max(before.remove(&host).and_then(|held| held.last_packet));
                held.last_packet = held.last_packet.max(service.last_named(index));
                held.named = named.is_none_or(|named| named.contains(&index))
                    || service.named_lately(at).any(|named| named == index);
                self.held.insert(host, held);
            }
        }
        let placed =
            |flow: &LiveFlow| Placed { service: flow.service, hash: flow.hash, backend: flow.backend };
        self.placed = live.iter().map(placed).collect();
        self.at = at;
    }

    /// Where the flows are that were found.
    pub(super) fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// What there is of a backend's flows.
    pub(super) fn of(&self, service: ServiceKey, backend: IpAddr) -> Held {
        self.held.get(&(service, backend.into())).copied().unwrap_or_default()
    }

    /// Whether nothing names a backend that has been given no flows since then.
    pub(super) fn is_empty(&self, service: ServiceKey, backend: IpAddr, since: Duration) -> bool {
        let held = self.of(service, backend);
        self.at >= since && held.flows == 0 && !held.named
    }
}
