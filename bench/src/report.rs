//! What a part found: rows for the reader, the same rows as JSON for plots and comparisons.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::machine::Machine;
use crate::timing::Times;

/// The result of one part.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) part: &'static str,
    /// What the rows are compared with.
    pub(crate) reference: &'static str,
    pub(crate) machine: Machine,
    /// In which the rows are printed; in JSON they are nanoseconds.
    pub(crate) unit: Unit,
    pub(crate) rows: Vec<Row>,
}

/// A unit of time.
#[derive(Clone, Copy, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "µs")]
    Microseconds,
}

/// One measured thing.
#[derive(Serialize)]
pub(crate) struct Row {
    /// The setting, the same for all rows that stand together.
    case: String,
    name: String,
    min_ns: f64,
    median_ns: f64,
    max_ns: f64,
    /// By what the median exceeds the reference's median in the same run.
    above_ns: f64,
    /// The median's multiple of the same.
    ratio: f64,
}

impl Row {
    pub(crate) fn new(case: &str, name: &str, times: Times, reference: Times) -> Self {
        Self {
            case: case.to_owned(),
            name: name.to_owned(),
            min_ns: times.min,
            median_ns: times.median,
            max_ns: times.max,
            above_ns: times.median - reference.median,
            ratio: times.median / reference.median,
        }
    }
}

impl Report {
    /// Writes the report to `path`, over whatever was there.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self).context("turning the report into JSON")?;
        fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

impl Unit {
    const fn of_ns(self, ns: f64) -> f64 {
        match self {
            Self::Nanoseconds => ns,
            Self::Microseconds => ns / 1e3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: times in {}, compared with {}", self.part, self.unit.name(), self.reference)?;
        writeln!(f, "{}", self.machine)?;
        let mut case = "";
        for row in &self.rows {
            if row.case != case {
                case = &row.case;
                writeln!(
                    f,
                    "\n{case:<40}{:>10}{:>10}{:>10}{:>10}{:>8}",
                    "min", "median", "max", "above", "ratio"
                )?;
            }
            let [min, median, max, above] =
                [row.min_ns, row.median_ns, row.max_ns, row.above_ns].map(|ns| self.unit.of_ns(ns));
            let (name, ratio) = (&row.name, row.ratio);
            writeln!(f, "  {name:<38}{min:>10.1}{median:>10.1}{max:>10.1}{above:>10.1}{ratio:>8.2}")?;
        }
        Ok(())
    }
}
