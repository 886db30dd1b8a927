//! `lb-fuzz`: searches for inputs that break something, or runs one again. The exit status is 0 only if nothing broke.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use lb_fuzz::{Options, packets, replay, toml};

/// Searches for inputs that break something.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What to search; everything where nothing is named.
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// How long to search each target; 60 where neither this nor `--runs` is given.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// How many inputs to try of each target.
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// What all choices are drawn from; a run without it says what it took.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many search at a time; as many as there are CPUs where nothing is said.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Add to the corpus what ends as nothing in it does.
    #[arg(long)]
    keep: bool,
    /// Run this input again instead.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Where inputs that fail are written to.
    #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
    failures: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Bytes for the loaded program.
    Packets,
    /// Text for the configuration.
    Toml,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(path) = &cli.replay {
        return Ok(match replay(path)? {
            Some(what) => failed(&what),
            None => passed(),
        });
    }
    let options = options(&cli);
    println!("seed {}, {} threads", options.seed, options.threads);
    let targets = if cli.targets.is_empty() { Target::value_variants() } else { &cli.targets };
    let mut failures = 0;
    for target in targets {
        let report = match target {
            Target::Packets => packets::fuzz(&options)?,
            Target::Toml => toml::fuzz(&options)?,
        };
        println!("{report}");
        failures += report.failures.len();
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn failed(what: &str) -> ExitCode {
    println!("FAILED: {what}");
    ExitCode::FAILURE
}

fn passed() -> ExitCode {
    println!("nothing is wrong with what becomes of it");
    ExitCode::SUCCESS
}

fn options(cli: &Cli) -> Options {
    let unlimited = if cli.runs.is_some() { u64::from(u32::MAX) } else { 60 };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Options {
        time: Duration::from_secs(cli.seconds.unwrap_or(unlimited)),
        runs: cli.runs.unwrap_or(u64::MAX),
        seed: cli.seed.unwrap_or_else(|| u64::from(since_epoch.subsec_nanos())),
        threads: cli.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        corpus: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus"),
        failures: cli.failures.clone(),
        keep: cli.keep,
    }
}
