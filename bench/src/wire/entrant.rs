//! Who takes part in `wire`: a kind of frames, and what they are sent through.

use std::cell::RefCell;
use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use aya::Ebpf;
use aya::programs::Xdp;

use super::link::{Link, MACS, Passage};
use crate::generator::{Frames, Generator, program};
use crate::packet::cases::{CASES, Case, Family, Feeding, Flows, Subject};
use crate::packet::scene::Scenes;
use lb_common::counter::Reason;

/// Frames for finding out whether a run is what it says.
const TRIAL: u32 = 1_000;

/// What stands at the far end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As in the part `packet`.
    Subject(Subject),
    /// The kernel forwards by its routes.
    Forwarding,
    /// The kernel rewrites the destination to that of one of a hundred backends, by the hash of the flow.
    Nftables,
    /// A program of somebody else.
    Other,
}

/// All programs that can stand there.
pub(super) struct Programs {
    pub(super) scenes: Scenes,
    /// The object with the floors.
    pub(super) floors: Ebpf,
    pub(super) other: Option<Xdp>,
}

/// One row to be.
pub(super) struct Entrant {
    pub(super) name: String,
    pub(super) flows: Flows,
    pub(super) family: Family,
    way: Way,
    generator: Generator,
    /// Of all runs.
    pub(super) total: Passage,
}

/// What an entrant is made from.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) way: Way,
    pub(super) case: Case,
    pub(super) flows: Flows,
    /// Another VIP than that of the case.
    pub(super) vip: Option<IpAddr>,
}

/// The cases of `packet` that end with a frame that comes back, with the numbers of flows that are worth a wire. The
/// generator knows neither sessions nor what else is written for translated flows.
pub(super) fn entries<'a>() -> impl Iterator<Item = Entry<'a>> {
    let comes_back = |case: &&Case| match case.subject {
        _ if case.feeding != Feeding::Ends => false,
        Subject::Nothing | Subject::MacSwapByBpftool | Subject::Multiply => false,
        Subject::MacSwap | Subject::Push => true,
        Subject::Balancer(_, reason) => reason == Reason::Transmitted,
    };
    CASES.iter().filter(comes_back).flat_map(|case| {
        let flows = case.flows.iter().filter(|&&flows| flows != Flows::Thousand);
        flows.map(|&flows| Entry {
            name: case.name,
            way: Way::Subject(case.subject),
            case: *case,
            flows,
            vip: None,
        })
    })
}

impl Entrant {
    /// Loads it, and makes sure that it does what it says.
    pub(super) fn new(
        object: &[u8],
        entry: &Entry<'_>,
        link: &Link<'_>,
        programs: &RefCell<Programs>,
    ) -> anyhow::Result<Self> {
        let frames = Frames {
            vip: entry.vip.map_or_else(|| entry.case.vip.parse(), Ok).context("the VIP is no address")?,
            services: entry.case.services,
            open: entry.case.opens,
            last_flow: entry.flows.last(),
            macs: MACS,
        };
        let mut entrant = Self {
            name: entry.name.to_owned(),
            flows: entry.flows,
            family: entry.case.family,
            way: entry.way,
            generator: Generator::load(object, &frames, link.near)?,
            total: Passage::default(),
        };
        entrant.try_out(link, programs)?;
        Ok(entrant)
    }

    fn try_out(&mut self, link: &Link<'_>, programs: &RefCell<Programs>) -> anyhow::Result<()> {
        if self.way == Way::Nftables {
            // Packets of a flow that arrive together, all before it is tracked, are taken for as many flows with the
            // same addresses, and dropped but for the first (`__nf_conntrack_confirm`).
            self.pass(link, &mut programs.borrow_mut(), TRIAL)?;
        }
        let before = self.counted(programs)?;
        let passage = self.pass(link, &mut programs.borrow_mut(), TRIAL)?;
        ensure!(passage.is_whole(), "{} of {TRIAL} frames came back", passage.returned);
        let counted = self.counted(programs)? - before;
        let wanted = if self.reason().is_some() { u64::from(TRIAL) } else { 0 };
        ensure!(counted == wanted, "{counted} of {TRIAL} frames were counted as {:?}", self.reason());
        Ok(())
    }

    /// Whether that floor stands at its far end.
    pub(super) fn is(&self, floor: Subject) -> bool {
        self.way == Way::Subject(floor)
    }

    fn reason(&self) -> Option<Reason> {
        let Way::Subject(Subject::Balancer(_, reason)) = self.way else { return None };
        Some(reason)
    }

    /// Frames that the balancer has counted under its reason.
    fn counted(&self, programs: &RefCell<Programs>) -> anyhow::Result<u64> {
        let Way::Subject(Subject::Balancer(name, reason)) = self.way else { return Ok(0) };
        Ok(programs.borrow_mut().scenes.scene(name)?.packets(reason))
    }

    /// Sends `count` frames, and gives the nanoseconds that each took that came back.
    pub(super) fn run(
        &mut self,
        link: &Link<'_>,
        programs: &RefCell<Programs>,
        count: u32,
    ) -> anyhow::Result<f64> {
        let passage = self.pass(link, &mut programs.borrow_mut(), count)?;
        self.total.sent += passage.sent;
        self.total.returned += passage.returned;
        passage.ns_per_frame()
    }

    fn pass(&mut self, link: &Link<'_>, programs: &mut Programs, count: u32) -> anyhow::Result<Passage> {
        let target = match self.way {
            Way::Subject(Subject::Balancer(name, _)) => programs.scenes.scene(name)?.program()?,
            Way::Subject(floor) => loaded(&mut programs.floors, floor.floor())?,
            Way::Forwarding | Way::Nftables => loaded(&mut programs.floors, Subject::Nothing.floor())?,
            Way::Other => programs.other.as_mut().context("there is no other program")?,
        };
        if self.way != Way::Nftables {
            return link.send_to(target, &mut self.generator, count);
        }
        link.set_rules(&rules())?;
        let passage = link.send_to(target, &mut self.generator, count);
        link.set_rules("")?;
        passage
    }
}

/// Those of a balancer by destination NAT.
fn rules() -> String {
    let backends: Vec<_> = (0..100).map(|n| format!("{n} : 198.51.100.{}", n + 1)).collect();
    format!(
        "table ip bench {{ chain balance {{ type nat hook prerouting priority dstnat; \
         ip daddr 203.0.113.1 tcp dport 80 dnat to jhash ip saddr . tcp sport mod 100 map {{ {} }}; }}; }}\n",
        backends.join(", ")
    )
}

fn loaded<'a>(floors: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let floor = program(floors, name)?;
    if floor.fd().is_err() {
        floor.load().with_context(|| format!("the kernel refused `{name}`"))?;
    }
    Ok(floor)
}
