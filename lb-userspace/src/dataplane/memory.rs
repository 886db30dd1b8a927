//! A data plane in memory, which forwards as the XDP program does as far as selection goes: for tests of everything
//! above the seam.

use std::{collections::HashMap, time::Duration};

use bytemuck::Zeroable as _;
use lb_common::{
    backend::{Backend, Forwarding, OldFlows},
    connection::Connection,
    counter::{Reason, Traffic},
    flow::Flow,
    hash::{HashKey, KeyWords as _},
    service::{BUCKET_ENTRIES, Bucket, Candidates, Service, ServiceKey, TableRef, Track, bucket_count},
    slot::{self, Slot},
};

use super::{DataPlane, DataPlaneError, Tracking};
use crate::{
    config::Limits,
    reconcile::{Image, LiveFlow, Op, ReadSlots},
};

/// The maps as vectors.
#[derive(Clone, Debug)]
pub struct Memory {
    flow_key: HashKey,
    index_key: HashKey,
    services: Vec<Service>,
    index: Vec<Bucket>,
    backends: Vec<Backend>,
    arena: Vec<Slot>,
    /// Backends of the flows of moved slots.
    pub connections: HashMap<Flow, Connection>,
    /// Grace periods that were asked for.
    pub graces: u32,
}

impl Memory {
    /// Empty maps of these sizes.
    #[must_use]
    pub fn new(limits: &Limits, flow_key: HashKey, index_key: HashKey) -> Self {
        Self {
            flow_key,
            index_key,
            services: vec![Service::zeroed(); limits.services as usize],
            index: vec![Bucket::default(); bucket_count(limits.services) as usize],
            backends: vec![Backend::zeroed(); limits.backends as usize],
            arena: vec![Slot::EMPTY; limits.slots as usize],
            connections: HashMap::new(),
            graces: 0,
        }
    }

    /// What the maps hold, but for the arena.
    #[must_use]
    pub fn image(&self) -> Image {
        Image { services: self.services.clone(), index: self.index.clone(), backends: self.backends.clone() }
    }

    /// The service with `key`.
    #[must_use]
    pub fn find(&self, key: &ServiceKey) -> Option<(u32, &Service)> {
        let candidates = Candidates::new(self.index_key.service(key), self.index.len() as u32);
        let cells =
            candidates.buckets.into_iter().flat_map(|bucket| (0..BUCKET_ENTRIES).map(move |e| (bucket, e)));
        cells
            .filter_map(|(bucket, entry)| candidates.service_in(self.index[bucket as usize].entries[entry]))
            .map(|id| (id, &self.services[id as usize]))
            .find(|(_, service)| service.key == *key)
    }

    /// The backend that a packet of `flow` goes to.
    ///
    /// # Errors
    ///
    /// The reason why it goes to none.
    pub fn forward(&mut self, flow: &Flow, opens: bool, now: Duration) -> Result<Backend, Reason> {
        let (id, service) = self.find(&flow.service_key()).ok_or(Reason::NotOurs)?;
        let service = *service;
        let hash = (self.flow_key.flow(flow) >> 32) as u32;
        let slot = *self.arena.get(service.table.slot_of(hash) as usize).ok_or(Reason::Internal)?;
        let moved = !slot.is_settled() || service.previous_table.length > 0;
        let index = if service.track == Track::Never as u8 || !moved && service.track == Track::Moved as u8 {
            slot.current()
        } else {
            self.tracked(id, &service, flow, opens, now).unwrap_or_else(|| {
                let index = self.untracked(&service, slot, hash, opens);
                let last_seen_ns = now.as_nanos() as u64;
                if index != slot::NONE {
                    let entry = Connection { last_seen_ns, service: id, backend: index, closing: 0, _pad: 0 };
                    self.connections.insert(*flow, entry);
                }
                index
            })
        };
        if index == slot::NONE {
            return Err(Reason::NoBackend);
        }
        let backend = self.backends[(service.first_backend + u32::from(index)) as usize];
        if backend.forwarding == Forwarding::Unresolved as u8 { Err(Reason::NoNextHop) } else { Ok(backend) }
    }

    fn tracked(
        &mut self,
        id: u32,
        service: &Service,
        flow: &Flow,
        opens: bool,
        now: Duration,
    ) -> Option<u16> {
        let backend = self.connections.get(flow).filter(|entry| entry.service == id && !opens)?.backend;
        if !self.keeps_flows(service, backend) {
            return None;
        }
        self.connections.get_mut(flow)?.last_seen_ns = now.as_nanos() as u64;
        Some(backend)
    }

    fn untracked(&self, service: &Service, slot: Slot, hash: u32, opens: bool) -> u16 {
        let before = service.previous_table;
        let previous = match () {
            () if opens || service.track == Track::Always as u8 => slot::NONE,
            () if before.length == 0 => slot.previous(),
            () => {
                let old = self.arena[before.slot_of(hash) as usize];
                if old.is_settled() { old.current() } else { old.previous() }
            }
        };
        let keeps = previous != slot::NONE && self.keeps_flows(service, previous);
        if keeps { previous } else { slot.current() }
    }

    fn keeps_flows(&self, service: &Service, index: u16) -> bool {
        self.backends[(service.first_backend + u32::from(index)) as usize].old_flows == OldFlows::Keep as u8
    }

    /// Carries out one operation, so that a test can look between two.
    pub fn step(&mut self, op: &Op) {
        match op {
            Op::WriteBackend { id, entry } => self.backends[*id as usize] = *entry,
            Op::WriteSlots { base, slots } => {
                self.arena[*base as usize..][..slots.len()].copy_from_slice(slots);
            }
            Op::WriteService { id, entry } => self.services[*id as usize] = *entry,
            Op::WriteIndex(cell) => self.index[cell.bucket as usize].entries[cell.entry] = cell.word,
            Op::Grace => self.graces += 1,
            Op::MoveCounters { .. } => {}
            Op::ClearService { id } => {
                self.services[*id as usize] = Service::zeroed();
                self.connections.retain(|_, entry| entry.service != *id);
            }
            Op::ClearBackends { first, count } => {
                self.backends[*first as usize..][..*count as usize].fill(Backend::zeroed());
            }
        }
    }
}

impl ReadSlots for Memory {
    fn slots(&self, table: TableRef) -> Vec<Slot> {
        self.arena[table.base as usize..][..table.length as usize].to_vec()
    }
}

impl DataPlane for Memory {
    fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            self.step(op);
        }
    }

    fn sweep(
        &mut self,
        now: Duration,
        idle: &dyn Fn(u32) -> Option<Duration>,
    ) -> Result<Vec<LiveFlow>, DataPlaneError> {
        self.connections.retain(|_, entry| is_live(entry, now, idle));
        let live = self.connections.iter().map(|(flow, entry)| LiveFlow {
            service: entry.service,
            hash: (self.flow_key.flow(flow) >> 32) as u32,
            backend: entry.backend,
            last_seen: Duration::from_nanos(entry.last_seen_ns),
        });
        Ok(live.collect())
    }

    fn tracking(&self) -> Tracking {
        Tracking { connections: self.connections.len() as u32, ..Tracking::default() }
    }

    fn service_traffic(&self, _id: u32) -> Traffic {
        Traffic::default()
    }

    fn backend_traffic(&self, _id: u32) -> Traffic {
        Traffic::default()
    }

    fn reasons(&self) -> [Traffic; Reason::COUNT] {
        [Traffic::default(); Reason::COUNT]
    }
}

/// Whether a flow was seen within the idle timeout of a service that is there.
pub(super) fn is_live(entry: &Connection, now: Duration, idle: &dyn Fn(u32) -> Option<Duration>) -> bool {
    let silent = now.saturating_sub(Duration::from_nanos(entry.last_seen_ns));
    idle(entry.service).is_some_and(|timeout| silent <= timeout)
}
