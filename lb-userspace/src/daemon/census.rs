//! What a walk through the tables of flows tells of each backend. Pure; the walk is the truth's.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use lb_common::{address::Address, service::ServiceKey, slot::Slot};

use crate::{
    preview::Placed,
    reconcile::{Applied, AppliedService, LiveFlow, Member, ReadSlots},
};

/// What the last walk has told.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    /// When it began, on the monotonic clock.
    at: Duration,
    /// By address.
    held: HashMap<ServiceKey, Box<[(Address, Held)]>>,
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
        let mut flows: HashMap<(u32, u16), Held> = HashMap::new();
        for flow in live {
            let held = flows.entry((flow.service, flow.backend)).or_default();
            held.flows += 1;
            held.last_packet = held.last_packet.max(Some(flow.last_seen));
        }
        let mut of_service = |key: ServiceKey, service: &AppliedService| {
            let named = named.get(&service.id);
            let of_member = |(index, member): (u16, &Member)| {
                let address = member.entry.address;
                let mut held = flows.remove(&(service.id, index)).unwrap_or_default();
                let before = self.of(key, address).last_packet;
                held.last_packet = held.last_packet.max(before).max(service.last_named(index));
                held.named = named.is_none_or(|named| named.contains(&index))
                    || service.named_lately(at).any(|named| named == index);
                (address, held)
            };
            let mut held: Box<[_]> = service.members().map(of_member).collect();
            held.sort_unstable_by_key(|&(address, _)| address);
            held
        };
        let held = applied.services().map(|(&key, service)| (key, of_service(key, service)));
        self.held = held.collect();
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
    pub(super) fn of(&self, service: ServiceKey, backend: Address) -> Held {
        let Some(held) = self.held.get(&service) else { return Held::default() };
        let found = held.binary_search_by_key(&backend, |&(address, _)| address);
        found.map_or_else(|_| Held::default(), |at| held[at].1)
    }

    /// Whether nothing names a backend that has been given no flows since then.
    pub(super) fn is_empty(&self, service: ServiceKey, backend: Address, since: Duration) -> bool {
        let held = self.of(service, backend);
        self.at >= since && held.flows == 0 && !held.named
    }
}
