//! What the program counts of services and backends, by their numbers.

use std::collections::HashMap;

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use lb_common::counter::Traffic;

use super::{
    DataPlaneError,
    counters::{Counters, clear, total},
    ebpf::take,
    refused,
};

type Openings = PerCpuArray<MapData, [u64; 1]>;

/// Where it counts.
pub(super) struct Counted {
    service_traffic: Counters,
    backend_traffic: Counters,
    service_opened: Openings,
    backend_opened: Openings,
    /// What backends had counted under another number.
    carried: HashMap<u32, Carried>,
}

#[derive(Clone, Copy, Default)]
struct Carried {
    traffic: Traffic,
    opened: u64,
}

impl Counted {
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, DataPlaneError> {
        macro_rules! open {
            ($name:literal) => {
                PerCpuArray::try_from(take(ebpf, $name)?).map_err(refused($name))?
            };
        }
        Ok(Self {
            service_traffic: open!("service_counters"),
            backend_traffic: open!("backend_counters"),
            service_opened: open!("service_opened"),
            backend_opened: open!("backend_opened"),
            carried: HashMap::new(),
        })
    }

    pub(super) fn service_traffic(&self, id: u32) -> Traffic {
        total(&self.service_traffic, id)
    }

    pub(super) fn service_opened(&self, id: u32) -> u64 {
        opened(&self.service_opened, id)
    }

    pub(super) fn backend_traffic(&self, id: u32) -> Traffic {
        let mut sum = total(&self.backend_traffic, id);
        sum += self.carried(id).traffic;
        sum
    }

    pub(super) fn backend_opened(&self, id: u32) -> u64 {
        opened(&self.backend_opened, id) + self.carried(id).opened
    }

    /// Has `count` backends from number `to` on go on with what those from `from` on have counted.
    pub(super) fn carry(&mut self, from: u32, to: u32, count: u32) {
        for (from, to) in (from..from + count).zip(to..) {
            let mut traffic = self.backend_traffic(from);
            let Carried { traffic: before, opened } = self.carried(to);
            traffic += before;
            self.carried.insert(to, Carried { traffic, opened: opened + self.backend_opened(from) });
        }
    }

    pub(super) fn clear_service(&mut self, id: u32) {
        clear(&mut self.service_traffic, "service_counters", id);
        clear(&mut self.service_opened, "service_opened", id);
    }

    pub(super) fn clear_backend(&mut self, id: u32) {
        clear(&mut self.backend_traffic, "backend_counters", id);
        clear(&mut self.backend_opened, "backend_opened", id);
        self.carried.remove(&id);
    }

    fn carried(&self, id: u32) -> Carried {
        self.carried.get(&id).copied().unwrap_or_default()
    }
}

/// The sum over all CPUs; nothing where the counter cannot be read.
fn opened(counters: &Openings, index: u32) -> u64 {
    counters.get(&index, 0).map_or(0, |values| values.iter().flatten().sum())
}
