//! Moving over to maps of other sizes, or of a layout that means the same with fewer fields.
//!
//! Everything keeps its number and its place, so what fits is copied as it is; only the index, whose buckets follow
//! from its size, is made anew.

use lb_common::{hash::HashKey, service::Bucket};

use super::{Applied, AppliedService, Image, Op, ReadSlots, index::ServiceIndex};
use crate::config::Limits;

impl Image {
    /// What maps of these sizes hold of the same. `None` where something lies beyond them.
    #[must_use]
    pub fn resized(&self, limits: &Limits, index_key: HashKey) -> Option<Self> {
        Some(Self {
            services: resized(&self.services, limits.services as usize)?,
            policies: resized(&self.policies, limits.services as usize)?,
            index: self.reindexed(limits, index_key)?,
            backends: resized(&self.backends, limits.backends as usize)?,
            server_ids: self.server_ids.clone(),
            pools: self.pools,
        })
    }

    /// The buckets of an index of another size over the services that this one names.
    fn reindexed(&self, limits: &Limits, key: HashKey) -> Option<Vec<Bucket>> {
        let old = ServiceIndex::of(key, self.index.clone());
        let mut new = ServiceIndex::new(key, limits.services);
        for cell in old.cells() {
            let id = (cell.word as u32).wrapping_sub(1);
            let service = self.services.get(id as usize).filter(|service| old.may_hold(&cell, &service.key));
            if let Some(service) = service {
                new.insert(&service.key, id)?;
            }
        }
        Some(new.into_buckets())
    }
}

/// A copy of another length; what is cut off has to be empty.
fn resized<T: bytemuck::Pod + PartialEq>(values: &[T], length: usize) -> Option<Vec<T>> {
    let kept = values.len().min(length);
    let mut copy = values[..kept].to_vec();
    copy.resize(length, T::zeroed());
    values[kept..].iter().all(|value| *value == T::zeroed()).then_some(copy)
}

impl Applied {
    /// What fills empty maps with all of this. `slots` has the tables. A service is found by no packet before it is
    /// whole.
    #[must_use]
    pub fn contents(&self, slots: &impl ReadSlots) -> Vec<Op> {
        let mut ops: Vec<Op> = self.services.values().flat_map(|service| service.contents(slots)).collect();
        ops.extend(self.vips.iter().map(|(&address, vip)| vip.write(address)));
        ops.push(Op::WritePools(Box::new(self.pools)));
        ops.extend(self.index.cells().into_iter().map(Op::WriteIndex));
        ops
    }
}

impl AppliedService {
    fn contents(&self, slots: &impl ReadSlots) -> Vec<Op> {
        let first = self.entry.first_backend;
        let members = self.members().map(|(index, member)| (first + u32::from(index), member.entry));
        let mut ops: Vec<Op> = members.map(|(id, entry)| Op::WriteBackend { id, entry }).collect();
        ops.push(Op::WritePolicy { id: self.id, policy: self.policy });
        ops.extend(self.write_server_ids());
        let tables = [self.entry.table, self.entry.previous_table];
        let tables = tables.into_iter().filter(|table| table.length > 0);
        ops.extend(tables.map(|table| Op::WriteSlots { base: table.base, slots: slots.slots(table) }));
        ops.push(Op::WriteService { id: self.id, entry: self.entry });
        ops
    }
}
