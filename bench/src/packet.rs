//! The part `packet`: nanoseconds that one packet spends in the balancer's program.
//!
//! The kernel runs the shipped object; `feeder` says how a million packets of a million flows get there. What a row
//! costs above the floor, a program that swaps the MAC addresses and is fed the same way, is the balancer's work.

pub(crate) mod cases;
pub(crate) mod feeder;
pub(crate) mod scene;
mod sessions;

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Settings;
use crate::report::{Report, Row, Unit};
use crate::timing::{Contender, Progress, Spread, race};
use cases::{CASES, Case, Flows, Subject};
use feeder::{Ends, Feed, Feeder};
use scene::{Name, Scenes};
use sessions::Sessions;

/// Packets in a run. Every flow of the largest number of flows has its turn in each.
const PACKETS: u32 = 1 << 20;
const QUICK_PACKETS: u32 = 1 << 14;

/// The loopback device, by which the kernel lets test packets come; what leaves there is transmitted.
pub(crate) const LOOPBACK: u32 = 1;

/// Packets for finding out whether a run is what it says.
const TRIAL: u32 = 1_000;

/// A case with one of its numbers of flows, ready to be fed.
struct Run {
    case: &'static Case,
    flows: Flows,
    feeder: Feeder,
}

/// Measures every case, in turn.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    // A thread of its own: what is measured next, and the daemons in it, may run where they like.
    std::thread::scope(|scope| scope.spawn(|| measure_here(settings)).join())
        .map_err(|_panic| anyhow::anyhow!("the thread that measures packets panicked"))?
}

fn measure_here(settings: &Settings) -> anyhow::Result<Report> {
    let (packets, rounds) = if settings.quick { (QUICK_PACKETS, 3) } else { (PACKETS, 11) };
    let object = settings.bench_object()?;
    stay_on_one_cpu()?;
    let mut scenes = Scenes::new(LOOPBACK);
    let mut runs = prepare(&object, &mut scenes)?;
    let mut contenders: Vec<_> = runs.iter_mut().map(|run| run.contender(packets)).collect();
    let times = race(&mut contenders, rounds)?;
    drop(contenders);
    scenes.ensure_nothing_was_refused()?;
    let rows = runs.iter().zip(&times).map(|(run, &all)| run.row(all, floor(&runs, &times, run.case)));
    Ok(Report::new("packet", "the MAC swap with XDP_TX", rows.collect()))
}

/// So that the counters and the connection table's list of free entries are those of one.
pub(crate) fn stay_on_one_cpu() -> anyhow::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(rustix::thread::sched_getcpu());
    sched_setaffinity(None, &cpus).context("cannot stay on one CPU")
}

fn prepare(object: &[u8], scenes: &mut Scenes) -> anyhow::Result<Vec<Run>> {
    let (mut runs, mut sessions) = (Vec::new(), Sessions::default());
    let mut progress = Progress::new("case", CASES.len());
    for (at, case) in CASES.iter().enumerate() {
        progress.tell(at + 1, case.name);
        for &flows in case.flows {
            let name = || format!("cannot measure {}, {}", case.name, flows.name());
            runs.push(Run::new(object, case, flows, scenes, &mut sessions).with_context(name)?);
        }
    }
    Ok(runs)
}

/// Whether a case's packets find settled slots, or no service, and nothing is asked of them beyond their headers.
pub(crate) fn is_settled(case: &Case) -> bool {
    let scenes = [Name::Settled, Name::Many, Name::Strict];
    let for_openings = [Name::SourceRate, Name::Bounded];
    matches!(case.subject, Subject::Balancer(name, _)
        if scenes.contains(&name) || !case.opens && for_openings.contains(&name))
}

/// What the rows of a case are compared with: packets of the same family, fed in the same way.
fn floor(runs: &[Run], times: &[Spread], case: &Case) -> Spread {
    let is_floor = |run: &Run| {
        run.case.subject == Subject::MacSwap
            && run.case.family == case.family
            && run.case.feeding == case.feeding
    };
    times[runs.iter().position(is_floor).expect("each way of feeding has its floor among the cases")]
}

impl Run {
    fn new(
        object: &[u8],
        case: &'static Case,
        flows: Flows,
        scenes: &mut Scenes,
        sessions: &mut Sessions,
    ) -> anyhow::Result<Self> {
        let feed = Feed::of(case, flows.last())?;
        let Subject::Balancer(name, reason) = case.subject else {
            let mut feeder = Feeder::load(object, &feed, &[Ends::default()])?;
            feeder.aim_at_floor(case.subject.floor())?;
            feeder.run(TRIAL)?;
            return Ok(Self { case, flows, feeder });
        };
        let scene = scenes.scene(name)?;
        let replies = sessions.open(object, case, scene)?;
        let mut feeder = Feeder::load(object, &feed, replies)?;
        feeder.aim_at(scene.program()?)?;
        if name.remembers() && !case.opens {
            // From its second packet on, a flow is among the connections.
            feeder.run(2 * (flows.last() as u32 + 1))?;
        }
        let before = scene.packets(reason);
        feeder.run(TRIAL)?;
        let counted = scene.packets(reason) - before;
        ensure!(counted == u64::from(TRIAL), "{counted} of {TRIAL} packets were counted as {reason:?}");
        Ok(Self { case, flows, feeder })
    }

    fn contender(&mut self, packets: u32) -> Contender<'_> {
        let is_by_bpftool = self.case.subject == Subject::MacSwapByBpftool;
        Contender::timed_by_itself(self.case.name.to_owned(), move || {
            if is_by_bpftool { self.feeder.run_by_bpftool(packets) } else { self.feeder.run(packets) }
        })
    }

    fn row(&self, times: Spread, floor: Spread) -> Row {
        Row::new(self.case.name, self.flows.name(), Unit::Nanoseconds, times, floor)
    }
}
