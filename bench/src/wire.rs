//! The part `wire`: what goes through a balancer in a second.
//!
//! Frames are made, balanced and counted by one CPU, over a veth pair with native XDP; what a row costs beside the
//! floor, a program that swaps the MAC addresses and sends the frame back, is the balancer's work. The rows are those of
//! the part `packet` whose frames come back.

mod balancers;
mod entrant;
pub(crate) mod link;
mod other;
mod streams;

use std::cell::RefCell;

use anyhow::Context as _;
use aya::EbpfLoader;

pub(crate) use self::other::Other;
use self::{
    entrant::{Entrant, Entry, Programs, Way, entries},
    link::Link,
};
use crate::Settings;
use crate::packet::cases::{CASES, Case, Family, Flows, Subject};
use crate::packet::{scene::Scenes, stay_on_one_cpu};
use crate::report::{Report, Row, Unit};
use crate::timing::{Contender, Spread, race};

/// Frames in a run. Every flow of the largest number of flows has its turn in each.
const FRAMES: u32 = 1 << 20;
const QUICK_FRAMES: u32 = 1 << 14;

/// By how many frames in a second a nanosecond per frame is divided, in millions.
const MEGAPACKETS: f64 = 1e3;

/// Measures every entrant, in turn.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let object = settings.bench_object()?;
    let netns = link::pair()?;
    let frames = netns.run(|| {
        stay_on_one_cpu()?;
        measure_frames(settings, &object, &Link::new(&netns, &object)?)
    });
    let (mut rows, notes) = frames.context("cannot enter the wire's namespace")??;
    rows.extend(streams::measure(settings.quick)?);
    let reference = "frames: the MAC swap with XDP_TX; connections and bytes: the kernel's forwarding";
    Ok(Report { notes, ..Report::new("wire", reference, rows) })
}

fn measure_frames(
    settings: &Settings,
    object: &[u8],
    link: &Link<'_>,
) -> anyhow::Result<(Vec<Row>, Vec<String>)> {
    let (frames, rounds) = if settings.quick { (QUICK_FRAMES, 3) } else { (FRAMES, 11) };
    let floors = EbpfLoader::new().load(object).context("cannot load the floors")?;
    let scenes = Scenes::new(link.far);
    let programs = RefCell::new(Programs { scenes, floors, other: settings.other.load()? });
    let (kernel, mut notes) = kernel_entries();
    let all = entries().chain(kernel).chain(settings.other.entries());
    let prepare = |entry: Entry<'_>| {
        let name = || format!("cannot measure {}, {}", entry.name, entry.flows.name());
        Entrant::new(object, &entry, link, &programs).with_context(name)
    };
    let mut entrants = all.map(prepare).collect::<anyhow::Result<Vec<_>>>()?;
    let mut contenders: Vec<_> =
        entrants.iter_mut().map(|entrant| contender(entrant, link, &programs, frames)).collect();
    let times = race(&mut contenders, rounds)?;
    drop(contenders);
    let rates: Vec<_> = times.into_iter().map(|times| times.rate_in(MEGAPACKETS)).collect();
    let rows = entrants.iter().zip(&rates).map(|(entrant, &rate)| {
        let floor = floor(&entrants, &rates, entrant.family);
        Row::new(&entrant.name, entrant.flows.name(), Unit::MegapacketsPerSecond, rate, floor)
    });
    notes.extend(entrants.iter().filter_map(loss));
    Ok((rows.collect(), notes))
}

fn contender<'a>(
    entrant: &'a mut Entrant,
    link: &'a Link<'_>,
    programs: &'a RefCell<Programs>,
    frames: u32,
) -> Contender<'a> {
    let name = format!("{}, {}", entrant.name, entrant.flows.name());
    Contender::timed_by_itself(name, move || entrant.run(link, programs, frames))
}

/// What rows of a family are compared with.
fn floor(entrants: &[Entrant], rates: &[Spread], family: Family) -> Spread {
    let is_floor = |entrant: &Entrant| entrant.is(Subject::MacSwap) && entrant.family == family;
    rates[entrants.iter().position(is_floor).expect("each family has its floor among the cases")]
}

/// Where frames were lost, the rate is that of the others.
fn loss(entrant: &Entrant) -> Option<String> {
    let (total, flows) = (entrant.total, entrant.flows.name());
    let lost = total.sent - total.returned;
    (lost > 0)
        .then(|| format!("{}, {flows}: {lost} of {} frames did not come back", entrant.name, total.sent))
}

/// What the kernel does without XDP, for the flows that it has room for.
fn kernel_entries<'a>() -> (Vec<Entry<'a>>, Vec<String>) {
    let floor =
        CASES.iter().find(|case| case.subject == Subject::MacSwap).expect("a floor is among the cases");
    let entry = |name, way, flows| Entry { name, way, case: Case { flows: &[], ..*floor }, flows, vip: None };
    let (most, mut notes) = (most_tracked(), Vec::new());
    let mut entries = Vec::new();
    for flows in [Flows::One, Flows::SixtyFourThousand, Flows::Million] {
        entries.push(entry("kernel forwarding", Way::Forwarding, flows));
    }
    for flows in [Flows::One, Flows::SixtyFourThousand, Flows::Million, Flows::Unseen] {
        if flows.last() < most {
            entries.push(entry("nftables, DNAT by a hash", Way::Nftables, flows));
        } else {
            let flows = flows.name();
            notes.push(format!("nftables, {flows}: not run, the kernel tracks {most} (nf_conntrack_max)"));
        }
    }
    entries.sort_by_key(|entry| entry.name);
    (entries, notes)
}

/// Flows that connection tracking has room for. None where the kernel has none.
fn most_tracked() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
