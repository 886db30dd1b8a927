//! Going on with maps that another daemon has filled.
//!
//! The maps say everything that reconciliation needs: what the index names is there, anything else is free. What a
//! daemon that was killed had begun and not published is cleared.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytemuck::Zeroable as _;
use lb_common::{
    address::Address,
    backend::Backend as Entry,
    hash::HashKey,
    nat::Pool,
    policy::Policy,
    quic::{Server, ServerKey},
    service::{Bucket, Service, TableRef},
};

use super::{
    Applied, AppliedService, Member, Op, ReadSlots,
    applied::Vip,
    index::{Cell, ServiceIndex},
    server_ids,
};
use crate::config::Limits;

/// What the maps hold, but for the arena.
#[derive(Clone, Debug)]
pub struct Image {
    /// `services`.
    pub services: Vec<Service>,
    /// `policies`; those of services beyond its end ask for nothing.
    pub policies: Vec<Policy>,
    /// `service_index`.
    pub index: Vec<Bucket>,
    /// `backends`.
    pub backends: Vec<Entry>,
    /// `server_ids`; a layout before had none.
    pub server_ids: Vec<(ServerKey, Server)>,
    /// `nat_pools`; a layout before had none.
    pub pools: [Pool; 2],
}

/// Why maps cannot be gone on with: they contradict themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// Two entries of the index name the same service, or two services have the same key.
    #[error("service {0} is there twice")]
    Twice(u32),
    /// Two services' tables or backends overlap, or lie beyond the map.
    #[error("table or backends of service {0} lie where they cannot be")]
    Misplaced(u32),
}

impl Applied {
    /// What an earlier daemon has applied, and what to clear of what it left unfinished. Names are not in the maps; the
    /// first reconciliation gives them. `now` is on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`AdoptError`] where the maps contradict themselves.
    pub fn adopt(
        limits: &Limits,
        index_key: HashKey,
        image: &Image,
        slots: &impl ReadSlots,
        now: Duration,
    ) -> Result<(Self, Vec<Op>), AdoptError> {
        let mut applied = Self { pools: image.pools, ..Self::new(limits, index_key) };
        let (index, ids, mut ops) = read_index(index_key, image);
        applied.index = index;
        for id in ids {
            applied.ids.reserve(id, 1).ok_or(AdoptError::Twice(id))?;
            let mut entry = image.services[id as usize];
            if entry.previous_table == entry.table && entry.table.length > 0 {
                // A change of the table's length that got no further.
                entry.previous_table = TableRef::default();
                ops.push(Op::WriteService { id, entry });
            }
            if entry.key.protocol == 0 {
                let vip = Vip { id, options: entry.options };
                let twice = applied.vips.insert(entry.key.address, vip).is_some();
                (!twice).then_some(()).ok_or(AdoptError::Twice(id))?;
            } else {
                applied.adopt_service(id, entry, image, slots, now)?;
            }
        }
        ops.extend(applied.leftovers(image));
        Ok((applied, ops))
    }

    fn adopt_service(
        &mut self,
        id: u32,
        entry: Service,
        image: &Image,
        slots: &impl ReadSlots,
        now: Duration,
    ) -> Result<(), AdoptError> {
        let misplaced = AdoptError::Misplaced(id);
        self.backends.reserve(entry.first_backend, entry.capacity).ok_or(misplaced.clone())?;
        for TableRef { base, length } in [entry.table, entry.previous_table] {
            if length > 0 {
                self.arena.reserve(base, length).ok_or(misplaced.clone())?;
            }
        }
        let held_by = |table: TableRef| if table.length > 0 { slots.slots(table) } else { Vec::new() };
        let held = held_by(entry.table);
        let mut service = AppliedService {
            name: String::new(),
            id,
            entry,
            policy: image.policies.get(id as usize).copied().unwrap_or_else(Policy::zeroed),
            members: members(entry, image),
            server_ids: BTreeMap::new(),
            merged: None,
            placed: None,
            idle_timeout: Duration::ZERO,
            moved_slots: 0,
            moved: Arc::default(),
            previous_slots: held_by(entry.previous_table).into(),
            rehashed_at: now,
        };
        service.server_ids = server_ids::of_service(id, &image.server_ids);
        service.drop_strange_server_ids();
        service.note_moves(&held, now);
        match self.services.insert(entry.key, Arc::new(service)) {
            None => Ok(()),
            Some(_) => Err(AdoptError::Twice(id)),
        }
    }

    /// Clears what nothing names.
    fn leftovers(&self, image: &Image) -> Vec<Op> {
        let services = (0..)
            .zip(&image.services)
            .filter(|&(id, entry)| *entry != Service::zeroed() && self.ids.is_free(id));
        let backends = (0..)
            .zip(&image.backends)
            .filter(|&(id, entry)| *entry != Entry::zeroed() && self.backends.is_free(id));
        let services = services.map(|(id, _)| Op::ClearService { id });
        let held = |key: &ServerKey| {
            self.services.values().any(|s| s.id == key.service && s.server_ids.contains_key(&key.id))
        };
        let stray = image.server_ids.iter().filter(|(key, _)| !held(key));
        services
            .chain(backends.map(|(first, _)| Op::ClearBackends { first, count: 1 }))
            .chain(stray.map(|(key, _)| Op::ClearServerId { service: key.service, id: key.id }))
            .collect()
    }
}

/// The index with the numbers that it names. Cells that name nothing that could be found by them are emptied.
fn read_index(key: HashKey, image: &Image) -> (ServiceIndex, Vec<u32>, Vec<Op>) {
    let mut index = ServiceIndex::of(key, image.index.clone());
    let mut ids = Vec::new();
    let mut stray = Vec::new();
    for cell in index.cells() {
        let id = (cell.word as u32).wrapping_sub(1);
        match image.services.get(id as usize) {
            Some(service) if index.may_hold(&cell, &service.key) => ids.push(id),
            _ => stray.push(Cell { word: 0, ..cell }),
        }
    }
    for cell in &stray {
        index.write(*cell);
    }
    (index, ids, stray.into_iter().map(Op::WriteIndex).collect())
}

/// The backends of a service; a free entry has no address.
fn members(service: Service, image: &Image) -> Vec<Option<Member>> {
    let entries = &image.backends[service.first_backend as usize..][..service.capacity as usize];
    let unused = Address::from_v6([0; 16]);
    let mut members: Vec<_> = entries
        .iter()
        .map(|&entry| (entry.address != unused).then_some(Member { entry, retired: false }))
        .collect();
    while members.last().is_some_and(Option::is_none) {
        members.pop();
    }
    members
}
