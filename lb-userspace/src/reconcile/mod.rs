//! From the plan to the data plane: what to write, in which order.
//!
//! Pure: [`reconcile`] takes what is applied and what is planned and gives a list of operations and the state after
//! them. At no point between two operations does a packet see anything but a whole old or a whole new state of its
//! slot. A plan that does not fit is refused before anything is written.
//!
//! A service is known by its key, a backend by its address. Both keep their numbers for as long as anything
//! names them, so what a reload does not change, it does not touch.

mod adopt;
mod applied;
mod backends;
mod capacity;
pub mod fleet;
mod index;
mod migrate;
mod server_ids;
mod settle;
mod stretch;
mod tables;
#[cfg(test)]
mod tests;
pub mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lb_common::{
    address::Address,
    backend::Backend as Entry,
    connection::Connection,
    flow::Flow,
    nat::Pool,
    policy::{OPTION_NAT, Policy, VIP_OPTIONS},
    quic::ServerId,
    service::{Service, ServiceKey, TableRef},
    slot::Slot,
};

use crate::plan::{Plan, PlannedService};

pub use adopt::{AdoptError, Image};
use applied::Vip;
pub use applied::{Applied, AppliedService, Member};
pub use capacity::CapacityError;
pub use index::Cell;
pub use server_ids::Named;
pub use settle::{LiveFlow, settle, settle_is_due};

/// One step for the data plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Replace a backend's entry.
    WriteBackend {
        /// Number of the backend.
        id: u32,
        /// Its entry.
        entry: Entry,
    },
    /// Fill a stretch of the arena.
    WriteSlots {
        /// Index of the first slot.
        base: u32,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// Replace a service's entry; its table reference last, as one word.
    WriteService {
        /// Number of the service.
        id: u32,
        /// Its entry.
        entry: Service,
    },
    /// Replace a service's policy.
    WritePolicy {
        /// Number of the service.
        id: u32,
        /// Its policy.
        policy: Policy,
    },
    /// Let connection ids with a server id name a backend of a service.
    WriteServerId {
        /// Number of the service.
        service: u32,
        /// The server id.
        id: ServerId,
        /// Who has it.
        named: Named,
    },
    /// Let them name nobody.
    ClearServerId {
        /// Number of the service.
        service: u32,
        /// The server id.
        id: ServerId,
    },
    /// Give new flows addresses and ports of these, of IPv4 and of IPv6.
    WritePools(Box<[Pool; 2]>),
    /// Replace one entry of the service index.
    WriteIndex(Cell),
    /// Wait until no packet is in flight that began before.
    Grace,
    /// Add the counters of backends `from..` to those of `to..`.
    MoveCounters {
        /// First number before.
        from: u32,
        /// First number after.
        to: u32,
        /// How many.
        count: u32,
    },
    /// Remember a flow among those that went on, unless an entry says that it was seen later.
    Remember {
        /// The flow.
        flow: Flow,
        /// Its entry.
        connection: Connection,
    },
    /// Empty a service's entry and counters, and forget its flows.
    ClearService {
        /// Number of the service.
        id: u32,
    },
    /// Empty the entries and counters of backends.
    ClearBackends {
        /// First number.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// Where the slots that the data plane holds are read from.
pub trait ReadSlots {
    /// The slots of `table`.
    fn slots(&self, table: TableRef) -> Vec<Slot>;
}

/// Computes the operations that make the data plane hold `plan`, and what it holds after them. `now` is on the
/// monotonic clock.
///
/// # Errors
///
/// [`CapacityError`] where the plan does not fit into the maps; nothing is to be applied then.
pub fn reconcile(
    applied: &Applied,
    plan: &Plan,
    slots: &impl ReadSlots,
    now: Duration,
) -> Result<(Vec<Op>, Applied), CapacityError> {
    let mut work = Work { next: applied.clone(), ops: Vec::new(), slots, now };
    work.retract_pools(plan);
    work.remove_services(plan);
    let is_placed = |planned: &Arc<PlannedService>| {
        let placed = applied.services.get(&planned.key).and_then(|service| service.placed.as_ref());
        placed.is_some_and(|placed| Arc::ptr_eq(placed, planned))
    };
    let others: Vec<_> = plan.services.iter().filter(|planned| !is_placed(planned)).collect();
    for planned in &others {
        work.place_backends(planned)?;
    }
    for planned in others {
        work.place_table(planned)?;
    }
    work.mark_vips(plan)?;
    work.place_pools(plan);
    if work.next.arena.any_rests() || work.next.backends.any_rests() {
        work.grace();
        work.clear_rested();
    }
    Ok((work.ops, work.next))
}

/// A reconciliation under way.
struct Work<'a, S> {
    next: Applied,
    ops: Vec<Op>,
    slots: &'a S,
    now: Duration,
}

impl<S: ReadSlots> Work<'_, S> {
    /// Takes away the services that are not planned, and the marks of VIPs that nobody has any more.
    fn remove_services(&mut self, plan: &Plan) {
        let keys: BTreeSet<_> = plan.services.iter().map(|service| service.key).collect();
        let gone: Vec<_> = self.next.services.keys().filter(|key| !keys.contains(key)).copied().collect();
        let vips = keys.iter().map(|key| key.address);
        let addresses: BTreeSet<_> = vips.chain(plan.translation.addresses.iter().copied()).collect();
        let unmarked: Vec<_> = self
            .next
            .vips
            .iter()
            .filter(|(vip, _)| !addresses.contains(vip))
            .map(|(&address, vip)| (address, vip.id))
            .collect();
        if gone.is_empty() && unmarked.is_empty() {
            return;
        }
        for &(vip, id) in &unmarked {
            self.unpublish(&ServiceKey::vip(vip), id);
        }
        for key in &gone {
            self.unpublish(key, self.next.services[key].id);
        }
        self.grace();
        for (vip, id) in unmarked {
            self.next.vips.remove(&vip);
            self.release_id(id);
        }
        for key in gone {
            if let Some(service) = self.next.services.remove(&key) {
                self.release(&service);
            }
        }
        self.clear_rested();
    }

    fn unpublish(&mut self, key: &ServiceKey, id: u32) {
        if let Some(cell) = self.next.index.remove(key, id) {
            self.ops.push(Op::WriteIndex(cell));
        }
    }

    fn release(&mut self, service: &AppliedService) {
        self.release_id(service.id);
        self.ops.extend(service.clear_server_ids(|_| true));
        self.ops
            .push(Op::ClearBackends { first: service.entry.first_backend, count: service.entry.capacity });
        self.next.backends.rest(service.entry.first_backend, service.entry.capacity);
        for table in [service.entry.table, service.entry.previous_table] {
            self.rest_table(table);
        }
    }

    fn rest_table(&mut self, table: TableRef) {
        if table.length > 0 {
            self.next.arena.rest(table.base, table.length);
        }
    }

    fn release_id(&mut self, id: u32) {
        self.ops.push(Op::ClearService { id });
        self.next.ids.rest(id, 1);
    }

    /// Marks the addresses of all services as VIPs, with the options that any service of an address has, and those that
    /// packets are translated to.
    fn mark_vips(&mut self, plan: &Plan) -> Result<(), CapacityError> {
        let mut wanted: BTreeMap<Address, (&str, u8)> = BTreeMap::new();
        for planned in &plan.services {
            wanted.entry(planned.key.address).or_insert((&planned.name, 0)).1 |=
                planned.options & VIP_OPTIONS;
        }
        wanted.extend(plan.translation.addresses.iter().map(|&address| (address, ("nat", OPTION_NAT))));
        for (address, (name, options)) in wanted {
            self.mark_vip(address, name, options)?;
        }
        Ok(())
    }

    /// Gives no flow an address whose mark is about to go.
    fn retract_pools(&mut self, plan: &Plan) {
        let addresses = &plan.translation.addresses;
        let kept = self.next.pools.map(|pool| pool.retain(|address| addresses.contains(address)));
        if self.next.pools != kept {
            self.write_pools(&kept);
            self.grace();
        }
    }

    /// Behind the marks, without which replies would not be known.
    fn place_pools(&mut self, plan: &Plan) {
        if self.next.pools != plan.translation.pools {
            self.write_pools(&plan.translation.pools);
        }
    }

    fn write_pools(&mut self, pools: &[Pool; 2]) {
        self.ops.push(Op::WritePools(Box::new(*pools)));
        self.next.pools = *pools;
    }

    fn mark_vip(&mut self, address: Address, name: &str, options: u8) -> Result<(), CapacityError> {
        let known = self.next.vips.get(&address).copied();
        if known.is_some_and(|vip| vip.options == options) {
            return Ok(());
        }
        let id = known.map_or_else(|| self.new_id(name), |vip| Ok(vip.id))?;
        let vip = Vip { id, options };
        self.ops.push(vip.write(address));
        if known.is_none() {
            self.enter_index(&ServiceKey::vip(address), id, name)?;
        }
        self.next.vips.insert(address, vip);
        Ok(())
    }

    fn enter_index(&mut self, key: &ServiceKey, id: u32, name: &str) -> Result<(), CapacityError> {
        let cell = self.next.index.insert(key, id).ok_or_else(|| CapacityError::Index(name.to_owned()))?;
        self.ops.push(Op::WriteIndex(cell));
        Ok(())
    }

    /// One grace period, unless nothing was written since the last one.
    fn grace(&mut self) {
        if self.ops.last().is_some_and(|op| *op != Op::Grace) {
            self.ops.push(Op::Grace);
        }
    }

    fn clear_rested(&mut self) {
        self.next.ids.wake();
        self.next.backends.wake();
        self.next.arena.wake();
    }
}
