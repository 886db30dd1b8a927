//! What figures are to come to, and whether they do.
//!
//! Nanoseconds and rates are judged as multiples of the floor of the same run, so that no slow or busy machine decides:
//! what is said of packets was chosen on a machine whose floor, the MAC swap, is 24 ns. Tables are judged by the paper's
//! own loop, which took 1.8 and 22.9 ms there (Eisenbud et al., "Maglev", NSDI 2016, section 5.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::Row;

/// A figure that is to be somewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) bound: Bound,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, figure, bound } = self;
        let (sign, limit) = match bound {
            Bound::AtMost(limit) => ('\u{2264}', limit),
            Bound::AtLeast(limit) => ('\u{2265}', limit),
        };
        let verdict = if bound.holds(*figure) { "met" } else { "missed" };
        write!(f, "  {what:<72}{figure:>9.2} {sign}{limit:>8.2}  {verdict}")
    }
}

/// The goals of a part, of the rows that it has.
pub(crate) fn of(part: &str, rows: &[Row]) -> Vec<Goal> {
    let rows = Rows(rows);
    match part {
        "packet" => packet(rows),
        "wire" => wire(rows),
        "table" => table(rows),
        "reload" => reload(rows),
        "memory" => memory(rows),
        "failover" => failover(rows),
        _ => Vec::new(),
    }
}

#[derive(Clone, Copy)]
struct Rows<'a>(&'a [Row]);

impl<'a> Rows<'a> {
    fn find(self, case: &str, name: &str) -> Option<&'a Row> {
        self.0.iter().find(|row| row.case == case && row.name == name)
    }

    /// By how many floors a row is above the floor.
    fn above(self, case: &str, flows: &str) -> Option<f64> {
        self.find(case, flows).map(|row| row.ratio - 1.0)
    }
}

/// Nanoseconds on the machine on which goals were chosen, in floors.
const fn floors(nanoseconds: u32) -> f64 {
    const FLOOR: f64 = 24.0;
    nanoseconds as f64 / FLOOR
}

const ONE: &str = "1 flow";
const MILLION: &str = "1 M flows";
const UNSEEN: &str = "never-seen flows";

fn packet(rows: Rows<'_>) -> Vec<Goal> {
    let alone = [
        ("l2, IPv4", ONE, 35),
        ("ipip, IPv4", ONE, 45),
        ("ipip, IPv4", MILLION, 60),
        ("ipip, IPv4", UNSEEN, 60),
        ("not ours, IPv4", ONE, 25),
        ("not ours, IPv6", ONE, 25),
    ];
    let beside = [
        ("l2, IPv6", "l2, IPv4", 10),
        ("ipip, IPv6 in IPv6", "ipip, IPv4", 10),
        ("gue, IPv6 in IPv6", "gue, IPv4", 10),
        ("gue, IPv4", "ipip, IPv4", 20),
        ("ipip, IPv4, 1,000 services loaded", "ipip, IPv4", 5),
    ];
    let alone = alone.into_iter().filter_map(|(case, flows, most)| {
        let what = format!("{case}, {flows}: floors above the floor");
        Some(Goal { what, figure: rows.above(case, flows)?, bound: Bound::AtMost(floors(most)) })
    });
    let beside = beside.into_iter().filter_map(|(case, other, most)| {
        let figure = rows.above(case, ONE)? - rows.above(other, ONE)?;
        let what = format!("{case}: floors above {other}");
        Some(Goal { what, figure, bound: Bound::AtMost(floors(most)) })
    });
    alone.chain(beside).collect()
}

fn wire(rows: Rows<'_>) -> Vec<Goal> {
    let cases = ["l2, IPv4", "ipip, IPv4"].into_iter().flat_map(|case| [(case, MILLION), (case, UNSEEN)]);
    let goal = |(case, flows): (&str, &str)| {
        let what = format!("{case}, {flows}: part of the MAC swap's packets in a second");
        Some(Goal { what, figure: rows.find(case, flows)?.ratio, bound: Bound::AtLeast(0.75) })
    };
    cases.filter_map(goal).collect()
}

/// What the paper's loop takes for a thousand backends, in milliseconds.
const PAPER: [(&str, f64); 2] = [("1000 backends, 65537 slots", 1.8), ("1000 backends, 655373 slots", 22.9)];

fn table(rows: Rows<'_>) -> Vec<Goal> {
    let [(small, of_small), (large, of_large)] = PAPER;
    let goals = [
        (small, "build, equal weights", 1.5 / of_small),
        (small, "refill, 1 in 100 failed", 1.0 / of_small),
        (large, "build, equal weights", 15.0 / of_large),
    ];
    let goal = |(case, name, most): (&str, &str, f64)| {
        let what = format!("{case}: {name}: part of the time of the paper's loop");
        let figure = rows.find(case, name)?.spread.median / rows.find(case, "C loop, modulo")?.spread.median;
        Some(Goal { what, figure, bound: Bound::AtMost(most) })
    };
    goals.into_iter().filter_map(goal).collect()
}

fn reload(rows: Rows<'_>) -> Vec<Goal> {
    let goal = |(name, most): (&str, f64)| {
        let row = rows.0.iter().find(|row| row.name == name)?;
        let what = format!("{}: {name}: milliseconds", row.case);
        Some(Goal { what, figure: row.spread.median, bound: Bound::AtMost(most) })
    };
    [("1 backend", 20.0), ("every backend", 2000.0)].into_iter().filter_map(goal).collect()
}

fn memory(rows: Rows<'_>) -> Vec<Goal> {
    let largest = rows.0.iter().rfind(|row| row.name == "both");
    let goal = |row: &Row| Goal {
        what: format!("{}, daemon and maps: MiB", row.case),
        figure: row.spread.median,
        bound: Bound::AtMost(1536.0),
    };
    largest.map(goal).into_iter().collect()
}

/// Every run.
fn failover(rows: Rows<'_>) -> Vec<Goal> {
    let in_time = rows.0.iter().filter(|row| row.case.starts_with("runs with the last packet within"));
    let goal = |row: &Row| Goal {
        what: format!("{}: part of the runs that were in time", row.name),
        figure: row.ratio,
        bound: Bound::AtLeast(1.0),
    };
    in_time.map(goal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;
    use crate::timing::Spread;

    fn row(case: &str, name: &str, figure: f64, reference: f64) -> Row {
        let [figure, reference] = [figure, reference].map(Spread::exactly);
        Row::new(case, name, Unit::Nanoseconds, figure, reference)
    }

    #[test]
    fn goal_is_met_up_to_its_bound_and_no_further() {
        for (figure, verdict) in [(1.5, "met"), (1.51, "missed")] {
            let goal = Goal { what: "something".to_owned(), figure, bound: Bound::AtMost(1.5) };
            assert!(goal.to_string().ends_with(verdict), "{goal}");
            let goal = Goal { bound: Bound::AtLeast(1.505), ..goal };
            assert!(!goal.to_string().ends_with(verdict), "{goal}");
        }
    }

    #[test]
    fn packets_are_judged_by_the_floor_of_their_run() {
        let judged = |ipip| of("packet", &[row("ipip, IPv4", ONE, ipip, 12.0)]);
        // 45 above 24 are 22.5 above 12.
        let [goal] = judged(34.5).try_into().expect("one row, one goal");
        assert!(goal.bound.holds(goal.figure), "{goal}");
        let [goal] = judged(35.0).try_into().expect("one row, one goal");
        assert!(!goal.bound.holds(goal.figure), "{goal}");
    }

    #[test]
    fn what_a_row_adds_to_another_is_judged_in_floors_too() {
        let rows = [row("gue, IPv4", ONE, 36.0, 12.0), row("ipip, IPv4", ONE, 30.0, 12.0)];
        let goals = of("packet", &rows);
        let gue = goals.iter().find(|goal| goal.what.starts_with("gue")).expect("both rows are there");
        assert!((gue.figure - 0.5).abs() < 1e-9, "{gue}");
    }

    #[test]
    fn only_runs_that_were_all_in_time_meet_the_goal() {
        let case = "runs with the last packet within 550ms";
        let goals = of("failover", &[row(case, "a", 50.0, 50.0), row(case, "b", 49.0, 50.0)]);
        assert_eq!(goals.iter().map(|goal| goal.bound.holds(goal.figure)).collect::<Vec<_>>(), [true, false]);
    }
}
