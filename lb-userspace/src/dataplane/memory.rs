//! A data plane in memory, which forwards as the XDP program does as far as selection goes: for tests of everything
//! above the seam.

use std::{collections::HashMap, time::Duration};

use bytemuck::Zeroable as _;
use lb_common::{
    backend::{Backend, Forwarding, OldFlows},
    budget::Kind,
    connection::Connection,
    counter::{Reason, Traffic},
    flow::Flow,
    hash::{HashKey, KeyWords as _},
    nat::Pool,
    policy::{OPTION_QUIC, Policy},
    quic::{Server, ServerKey},
    service::{BUCKET_ENTRIES, Bucket, Candidates, Service, ServiceKey, TableRef, Track, bucket_count},
    slot::{self, Slot},
};

use super::{DataPlane, DataPlaneError, Tracking, is_live};
use crate::{
    config::Limits,
    reconcile::{Image, LiveFlow, Op, ReadSlots},
};

/// A packet of a flow that the hash alone does not place.
struct Packet<'a> {
    id: u32,
    service: Service,
    slot: Slot,
    flow: &'a Flow,
    opens: bool,
    now: Duration,
}

impl Packet<'_> {
    fn entry(&self, backend: u16) -> Connection {
        let last_seen_ns = self.now.as_nanos() as u64;
        Connection { last_seen_ns, service: self.id, backend, ..Connection::zeroed() }
    }
}

/// The maps as vectors.
#[derive(Clone, Debug)]
pub struct Memory {
    flow_key: HashKey,
    index_key: HashKey,
    services: Vec<Service>,
    policies: Vec<Policy>,
    index: Vec<Bucket>,
    backends: Vec<Backend>,
    arena: Vec<Slot>,
    /// Whom connection ids name.
    pub server_ids: HashMap<ServerKey, Server>,
    /// Backends of flows of moved slots that went on.
    pub connections: HashMap<Flow, Connection>,
    /// Backends of those of which one packet was seen.
    pub openings: HashMap<Flow, Connection>,
    /// Whether no further flow is remembered, as when the budget is spent.
    pub refuses: bool,
    /// What new flows are translated to, of IPv4 and of IPv6.
    pub pools: [Pool; 2],
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
            policies: vec![Policy::zeroed(); limits.services as usize],
            index: vec![Bucket::default(); bucket_count(limits.services) as usize],
            backends: vec![Backend::zeroed(); limits.backends as usize],
            arena: vec![Slot::EMPTY; limits.slots as usize],
            server_ids: HashMap::new(),
            connections: HashMap::new(),
            openings: HashMap::new(),
            refuses: false,
            pools: [Pool::zeroed(); 2],
            graces: 0,
        }
    }

    /// What the maps hold, but for the arena.
    #[must_use]
    pub fn image(&self) -> Image {
        Image {
            services: self.services.clone(),
            policies: self.policies.clone(),
            index: self.index.clone(),
            backends: self.backends.clone(),
            server_ids: self.server_ids.iter().map(|(key, server)| (*key, *server)).collect(),
            pools: self.pools,
        }
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
        let slot = self.slot(service.table, flow, service.source_bits).ok_or(Reason::Internal)?;
        let moved = !slot.is_settled() || service.previous_table.length > 0;
        let index = if service.track == Track::Never as u8 || !moved && service.track == Track::Moved as u8 {
            slot.current()
        } else {
            self.remembered(&Packet { id, service, slot, flow, opens, now })?
        };
        if index == slot::NONE {
            return Err(Reason::NoBackend);
        }
        let backend = self.backends[(service.first_backend + u32::from(index)) as usize];
        if backend.forwarding == Forwarding::Unresolved as u8 { Err(Reason::NoNextHop) } else { Ok(backend) }
    }

    fn slot(&self, table: TableRef, flow: &Flow, source_bits: u8) -> Option<Slot> {
        let hash = (self.flow_key.flow(&flow.chooser(source_bits)) >> 32) as u32;
        self.arena.get(table.slot_of(hash) as usize).copied()
    }

    fn remembered(&mut self, packet: &Packet<'_>) -> Result<u16, Reason> {
        let gone_on = self.connections.get(packet.flow).copied().filter(|entry| entry.service == packet.id);
        let opened = self.openings.get(packet.flow).copied().filter(|entry| entry.service == packet.id);
        let Some(entry) = gone_on.or(opened) else { return self.unknown(packet) };
        let stays = self.stays(packet, entry.backend)?;
        let backend = if stays { entry.backend } else { packet.slot.current() };
        if backend == slot::NONE {
            return Ok(backend);
        }
        if gone_on.is_some() || stays && !packet.opens {
            self.openings.remove(packet.flow);
            self.connections.insert(*packet.flow, packet.entry(backend));
        } else {
            self.openings.insert(*packet.flow, packet.entry(backend));
        }
        Ok(backend)
    }

    fn stays(&self, packet: &Packet<'_>, index: u16) -> Result<bool, Reason> {
        let backend = self.backends[(packet.service.first_backend + u32::from(index)) as usize];
        match backend.old_flows {
            _ if packet.opens => Ok(backend.takes_new != 0),
            old if old == OldFlows::Reset as u8 => Err(Reason::Reset),
            old => Ok(old == OldFlows::Keep as u8),
        }
    }

    fn unknown(&mut self, packet: &Packet<'_>) -> Result<u16, Reason> {
        let Packet { service, slot, flow, opens, .. } = *packet;
        let before = self.slot(service.previous_table, flow, service.previous_source_bits);
        let previous = match before.filter(|_| service.previous_table.length > 0) {
            None => slot.previous(),
            Some(old) if old.is_settled() => old.current(),
            Some(old) => old.previous(),
        };
        let tells = flow.protocol == 6 || service.options & OPTION_QUIC != 0;
        let is_older = !opens && (service.track == Track::Moved as u8 || tells);
        let stays = is_older && previous != slot::NONE && self.stays(packet, previous)?;
        let backend = if stays { previous } else { slot.current() };
        if backend == slot::NONE {
            return Ok(backend);
        }
        if !self.refuses {
            self.openings.insert(*flow, packet.entry(backend));
        } else if opens && previous != slot::NONE && previous != backend {
            let takes_new = self.stays(packet, previous)?;
            return if takes_new { Ok(previous) } else { Err(Reason::NotRemembered) };
        }
        Ok(backend)
    }

    /// Carries out one operation, so that a test can look between two.
    pub fn step(&mut self, op: &Op) {
        match op {
            Op::WriteBackend { id, entry } => self.backends[*id as usize] = *entry,
            Op::WriteSlots { base, slots } => {
                self.arena[*base as usize..][..slots.len()].copy_from_slice(slots);
            }
            Op::WriteService { id, entry } => self.services[*id as usize] = *entry,
            Op::WritePolicy { id, policy } => self.policies[*id as usize] = *policy,
            Op::WriteServerId { service, id, named } => {
                let key = ServerKey { id: *id, service: *service, _pad: 0 };
                self.server_ids.insert(key, Server::from(*named));
            }
            Op::ClearServerId { service, id } => {
                self.server_ids.remove(&ServerKey { id: *id, service: *service, _pad: 0 });
            }
            Op::WriteIndex(cell) => self.index[cell.bucket as usize].entries[cell.entry] = cell.word,
            Op::WritePools(pools) => self.pools = **pools,
            Op::Grace => self.graces += 1,
            Op::MoveCounters { .. } => {}
            Op::Remember { flow, connection } => {
                let entry = self.connections.entry(*flow).or_insert(*connection);
                if entry.last_seen_ns < connection.last_seen_ns {
                    *entry = *connection;
                }
            }
            Op::ClearService { id } => {
                self.services[*id as usize] = Service::zeroed();
                self.policies[*id as usize] = Policy::zeroed();
                self.connections.retain(|_, entry| entry.service != *id);
                self.openings.retain(|_, entry| entry.service != *id);
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
        for flows in [&mut self.connections, &mut self.openings] {
            flows.retain(|_, entry| is_live(entry, now, idle));
        }
        let live = self.openings.iter().chain(&self.connections).map(|(flow, entry)| {
            let source_bits = self.services[entry.service as usize].source_bits;
            LiveFlow {
                flow: *flow,
                service: entry.service,
                hash: (self.flow_key.flow(&flow.chooser(source_bits)) >> 32) as u32,
                backend: entry.backend,
                last_seen: Duration::from_nanos(entry.last_seen_ns),
            }
        });
        Ok(live.collect())
    }

    fn server_ids(&self) -> Result<Vec<(ServerKey, Server)>, DataPlaneError> {
        Ok(self.image().server_ids)
    }

    fn tracking(&self) -> Tracking {
        let (connections, openings) = (self.connections.len() as u32, self.openings.len() as u32);
        Tracking { connections, openings, refused: [0; Kind::COUNT] }
    }

    fn remembered(&self) -> Result<Vec<(Flow, Connection)>, DataPlaneError> {
        Ok(self.connections.iter().map(|(flow, connection)| (*flow, *connection)).collect())
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
