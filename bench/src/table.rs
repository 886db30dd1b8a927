//! The part `table`: what it costs to build a lookup table, to refill it after failures, to merge it into the published
//! one, and to publish it.
//!
//! Building here is all of it: hashing names, sorting, filling, counting, the digest. The C loop only fills.

mod publish;

use lb_common::hash::Seed;
use lb_common::maglev::{Base, Member, Table};
use lb_common::slot::Slot;

use crate::c_loop::{CLoop, Step};
use crate::report::{Report, Row, Unit};
use crate::timing::{Contender, Spread, race};
use publish::Publisher;

const SEED: Seed = Seed(*b"sluice benchmark");

const NS_TO_US: f64 = 1e-3;

/// A service to measure.
struct Case {
    backends: usize,
    length: u32,
}

/// The paper's two sizes, a usual service, and a large one.
const CASES: [Case; 4] = [
    Case { backends: 1_000, length: 65_537 },
    Case { backends: 1_000, length: 655_373 },
    Case { backends: 20, length: 65_537 },
    Case { backends: 10_000, length: 1_000_003 },
];

const QUICK: [Case; 1] = [Case { backends: 100, length: 10_007 }];

/// Measures every case.
pub(crate) fn measure(quick: bool) -> anyhow::Result<Report> {
    let (cases, rounds) = if quick { (&QUICK[..], 3) } else { (&CASES[..], 41) };
    let is_root = rustix::process::geteuid().is_root();
    let mut rows = Vec::new();
    for case in cases {
        let publisher = is_root.then(|| Publisher::new(case.length)).transpose()?;
        rows.extend(case.measure(rounds, publisher.as_ref())?);
    }
    let left_out = "publishing was not measured: the kernel's maps are for root alone".to_owned();
    let notes = if is_root { Vec::new() } else { vec![left_out] };
    Ok(Report { notes, ..Report::new("table", "the C loop with additions", rows) })
}

impl Case {
    fn measure(&self, rounds: usize, publisher: Option<&Publisher>) -> anyhow::Result<Vec<Row>> {
        let names: Vec<String> = (0..self.backends).map(|n| format!("backend-{n}")).collect();
        let equal = members(&names, |_| 1);
        let base = Base::build(&equal, self.length, &SEED)?;
        let weighted = members(&names, |n| [1, 10, 100][n % 3]);
        let refilled = base.refill(|n| n % 100 != 7);
        let stepping = targets(self.backends, |n| if n % 100 == 7 { 20 } else { 100 });
        let uneven = targets(self.backends, |n| 50 + (n % 51) as u64);
        let live: Vec<Slot> = base.table().slots().iter().copied().map(Slot::settled).collect();
        let (mut added, mut divided) = (self.c_loop(), self.c_loop());
        let mut contenders = vec![
            Contender::new(REFERENCE, || added.run(Step::Add).len()),
            Contender::new("C loop, modulo", || divided.run(Step::Modulo).len()),
            Contender::new("build, equal weights", || Base::build(&equal, self.length, &SEED)),
            Contender::new("build, weights 1, 10 and 100", || Base::build(&weighted, self.length, &SEED)),
            Contender::new("refill, 1 in 100 failed", || base.refill(|n| n % 100 != 7)),
            Contender::new("refill, half failed", || base.refill(|n| n % 2 == 0)),
            Contender::new("targets, 1 in 100 has a fifth", || base.with_targets(&stepping)),
            Contender::new("targets, every one has another part", || base.with_targets(&uneven)),
            Contender::new("merge", || merge(&live, &refilled)),
        ];
        contenders.extend(publisher.into_iter().flat_map(Publisher::contenders));
        let times = race(&mut contenders, rounds)?;
        let case = format!("{} backends, {} slots", self.backends, self.length);
        let floor = times[0].scaled(NS_TO_US);
        let row = |(contender, times): (&Contender<'_>, &Spread)| {
            Row::new(&case, &contender.name, Unit::Microseconds, times.scaled(NS_TO_US), floor)
        };
        Ok(contenders.iter().zip(&times).map(row).collect())
    }

    fn c_loop(&self) -> CLoop {
        let mut n = 0;
        CLoop::new(self.backends, self.length, || {
            n += 1;
            SEED.sip(b"C loop", n) as u32
        })
    }
}

/// The contender that the others are compared with comes first.
const REFERENCE: &str = "C loop, additions";

fn members(names: &[String], weight: impl Fn(usize) -> u32) -> Vec<Member<'_>> {
    names.iter().enumerate().map(|(n, name)| Member { name, weight: weight(n) }).collect()
}

fn targets(backends: usize, percent: impl Fn(usize) -> u64) -> Vec<u64> {
    (0..backends).map(percent).collect()
}

fn merge(live: &[Slot], next: &Table) -> Vec<Slot> {
    live.iter().zip(&*next.slots()).map(|(slot, &owner)| slot.moved_to(owner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_run_measures_every_contender() {
        let rows = QUICK[0].measure(1, None).unwrap();
        assert_eq!(rows.len(), 9);
        assert!(rows.iter().all(|row| row.case == "100 backends, 10007 slots"));
    }
}
