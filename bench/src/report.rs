//! What a part found: rows for the reader, the same rows as JSON for plots and comparisons.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::goals::{self, Goal};
use crate::machine::Machine;
use crate::timing::Spread;

/// The result of one part.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) part: String,
    /// What the rows are compared with.
    pub(crate) reference: String,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// What the rows do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// What some of the rows are to come to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) goals: Vec<Goal>,
}

/// What a row's figures are, in the table as in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "µs")]
    Microseconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "Mpps")]
    MegapacketsPerSecond,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "Gbit/s")]
    GigabitsPerSecond,
    #[serde(rename = "bytes")]
    Bytes,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "%")]
    PerCent,
    #[serde(rename = "count")]
    Count,
}

/// One measured thing.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The setting, the same for all rows that stand together. They have one unit.
    pub(crate) case: String,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    #[serde(flatten)]
    pub(crate) spread: Spread,
    /// By what the median exceeds the reference's median in the same run.
    pub(crate) above: f64,
    /// The median's multiple of the same.
    pub(crate) ratio: f64,
    /// Every figure, where the distribution is of interest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<f64>,
}

impl Row {
    pub(crate) fn new(case: &str, name: &str, unit: Unit, spread: Spread, reference: Spread) -> Self {
        Self {
            case: case.to_owned(),
            name: name.to_owned(),
            unit,
            spread,
            above: spread.median - reference.median,
            ratio: spread.median / reference.median,
            samples: Vec::new(),
        }
    }

    /// The same with every figure behind it.
    pub(crate) fn with_samples(self, samples: Vec<f64>) -> Self {
        Self { samples, ..self }
    }
}

impl Report {
    pub(crate) fn new(part: &str, reference: &str, rows: Vec<Row>) -> Self {
        let (part, reference) = (part.to_owned(), reference.to_owned());
        let goals = goals::of(&part, &rows);
        Self { part, reference, machine: Machine::this(), rows, notes: Vec::new(), goals }
    }

    /// Writes the report to `PART.json` in `directory`, over whatever was there.
    pub(crate) fn keep(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        write_json(self, &directory.join(format!("{}.json", self.part)))
    }

    /// The report of `part` in `directory`, if one is there.
    pub(crate) fn kept(directory: &Path, part: &str) -> anyhow::Result<Option<Self>> {
        let path = directory.join(format!("{part}.json"));
        if !path.exists() {
            return Ok(None);
        }
        let json = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let report = serde_json::from_str(&json);
        report.map(Some).with_context(|| format!("{} is no report of this version", path.display()))
    }
}

/// Writes `value` to `path`, over whatever was there.
pub(crate) fn write_json(value: &impl Serialize, path: &Path) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(value).context("cannot turn the report into JSON")?;
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}

impl Unit {
    /// As a reader knows it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::MegapacketsPerSecond => "million packets/s",
            Self::PerSecond => "per second",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::Bytes => "bytes",
            Self::Mebibytes => "MiB",
            Self::PerCent => "%",
            Self::Count => "count",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: compared with {}", self.part, self.reference)?;
        writeln!(f, "{}", self.machine)?;
        let mut case = "";
        for row in &self.rows {
            if row.case != case {
                case = &row.case;
                let heading = format!("{case} ({})", row.unit.name());
                writeln!(
                    f,
                    "\n{heading:<46}{:>10}{:>10}{:>10}{:>10}{:>8}",
                    "min", "median", "max", "above", "ratio"
                )?;
            }
            writeln!(f, "{row}")?;
        }
        if !self.goals.is_empty() {
            writeln!(f, "\ngoals")?;
        }
        self.goals.iter().try_for_each(|goal| writeln!(f, "{goal}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "\nnote: {note}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, spread: Spread { min, median, max }, above, ratio, .. } = self;
        let digits = if self.unit == Unit::MegapacketsPerSecond { 3 } else { 1 };
        write!(f, "  {name:<44}{min:>10.digits$}{median:>10.digits$}{max:>10.digits$}")?;
        write!(f, "{above:>10.digits$}{ratio:>8.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::spread;

    fn report() -> Report {
        let (row, floor) = (spread(vec![30.0, 10.0, 20.0]), spread(vec![8.0]));
        let row = Row::new("a case", "a row", Unit::Milliseconds, row, floor).with_samples(vec![10.0]);
        Report { notes: vec!["of interest".to_owned()], ..Report::new("failover", "the floor", vec![row]) }
    }

    #[test]
    fn report_shows_spread_and_ratio() {
        let text = report().to_string();
        let line = text.lines().find(|line| line.contains("a row")).unwrap();
        let figures: Vec<_> = line.split_whitespace().skip(2).collect();
        assert_eq!(figures, ["10.0", "20.0", "30.0", "12.0", "2.50"]);
        assert!(text.contains("a case (ms)") && text.contains("note: of interest"), "{text}");
    }

    #[test]
    fn kept_report_is_read_back() {
        let directory = lb_tests::temporary::directory("report").unwrap();
        assert!(Report::kept(directory.path(), "failover").unwrap().is_none());
        report().keep(directory.path()).unwrap();
        let kept = Report::kept(directory.path(), "failover").unwrap().unwrap();
        assert_eq!(kept.to_string(), report().to_string());
        assert_eq!(kept.rows[0].samples, [10.0]);
    }
}
