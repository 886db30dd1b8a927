//! What a run found: a row for each event, as a table for the reader and as JSON for comparisons.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Instant,
};

use serde::Serialize;

use super::board::Tally;

/// The whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What all choices were drawn from.
    pub seed: u64,
    /// How many connections were held at a time.
    pub connections: usize,
    /// One for each event, in order.
    pub rows: Vec<Row>,
    /// Events that did not happen, and why.
    pub left_out: Vec<(String, String)>,
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What happened, in a few words.
    pub what: String,
    /// Whether a broken connection is a fault. It is not where the row shows what something costs that is left away.
    pub judged: bool,
    /// Connections that were established when it began.
    pub alive: usize,
    /// What became of connections until it was over and every active one had made a round trip.
    #[serde(flatten)]
    pub tally: Tally,
    /// Packets that balancers dropped or reset meanwhile, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The flood's packets meanwhile, where there is a flood.
    pub flood: Option<Flooded>,
    /// How long it took.
    pub seconds: f64,
    /// Why the event could not be carried through.
    pub error: Option<String>,
}

/// Packets of a flood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flooded {
    /// That were sent to the balancer.
    pub sent: u64,
    /// That its program saw; the rest did not fit into a queue on the way.
    pub seen: u64,
}

/// Counters at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    /// The balancer's packets by reason.
    pub(super) reasons: BTreeMap<String, u64>,
    /// Frames that the flood has made, where there is one.
    pub(super) sent: Option<u64>,
}

/// Reasons of packets that went where they were to go.
const WELL: [&str; 5] = ["not_ip", "not_ours", "other_protocol", "transmitted", "redirected"];

/// What becomes of a flood's packets: clients' leave by the interface that they came by, and are not redirected.
const OF_FLOOD: [&str; 3] = ["redirected", "not_remembered", "no_backend"];

impl Counted {
    /// Packets with a reason that came since `before`. A daemon that could not go on with the former one's maps
    /// counts from zero.
    fn since(&self, before: &Self, reason: &str) -> u64 {
        let packets = |counted: &Self| counted.reasons.get(reason).copied().unwrap_or(0);
        packets(self).checked_sub(packets(before)).unwrap_or(packets(self))
    }

    fn dropped_since(&self, before: &Self) -> BTreeMap<String, u64> {
        let bad = self.reasons.keys().filter(|reason| !WELL.contains(&reason.as_str()));
        let counted = bad.map(|reason| (reason.clone(), self.since(before, reason)));
        counted.filter(|(_, packets)| *packets > 0).collect()
    }

    fn flooded_since(&self, before: &Self) -> Option<Flooded> {
        let seen = OF_FLOOD.iter().map(|reason| self.since(before, reason)).sum();
        Some(Flooded { sent: self.sent? - before.sent?, seen })
    }
}

/// An event that is happening.
pub(super) struct Happening {
    row: Row,
    start: Instant,
}

impl Happening {
    pub(super) fn begin(name: &str, what: &str, alive: usize) -> Self {
        let row = Row {
            name: name.to_owned(),
            what: what.to_owned(),
            judged: true,
            alive,
            tally: Tally::default(),
            dropped: BTreeMap::new(),
            flood: None,
            seconds: 0.0,
            error: None,
        };
        Self { row, start: Instant::now() }
    }

    pub(super) fn end(self, outcome: anyhow::Result<()>, tally: Tally) -> Row {
        let error = outcome.err().map(|error| format!("{error:#}"));
        Row { tally, error, seconds: self.start.elapsed().as_secs_f64(), ..self.row }
    }
}

impl Row {
    /// Adds what was counted between two moments.
    pub(super) fn counting(mut self, before: &Counted, after: &Counted) -> Self {
        self.dropped = after.dropped_since(before);
        self.flood = after.flooded_since(before);
        self
    }

    /// Whether nothing broke that could have lived.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.error.is_none() && (!self.judged || self.tally.broken.total() == 0)
    }
}

impl Report {
    /// Whether nothing broke that could have lived.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::is_good)
    }

    /// The event `name`.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

/// Heading of the table that rows display as lines of.
pub const HEADING: &str = "event                     alive  opened  closed refused  answers slowest | broken   reset timeout \
                           backend    data     eof |  died | flood sent      seen |     s";

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { opened, refused, closed, answers, slowest, broken, died, .. } = &self.tally;
        write!(f, "{:<24}{:>7} {opened:>7} {closed:>7} {refused:>7} ", self.name, self.alive)?;
        write!(f, "{answers:>8} {slowest:>7.2} | ")?;
        let mark = if self.judged { "" } else { "(" };
        write!(f, "{:>6} ", format!("{mark}{}", broken.total()))?;
        write!(f, "{:>7} {:>7} {:>7} ", broken.reset, broken.timeout, broken.wrong_backend)?;
        write!(f, "{:>7} {:>7} | {died:>5} | ", broken.wrong_data, broken.eof)?;
        match self.flood {
            Some(Flooded { sent, seen }) => write!(f, "{sent:>10} {seen:>9} |")?,
            None => write!(f, "{:>10} {:>9} |", "-", "-")?,
        }
        write!(f, "{:>6.1}", self.seconds)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for row in &self.rows {
            row.tally.examples.iter().try_for_each(|example| writeln!(f, "{}: {example}", row.name))?;
            row.tally.slow_examples.iter().try_for_each(|slow| writeln!(f, "{}: {slow}", row.name))?;
            if !row.dropped.is_empty() {
                writeln!(f, "{}: dropped by balancers: {:?}", row.name, row.dropped)?;
            }
            row.error.iter().try_for_each(|error| writeln!(f, "{} failed: {error}", row.name))?;
        }
        self.left_out.iter().try_for_each(|(name, why)| writeln!(f, "left out: {name} ({why})"))?;
        let broken: u64 = self.rows.iter().filter(|row| row.judged).map(|row| row.tally.broken.total()).sum();
        let events = self.rows.len();
        write!(
            f,
            "{broken} connections broken that could have lived, in {events} events (seed {})",
            self.seed
        )
    }
}
