//! `lb-bench`: measures what Sluice costs, one part per file. Figures decide nothing here: the exit status only says
//! whether the measurement could be made.

mod c_loop;
mod crowd;
mod failover;
mod generator;
mod goals;
mod interface;
mod machine;
mod memory;
mod packet;
mod path;
mod plot;
mod probes;
mod reload;
mod report;
mod server;
mod table;
mod timing;
mod wire;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use lb_tests::interrupt;
use report::{Report, write_json};

/// Measures what Sluice costs.
#[derive(Parser)]
#[command(version)]
struct Settings {
    /// What to measure; all, where nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Few repetitions, small sizes: shows that it runs, not how fast. Nothing is kept.
    #[arg(long)]
    quick: bool,
    /// Also write all results to this file, as a list in JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where each part's result is kept, as JSON.
    #[arg(long, value_name = "DIRECTORY", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
    /// The object whose programs measure others.
    #[arg(long, value_name = "FILE", default_value = "target/bpf/bench.o")]
    feeder: PathBuf,
    #[command(flatten)]
    other: wire::Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Building, refilling and merging lookup tables, beside a plain Maglev loop in C.
    Table,
    /// Nanoseconds per packet within the kernel (as root).
    Packet,
    /// Instructions, helper calls and cache lines of a settled packet (as root).
    Path,
    /// Packets, connections and bytes per second over a wire, beside other balancers (as root).
    Wire,
    /// From a changed file to the data plane, with a thousand services (as root).
    Reload,
    /// From a backend's end to the last packet that is sent to it (as root).
    Failover,
    /// Bytes of entries, and of a daemon with up to ten thousand services (as root).
    Memory,
    /// Five thousand backends probed by one daemon: its processor time, and whether probes are in time (as root).
    Probes,
    /// The plots of all results that are kept.
    Plot,
}

impl Part {
    /// As it is typed, and as its result is called.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Settings {
    fn parts(&self) -> &[Part] {
        if self.parts.is_empty() { Part::value_variants() } else { &self.parts }
    }

    /// Measures a part; the plots are no measurement.
    fn measure(&self, part: Part) -> anyhow::Result<Option<Report>> {
        let report = match part {
            Part::Table => table::measure(self.quick),
            Part::Packet => packet::measure(self),
            Part::Path => path::measure(self),
            Part::Wire => wire::measure(self),
            Part::Reload => reload::measure(self),
            Part::Failover => failover::measure(self),
            Part::Memory => memory::measure(self),
            Part::Probes => probes::measure(self),
            Part::Plot => {
                let parts: Vec<_> = Part::value_variants().iter().map(|part| part.name()).collect();
                return plot::draw_all(&self.results, &parts).map(|()| None);
            }
        };
        report.map(Some).with_context(|| format!("cannot measure {}", part.name()))
    }

    /// The object whose programs measure others.
    fn bench_object(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(&self.feeder)
            .with_context(|| format!("cannot read {}; `cargo xtask bench` makes it", self.feeder.display()))
    }
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    if cfg!(debug_assertions) {
        eprintln!("warning: built without optimisation, these times mean nothing; use `cargo run --release`");
    }
    interrupt::watch().context("cannot watch for Ctrl-C")?;
    let mut reports = Vec::new();
    for &part in settings.parts() {
        eprintln!("==> {}", part.name());
        let Some(report) = settings.measure(part)? else { continue };
        println!("{report}");
        if !settings.quick {
            report.keep(&settings.results)?;
        }
        reports.push(report);
    }
    settings.json.map_or(Ok(()), |path| write_json(&reports, &path))
}
