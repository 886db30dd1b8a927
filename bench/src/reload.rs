//! The part `reload`: how long it takes until the data plane does what a changed file says.
//!
//! The daemon is told by SIGHUP, so that it does not wait for the file to be quiet, and the pinned maps are looked at
//! from outside.

use std::time::Duration;

use crate::Settings;
use crate::crowd::{Crowd, Site, Size, Version, check_time};
use crate::report::{Report, Row, Unit};
use crate::timing::{Contender, race};

const SIZE: Size = Size { services: 1_000, backends: 100, slots: 10_007 };
const QUICK_SIZE: Size = Size { services: 20, backends: 10, slots: 1_021 };

const ROUNDS: usize = 11;
const QUICK_ROUNDS: usize = 2;

const NS_TO_MS: f64 = 1e-6;

/// Changes the file, again and again.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let (size, rounds) = if settings.quick { (QUICK_SIZE, QUICK_ROUNDS) } else { (SIZE, ROUNDS) };
    let place = Site::new()?;
    let crowd = Crowd::start(&place, size)?;
    let mut contenders = [
        Contender::timed_by_itself("`sluice check` of the file".to_owned(), || {
            check_time(&crowd.path()).map(nanoseconds)
        }),
        change(&crowd, "1 backend", |version| version.one += 1),
        change(&crowd, "1 backend of each service", |version| version.each += 1),
        change(&crowd, "every backend", |version| version.all += 1),
    ];
    let times = race(&mut contenders, rounds)?;
    let case = format!("{} services, {} backends each: changed weights", size.services, size.backends);
    let floor = times[0].scaled(NS_TO_MS);
    let row = |(contender, times): (&Contender<'_>, &crate::timing::Spread)| {
        Row::new(&case, &contender.name, Unit::Milliseconds, times.scaled(NS_TO_MS), floor)
    };
    let rows = contenders.iter().zip(&times).map(row).collect();
    Ok(Report::new("reload", "`sluice check` of the same file, which touches nothing", rows))
}

fn change<'a>(crowd: &'a Crowd<'_>, name: &str, edit: fn(&mut Version)) -> Contender<'a> {
    Contender::timed_by_itself(name.to_owned(), move || crowd.change(edit).map(nanoseconds))
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
