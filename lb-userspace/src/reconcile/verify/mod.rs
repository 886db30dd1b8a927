//! Whether the maps hold what was applied, and what makes them hold it again.
//!
//! Pure, as reconciliation is. What is held is read from the maps: the same [`Image`] that another daemon's maps are
//! adopted by, and slots. What they are to hold follows from two things that do not come from there:
//!
//! | map | what it is to hold |
//! | --- | --- |
//! | `services`, `policies`, `backends`, `service_index`, `server_ids`, `nat_pools` | as they were written ([`Applied`]); nothing where nothing was |
//! | `arena` | the current backend of a slot is the planned table's; the previous one is what was noted when the slot moved |
//!
//! Adoption cannot be shared beyond the reading: it takes what the maps say for true and clears what contradicts it, and here
//! the maps are what is in doubt.
//!
//! A repair is operations as any other change is, and in the same order: what could mislead a packet is taken out of the index
//! first, entries come before what leads to them, and what nothing is to name is cleared after a grace period, which also sees to
//! it that no packet reads a free stretch any more that a damaged entry has led it to. A slot that gave its flows to another
//! backend becomes a moved one, as it would if the operator had moved it: what has begun meanwhile goes on.

mod entries;
mod index;
mod slots;
mod words;

use std::{sync::Arc, time::Duration};

use lb_common::{address::Address, nat::Pool};

use super::{Applied, AppliedService, Image, Op, ReadSlots};
use crate::{
    admin::verify::{Difference, LookedAt},
    plan::Plan,
};

/// What maps are compared with.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// What was applied.
    pub applied: &'a Applied,
    /// The plan that it was applied for.
    pub plan: &'a Plan,
    /// The name of a service's backend with an address, if it has one.
    pub name: &'a dyn Fn(&str, Address) -> Option<String>,
}

/// What a comparison has found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// What is otherwise.
    pub differences: Vec<Difference>,
    /// What was compared.
    pub looked_at: LookedAt,
    /// What makes the maps hold what was applied.
    pub repair: Vec<Op>,
    /// What is applied after that, if anything is to be done.
    pub next: Option<Applied>,
}

/// Compares what the maps hold with what they are to hold. `now` is on the monotonic clock.
pub fn verify(expected: Expected<'_>, held: &Image, slots: &impl ReadSlots, now: Duration) -> Comparison {
    let mut look = Look {
        expected,
        held,
        slots,
        now,
        differences: Vec::new(),
        looked_at: LookedAt::default(),
        withdrawals: Vec::new(),
        writes: Vec::new(),
        clearances: Vec::new(),
        moved: Vec::new(),
    };
    for planned in &expected.plan.services {
        if let Some(service) = expected.applied.service(&planned.key) {
            look.service(service);
            look.tables(service, planned);
            look.entry(service);
        }
    }
    look.vips();
    look.index();
    look.pools();
    look.strays();
    look.concluded()
}

/// A comparison under way.
struct Look<'a, S> {
    expected: Expected<'a>,
    held: &'a Image,
    slots: &'a S,
    now: Duration,
    differences: Vec<Difference>,
    looked_at: LookedAt,
    /// What takes out of the index what does not belong there.
    withdrawals: Vec<Op>,
    /// What writes entries, and then what leads to them.
    writes: Vec<Op>,
    /// What clears that which nothing names any more.
    clearances: Vec<Op>,
    /// Services with slots that are moved ones from now on.
    moved: Vec<AppliedService>,
}

/// What a difference is about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    map: &'a str,
    service: Option<&'a str>,
    backend: Option<Address>,
}

impl<'a> Subject<'a> {
    const fn of(map: &'a str) -> Self {
        Self { map, service: None, backend: None }
    }

    const fn of_service(map: &'a str, service: &'a AppliedService) -> Self {
        Self { map, service: Some(service.name.as_str()), backend: None }
    }
}

impl<S: ReadSlots> Look<'_, S> {
    fn tell(&mut self, subject: Subject<'_>, field: impl Into<String>, expected: String, found: String) {
        let Subject { map, service, backend } = subject;
        let backend = backend.map(|address| self.name(service.unwrap_or_default(), address));
        let difference = Difference::new(map, field, expected, found);
        self.differences.push(difference.of(service.map(str::to_owned), backend));
    }

    /// A backend's name, or its address where it has none any more.
    fn name(&self, service: &str, address: Address) -> String {
        (self.expected.name)(service, address).unwrap_or_else(|| words::address(address))
    }

    fn pools(&mut self) {
        let expected = self.expected.applied.pools;
        if self.held.pools == expected {
            return;
        }
        let families = ["IPv4", "IPv6"].into_iter().zip(expected.iter().zip(&self.held.pools));
        for (family, (expected, found)) in families.filter(|(_, (expected, found))| expected != found) {
            let word = |pool: &Pool| words::pool(pool);
            self.tell(Subject::of("nat_pools"), family, word(expected), word(found));
        }
        // Behind the marks of its addresses.
        self.writes.push(Op::WritePools(Box::new(expected)));
    }

    fn concluded(self) -> Comparison {
        let Self { expected, differences, looked_at, withdrawals, writes, clearances, moved, .. } = self;
        let mut repair = withdrawals;
        repair.extend(writes);
        let changes = !repair.is_empty() || !clearances.is_empty();
        if changes {
            repair.push(Op::Grace);
        }
        repair.extend(clearances);
        let next = changes.then(|| {
            let mut next = expected.applied.clone();
            for service in moved {
                next.services.insert(service.entry.key, Arc::new(AppliedService { placed: None, ..service }));
            }
            next
        });
        Comparison { differences, looked_at, repair, next }
    }
}
