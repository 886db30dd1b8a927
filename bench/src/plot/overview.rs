//! The few rows that one picture can hold: what a reader wants to know first, of several parts.

use crate::report::{Report, Row};

/// Where a row of the overview comes from, and what it is called there.
struct Pick {
    part: &'static str,
    case: &'static str,
    name: &'static str,
    label: &'static str,
}

const fn pick(part: &'static str, case: &'static str, name: &'static str, label: &'static str) -> Pick {
    Pick { part, case, name, label }
}

const MILLION: &str = "1 M flows";
const ONE: &str = "1 flow";
const TABLE: &str = "1000 backends, 65537 slots";

/// Headings, each with its rows.
const PANELS: [(&str, &[Pick]); 3] = [
    (
        "Through one core, over a wire, a million flows",
        &[
            pick("wire", "floor: MAC swap", ONE, "floor: MAC swap, XDP_TX"),
            pick("wire", "l2, IPv4", MILLION, "Sluice, l2"),
            pick("wire", "ipip, IPv4", MILLION, "Sluice, ipip"),
            pick("wire", "gue, IPv4", MILLION, "Sluice, gue"),
            pick("wire", "ipip, IPv4", "never-seen flows", "Sluice, ipip, a flood of new flows"),
            pick("wire", "kernel forwarding", MILLION, "kernel forwarding"),
            pick("wire", "nftables, DNAT by a hash", "64 k flows", "nftables, DNAT, 64 k flows"),
        ],
    ),
    (
        "A packet within the kernel, a million flows",
        &[
            pick("packet", "floor: MAC swap", ONE, "floor: MAC swap, XDP_TX"),
            pick("packet", "not ours, IPv4", MILLION, "not for a service"),
            pick("packet", "l2, IPv4", MILLION, "l2"),
            pick("packet", "l2, IPv6", MILLION, "l2, IPv6"),
            pick("packet", "ipip, IPv4", MILLION, "ipip"),
            pick("packet", "ipip, IPv6 in IPv6", MILLION, "ipip, IPv6 in IPv6"),
            pick("packet", "gue, IPv4", MILLION, "gue"),
        ],
    ),
    (
        "A table of 65,537 slots for 1,000 backends",
        &[
            pick("table", TABLE, "C loop, additions", "C loop, additions"),
            pick("table", TABLE, "build, equal weights", "Sluice, all of it"),
            pick("table", TABLE, "refill, 1 in 100 failed", "Sluice, after failures"),
        ],
    ),
];

/// The overview of reports, with what is there. Nothing, if none of it is.
pub(super) fn of(reports: &[Report]) -> Option<Report> {
    let rows: Vec<_> = PANELS
        .iter()
        .flat_map(|&(heading, picks)| picks.iter().filter_map(move |pick| pick.row(reports, heading)))
        .collect();
    let machine = reports.first()?.machine.clone();
    (!rows.is_empty()).then(|| Report { machine, ..Report::new("overview", "", rows) })
}

impl Pick {
    fn row(&self, reports: &[Report], heading: &str) -> Option<Row> {
        let report = reports.iter().find(|report| report.part == self.part)?;
        let row = report.rows.iter().find(|row| row.case == self.case && row.name == self.name)?;
        Some(Row {
            case: heading.to_owned(),
            name: self.label.to_owned(),
            samples: Vec::new(),
            ..row.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;
    use crate::timing::Spread;

    #[test]
    fn overview_has_the_rows_that_are_there_under_its_own_names() {
        let row = |case, name| {
            Row::new(case, name, Unit::Nanoseconds, Spread::exactly(30.0), Spread::exactly(10.0))
        };
        let packet = Report::new("packet", "", vec![row("gue, IPv4", MILLION), row("gue, IPv4", ONE)]);
        let overview = of(&[packet]).expect("a row of it is there");
        let names: Vec<_> = overview.rows.iter().map(|row| (&*row.case, &*row.name)).collect();
        assert_eq!(names, [("A packet within the kernel, a million flows", "gue")]);
        assert!(of(&[Report::new("packet", "", Vec::new())]).is_none());
    }
}
