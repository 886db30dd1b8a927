//! Publishing a generation: the slots into a free stretch of the arena, the service's line over to them, and then the
//! wait until no CPU can be reading the old stretch any more.

use std::cell::RefCell;

use anyhow::Context as _;
use bytemuck::Zeroable as _;
use lb_common::service::{Service, TableRef};
use lb_common::slot::Slot;
use sluice::config::Config;
use sluice::dataplane::{DataPlane as _, ebpf::EbpfDataPlane, load::Knobs};
use sluice::reconcile::Op;

use crate::timing::Contender;

/// The maps of a balancer that nothing is attached to.
pub(super) struct Publisher {
    dataplane: RefCell<EbpfDataPlane>,
    slots: Vec<Slot>,
}

impl Publisher {
    /// Room for two tables of that length.
    pub(super) fn new(length: u32) -> anyhow::Result<Self> {
        let text = format!(
            "[balancer]\ninterfaces = [\"lo\"]\n[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"\n\
             [limits]\nslots = {}\n",
            2 * length.next_multiple_of(16)
        );
        let (config, _) = Config::parse("bench.toml", &text).map_err(|error| anyhow::anyhow!("{error}"))?;
        let knobs = Knobs { limits: &config.limits, seed: &config.fleet.seed, features: 0 };
        let dataplane = EbpfDataPlane::load(knobs, None).context("cannot load the balancer's maps")?;
        let slots = (0..length).map(|slot| Slot::settled((slot % 100) as u16)).collect();
        Ok(Self { dataplane: RefCell::new(dataplane), slots })
    }

    /// What is timed. Each run publishes the table where the one before is not.
    pub(super) fn contenders(&self) -> [Contender<'_>; 2] {
        [
            Contender::new("publish", self.publisher(&[])),
            Contender::new("publish, until the last CPU reads it", self.publisher(&[Op::Grace])),
        ]
    }

    fn publisher<'a>(&'a self, then: &'a [Op]) -> impl FnMut() + 'a {
        let length = self.slots.len() as u32;
        let service = |base| Service { table: TableRef { base, length }, ..Service::zeroed() };
        let generation = |base| {
            let slots = Op::WriteSlots { base, slots: self.slots.clone() };
            [&[slots, Op::WriteService { id: 0, entry: service(base) }], then].concat()
        };
        let generations = [generation(0), generation(length.next_multiple_of(16))];
        let mut next = 0;
        move || {
            self.dataplane.borrow_mut().apply(&generations[next]);
            next = 1 - next;
        }
    }
}
