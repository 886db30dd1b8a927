//! The part `path`: what a settled packet costs, counted instead of timed, so that it is the same on a busy machine.
//!
//! The program is walked as the kernel has translated it, with the packets of the part `packet`, one of each kind. Beside the
//! figures, the instructions themselves are kept in `path.txt`.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;
use lb_tests::translated::{Program, Walk};

use crate::Settings;
use crate::packet::{
    LOOPBACK,
    cases::{CASES, Case, Subject},
    feeder, is_settled,
    scene::Scenes,
};
use crate::report::{Report, Row, Unit};
use crate::timing::spread;

/// Walks every kind of packet whose slot is settled.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let mut scenes = Scenes::new(LOOPBACK);
    let mut walks = Vec::new();
    for case in CASES.iter().filter(|case| is_settled(case)) {
        walks.push((case, walk(case, &mut scenes).with_context(|| format!("cannot walk {}", case.name))?));
    }
    let (_, least) = walks.first().context("no case is settled")?;
    let reference = figures(least);
    let rows = walks.iter().flat_map(|(case, walk)| rows(case, figures(walk), reference));
    let mut report = Report::new("path", "the first row's", rows.collect());
    report.notes = walks.iter().map(|(case, walk)| format!("{}: {}", case.name, lines(walk))).collect();
    if !settings.quick {
        keep_listing(settings, &walks)?;
    }
    Ok(report)
}

fn walk(case: &Case, scenes: &mut Scenes) -> anyhow::Result<Walk> {
    let Subject::Balancer(name, _) = case.subject else { unreachable!("a floor is no settled case") };
    let id = scenes.scene(name)?.program()?.info()?.id();
    Program::loaded(id)?.walk(&feeder::packet(case)?.build(), LOOPBACK)
}

/// What is counted of a walk. Helpers are named below the table: most packets call none.
const NAMES: [&str; 2] = ["instructions", "cache lines"];

fn figures(walk: &Walk) -> [f64; 2] {
    let counts: [usize; 2] = [walk.instructions.len(), walk.lines.values().sum()];
    counts.map(|count| f64::from(count as u32))
}

fn rows(case: &Case, figures: [f64; 2], reference: [f64; 2]) -> impl Iterator<Item = Row> {
    let one = |value| spread(vec![value]);
    let all = NAMES.into_iter().zip(figures.into_iter().zip(reference));
    all.map(move |(name, (figure, reference))| {
        Row::new(case.name, name, Unit::Count, one(figure), one(reference))
    })
}

/// What a packet touches and calls.
fn lines(walk: &Walk) -> String {
    let lines =
        walk.lines.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
    let helpers = if walk.helpers.is_empty() { "nothing".to_owned() } else { walk.helpers.join(", ") };
    format!("calls {helpers}; cache lines: {lines}")
}

fn keep_listing(settings: &Settings, walks: &[(&Case, Walk)]) -> anyhow::Result<()> {
    let mut listing = String::new();
    for (case, walk) in walks {
        writeln!(listing, "{}\n{}\n", case.name, walk.instructions.join("\n"))?;
    }
    let path = settings.results.join("path.txt");
    fs::create_dir_all(&settings.results)
        .and_then(|()| fs::write(&path, listing))
        .with_context(|| format!("cannot write {}", path.display()))
}
