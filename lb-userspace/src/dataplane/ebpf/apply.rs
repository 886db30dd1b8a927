//! What is done to the kernel's maps, and what is read from them: [`DataPlane`], by the maps of a loaded object.

use std::{
    collections::{HashMap as StdHashMap, HashSet},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use bytemuck::Zeroable as _;
use lb_common::{
    backend::Backend,
    connection::{Closing, Connection},
    counter::{Reason, Traffic},
    flow::Flow,
    hash::KeyWords as _,
    policy::Policy,
    quic::{Server, ServerKey},
    service::{BUCKET_ENTRIES, Service, TableRef},
    slot::Slot,
};
use rustix::thread::{MembarrierCommand, membarrier};
use tracing::{debug, warn};

use super::{
    super::{DataPlane, DataPlaneError, Tracking, counters::total, flows::delete_flows, is_live, refused},
    EbpfDataPlane,
};
use crate::{
    causes::with_causes,
    reconcile::{LiveFlow, Op, ReadSlots},
};

/// How long a grace period is taken to last where the kernel cannot be asked to wait for one.
const GRACE_WITHOUT_MEMBARRIER: Duration = Duration::from_millis(200);

/// How long a flow of which one packet was seen counts as one that its backend has.
const HALF_OPEN: Duration = Duration::from_secs(10);

impl ReadSlots for EbpfDataPlane {
    fn slots(&self, table: TableRef) -> Vec<Slot> {
        self.arena.slots(table)
    }
}

impl DataPlane for EbpfDataPlane {
    fn apply(&mut self, ops: &[Op]) {
        let mut gone = HashSet::new();
        for op in ops {
            if let Op::ClearService { id } = op
                && self.services.value::<Service>(*id).key.protocol != 0
            {
                gone.insert(*id);
            }
            self.step(op);
        }
        if !gone.is_empty() {
            self.forget_services(&gone);
        }
    }

    fn sweep(
        &mut self,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<Vec<LiveFlow>, DataPlaneError> {
        let doomed = |entry: &Connection| !is_live(entry, now, idle);
        let before = self.guards.counts();
        // In the order in which entries pass from one to the other, so that none is missed on its way.
        let mut live = delete_flows(&mut self.openings, "openings", self.limit, doomed)?;
        let openings = live.len() as u32;
        let connections = delete_flows(&mut self.connections, "connections", self.limit, doomed)?;
        let refused = self.refused_entries();
        self.tracking = Tracking { connections: connections.len() as u32, openings, refused };
        self.correct_loads(&before, &live, &connections, now);
        live.extend(connections);
        live.extend(self.sessions.sweep(now, idle)?);
        let key = self.flow_key;
        let bits = |service| self.services.value::<Service>(service).source_bits;
        let hashed = live.into_iter().map(|(flow, entry)| LiveFlow {
            flow,
            service: entry.service,
            hash: (key.flow(&flow.chooser(bits(entry.service))) >> 32) as u32,
            backend: entry.backend,
            last_seen: Duration::from_nanos(entry.last_seen_ns),
        });
        Ok(hashed.collect())
    }

    fn server_ids(&self) -> Result<Vec<(ServerKey, Server)>, DataPlaneError> {
        self.server_ids.read()
    }

    fn tracking(&self) -> Tracking {
        self.tracking
    }

    fn remembered(&self) -> Result<Vec<(Flow, Connection)>, DataPlaneError> {
        let entries = self.connections.iter().take(2 * self.limit as usize + 1);
        let flows: Result<StdHashMap<Flow, Connection>, _> = entries
            .map(|entry| entry.map(|(flow, held)| (bytemuck::cast(flow), bytemuck::cast(held))))
            .collect();
        Ok(flows.map_err(refused("connections"))?.into_iter().collect())
    }

    fn service_traffic(&self, id: u32) -> Traffic {
        self.counted.service_traffic(id)
    }

    fn backend_traffic(&self, id: u32) -> Traffic {
        self.counted.backend_traffic(id)
    }

    fn reasons(&self) -> [Traffic; Reason::COUNT] {
        Reason::ALL.map(|reason| total(&self.reasons, reason as u32))
    }
}

impl EbpfDataPlane {
    fn step(&mut self, op: &Op) {
        match op {
            Op::WriteBackend { id, entry } => self.backends.write(*id, entry, None),
            Op::WriteSlots { base, slots } => self.write_slots(*base, slots),
            Op::WriteService { id, entry } => {
                self.services.write(*id, entry, Some(std::mem::offset_of!(Service, table) / 8));
            }
            Op::WritePolicy { id, policy } => self.policies.write(*id, policy, None),
            Op::WriteServerId { service, id, named } => self.server_ids.write(*service, *id, *named),
            Op::ClearServerId { service, id } => self.server_ids.clear(*service, *id),
            Op::WritePools(pools) => self.sessions.write_pools(pools),
            Op::WriteIndex(cell) => {
                let word = cell.bucket as usize * BUCKET_ENTRIES + cell.entry;
                self.index.words()[word].store(cell.word, Ordering::Release);
            }
            Op::Grace => grace_period(),
            Op::MoveCounters { from, to, count } => self.move_counters(*from, *to, *count),
            Op::Remember { flow, connection } => self.remember(flow, connection),
            Op::ClearService { id } => {
                self.services.write(*id, &Service::zeroed(), None);
                self.policies.write(*id, &Policy::zeroed(), None);
                self.counted.clear_service(*id);
                self.guards.clear_service(*id);
            }
            Op::ClearBackends { first, count } => self.clear_backends(*first, *count),
        }
    }

    fn write_slots(&self, base: u32, slots: &[Slot]) {
        let cells = &self.arena.half_words()[base as usize..][..slots.len()];
        for (cell, slot) in cells.iter().zip(slots) {
            cell.store(slot.0, Ordering::Relaxed);
        }
    }

    fn move_counters(&mut self, from: u32, to: u32, count: u32) {
        self.guards.move_loads(from, to, count);
        self.counted.carry(from, to, count);
    }

    fn clear_backends(&mut self, first: u32, count: u32) {
        for id in first..first + count {
            self.backends.write(id, &Backend::zeroed(), None);
            self.counted.clear_backend(id);
            self.guards.clear_backend(id);
        }
    }

    /// Remembers a flow, unless its entry says that it was seen later. One that cannot be remembered is told of again.
    fn remember(&mut self, flow: &Flow, connection: &Connection) {
        let key = bytemuck::cast(*flow);
        let held = self.connections.get(&key, 0).map(bytemuck::cast::<_, Connection>);
        if held.is_ok_and(|held| held.last_seen_ns >= connection.last_seen_ns) {
            return;
        }
        let entry: [u8; size_of::<Connection>()] = bytemuck::cast(*connection);
        if let Err(error) = self.connections.insert(key, entry, 0) {
            debug!("a flow that a peer has told of is not remembered: {}", with_causes(&error));
        }
    }

    /// Corrects what backends with limits are taken to have. A flow counts until its client says that it ends; one of
    /// which a single packet was seen, not for longer than a connection takes to be established: whoever makes up
    /// sources shall not fill a backend.
    fn correct_loads(
        &self,
        before: &StdHashMap<u32, i64>,
        openings: &StdHashMap<Flow, Connection>,
        connections: &StdHashMap<Flow, Connection>,
        now: Duration,
    ) {
        let is_fresh =
            |entry: &Connection| now.saturating_sub(Duration::from_nanos(entry.last_seen_ns)) <= HALF_OPEN;
        let counted = openings.values().filter(|entry| is_fresh(entry)).chain(connections.values());
        let mut found = StdHashMap::new();
        for entry in counted.filter(|entry| entry.closing == Closing::Open as u8) {
            let service = self.services.value::<Service>(entry.service);
            *found.entry(service.first_backend + u32::from(entry.backend)).or_insert(0) += 1;
        }
        self.guards.correct(before, &found);
    }

    /// Deletes the flows of services that are gone, in one walk for all of them.
    fn forget_services(&mut self, ids: &HashSet<u32>) {
        for (map, name) in [(&mut self.connections, "connections"), (&mut self.openings, "openings")] {
            if let Err(error) = delete_flows(map, name, self.limit, |entry| ids.contains(&entry.service)) {
                warn!("flows of removed services stay until they are the oldest: {}", with_causes(&error));
            }
        }
    }
}

/// Waits until every program that began before has ended. `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, and
/// XDP programs run in RCU read-side sections (Documentation/RCU/whatisRCU.rst); it fails only where the kernel was
/// booted with `nohz_full`.
fn grace_period() {
    if membarrier(MembarrierCommand::Global).is_err() {
        thread::sleep(GRACE_WITHOUT_MEMBARRIER);
    }
}
