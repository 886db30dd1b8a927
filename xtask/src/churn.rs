//! `cargo xtask churn`: thousands of real connections through everything that an operator does, and what became of
//! them. The exit status is 0 only if no connection broke that could have lived.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_tests::{
    churn::{self, Flood, HEADING, Options, Report},
    interrupt,
};

use crate::{
    build_sluice,
    setup::{self, Needs},
    workspace::Workspace,
};

/// Frames that one system call of the flood makes.
const BURST: u32 = 1 << 17;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connections to hold at a time
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..=500_000))]
    connections: u32,
    /// Send SYNs from spoofed sources meanwhile, as fast as one CPU makes them
    #[arg(long)]
    flood: bool,
    /// Microseconds that the flood rests after each burst of frames
    #[arg(long, value_name = "µs", default_value_t = 0, requires = "flood")]
    flood_pause: u64,
    /// What all choices are drawn from; a run without it says what it took
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Also write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these events, by the names that the table has for them
    #[arg(long, value_name = "EVENT", value_delimiter = ',')]
    only: Vec<String>,
    /// Another build of `sluice` to upgrade to; without it, one without optimisation is made
    #[arg(long, value_name = "PATH")]
    upgrade_to: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything is built, since that takes minutes.
    if !setup::is_root() {
        bail!(
            "XDP programs and network namespaces need root: run `sudo -E env \"PATH=$PATH\" cargo xtask churn`"
        );
    }
    let workspace = Workspace::locate()?;
    let binary = build_sluice::build(&workspace, Needs::Everything)?;
    let other_binary = match &args.upgrade_to {
        Some(path) => std::path::absolute(path)?,
        None => build_sluice::build_other(&workspace)?,
    };
    interrupt::watch().context("cannot watch for Ctrl-C")?;
    let options = options(args, &workspace, binary, other_binary);
    println!("\n{} connections, seed {}\n{HEADING}", options.connections, options.seed);
    let report = match churn::run(&options, |row| println!("{row}")) {
        Err(_) if interrupt::requested() => {
            println!("Interrupted; everything is removed.");
            return Ok(ExitCode::from(130));
        }
        report => report?,
    };
    println!("\n{report}");
    if let Some(path) = &args.json {
        write_json(&report, path)?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(args: &Args, workspace: &Workspace, binary: PathBuf, other_binary: PathBuf) -> Options {
    let flood = args.flood.then(|| Flood {
        object: workspace.flood_object(),
        burst: BURST,
        pause: Duration::from_micros(args.flood_pause),
    });
    Options {
        binary,
        other_binary: Some(other_binary),
        object: workspace.object(),
        connections: args.connections as usize,
        seed: args.seed.unwrap_or_else(seed),
        pause: Duration::from_secs(1),
        edits: 50,
        random_steps: 40,
        only: args.only.clone(),
        flood,
        ..Options::default()
    }
}

/// One that differs from run to run.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}

fn write_json(report: &Report, path: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("cannot turn the report into JSON")?;
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}
