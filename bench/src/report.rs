//! What a part found: rows for the reader, the same rows as JSON for plots and comparisons.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::timing::Times;

/// The result of one part.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) part: &'static str,
    /// What the rows' ratio is a ratio to.
    pub(crate) reference: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// One measured thing.
#[derive(Serialize)]
pub(crate) struct Row {
    /// The setting, the same for all rows that are compared.
    case: String,
    name: &'static str,
    min_ns: u64,
    median_ns: u64,
    max_ns: u64,
    /// The median's multiple of the reference's median in the same case and run.
    ratio: f64,
}

impl Row {
    pub(crate) fn new(case: &str, name: &'static str, times: Times, reference: Duration) -> Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let ratio = times.median.as_secs_f64() / reference.as_secs_f64();
        let (min_ns, median_ns, max_ns) = (ns(times.min), ns(times.median), ns(times.max));
        Self { case: case.to_owned(), name, min_ns, median_ns, max_ns, ratio }
    }
}

impl Report {
    /// Writes the report to `path`, over whatever was there.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self).context("turning the report into JSON")?;
        fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: times in µs, ratio of the medians to {}", self.part, self.reference)?;
        let mut case = "";
        for row in &self.rows {
            if row.case != case {
                case = &row.case;
                writeln!(f, "\n{case:<40}{:>10}{:>10}{:>10}{:>8}", "min", "median", "max", "ratio")?;
            }
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        let (min, median, max) = (micros(self.min_ns), micros(self.median_ns), micros(self.max_ns));
        write!(f, "  {:<38}{min:>10.1}{median:>10.1}{max:>10.1}{:>8.2}", self.name, self.ratio)
    }
}
