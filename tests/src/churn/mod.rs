//! Churn: thousands of connections, and what an operator does to a balancer meanwhile.
//!
//! Clients hold real TCP connections, from kernel sockets through the balancer to kernel sockets of echo servers, and
//! notice everything that a real one would: a reset, silence, an answer of somebody else, numbers out of order. A
//! script of events happens, and each event's row tells which connections it broke. A connection whose own backend died
//! is excused; nothing else is.
//!
//! | thread | what |
//! | --- | --- |
//! | the caller's | the script: edits the file, ends and starts daemons, waits for conditions |
//! | `clients` | all clients' sockets, in the client's namespace |
//! | `echo b1` … | a backend's sockets, in its namespace |
//! | `flood` | spoofed SYNs, where they are asked for |

mod balancer;
mod board;
mod chaos;
mod clients;
mod events;
mod fleet;
mod flood;
mod line;
mod report;
mod server;
mod settings;
mod stage;
mod wire;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, getrlimit};

use self::{
    events::{EVENTS, Event, UPGRADE},
    report::Happening,
    stage::Stage,
};
use crate::{interrupt, topology::Lan};

pub use self::{
    board::{Broken, Tally},
    flood::Flood,
    report::{Flooded, HEADING, Report, Row},
};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The `sluice` binary.
    pub binary: PathBuf,
    /// Another build of it, for the event that needs one.
    pub other_binary: Option<PathBuf>,
    /// The XDP programs.
    pub object: PathBuf,
    /// Connections to hold at a time.
    pub connections: usize,
    /// What all choices are drawn from.
    pub seed: u64,
    /// Mean pause between two requests of a client.
    pub pause: Duration,
    /// Reloads in the event of that name.
    pub edits: usize,
    /// Steps of the event in which everything happens at once.
    pub random_steps: usize,
    /// Names of the only events that are to happen; all happen where none is named.
    pub only: Vec<String>,
    /// More keys for every service, whose values are strings.
    pub keys: Vec<(String, String)>,
    /// The flood that goes on meanwhile.
    pub flood: Option<Flood>,
}

/// Runs all events, and calls `told` with each as it is over.
///
/// # Errors
///
/// The stage cannot be set up, or the process was asked to end. What goes wrong in an event is told in its row.
pub fn run(options: &Options, mut told: impl FnMut(&Row)) -> Result<Report> {
    check_open_files(options.connections)?;
    let mut report = Report { seed: options.seed, connections: options.connections, ..Report::default() };
    let mut tell = |row: Row| {
        told(&row);
        report.rows.push(row);
    };
    balance(options, &mut tell)?;
    fleet::run(options, &mut tell)?;
    ensure!(!report.rows.is_empty(), "there are no such events as {:?}", options.only);
    if options.wants(UPGRADE) && options.other_binary.is_none() {
        report.left_out.push((UPGRADE.to_owned(), "there is no other build".to_owned()));
    }
    Ok(report)
}

/// Both ends of every connection are files of this process.
fn check_open_files(connections: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = connections as u64 * 2 + 500;
    ensure!(
        needed <= limit,
        "{connections} connections need {needed} open files, and `ulimit -n` is {limit}"
    );
    Ok(())
}

impl Options {
    /// Whether the event `name` was asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// The events of one balancer.
fn balance(options: &Options, tell: &mut dyn FnMut(Row)) -> Result<()> {
    let possible = |event: &&Event| event.name != UPGRADE || options.other_binary.is_some();
    let events = EVENTS.iter().filter(|event| options.wants(event.name)).filter(possible);
    let events: Vec<_> = events.collect();
    if events.is_empty() {
        return Ok(());
    }
    let lan = Lan::with_backends(&options.object, stage::BACKENDS)?;
    let mut stage = Stage::set_up(&lan, options, events.len()).context("cannot set the stage")?;
    for (cohort, event) in events.into_iter().enumerate() {
        tell(play(&mut stage, event, cohort)?);
    }
    Ok(())
}

/// One event, and what is needed to have everything as before.
fn play(stage: &mut Stage<'_>, event: &Event, cohort: usize) -> Result<Row> {
    let before = stage.counted()?;
    let happening = Happening::begin(event.name, event.what, stage.clients.alive());
    stage.begin(cohort);
    let acted = (event.act)(stage);
    interrupt::check()?;
    let outcome = acted.and(stage.restore());
    let row = happening.end(outcome, stage.clients.take());
    Ok(row.counting(&before, &stage.counted()?))
}
