//! `cargo xtask fuzz`: builds the fuzzers and the program that they search, and runs them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{
    build_ebpf, command,
    setup::{self, Needs},
    workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to search; everything where nothing is named
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// How long to search each target; 60 where neither this nor `--runs` is given
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// How many inputs to try of each target
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// What all choices are drawn from; a run without it says what it took
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Add to the corpus what ends as nothing in it does
    #[arg(long)]
    keep: bool,
    /// Run this input again instead
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Bytes for the loaded program
    Packets,
    /// Text for the configuration
    Toml,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything is built, since that takes minutes.
    if !setup::is_root() && args.targets != [Target::Toml] {
        bail!("the kernel runs programs for root alone: run `sudo -E env \"PATH=$PATH\" cargo xtask fuzz`");
    }
    let workspace = Workspace::locate()?;
    let toolchain = setup::ensure(&workspace, Needs::Toolchain)?;
    build_ebpf::build(&workspace, &toolchain)?;
    let mut cargo = workspace.cargo("run");
    cargo.args(["--release", "--quiet", "--package", "lb-fuzz", "--"]);
    cargo.arg("--failures").arg(workspace.target.join("fuzz"));
    for target in &args.targets {
        cargo.arg(target.to_possible_value().context("every target has a name")?.get_name());
    }
    let numbers = [("--seconds", args.seconds), ("--runs", args.runs), ("--seed", args.seed)];
    for (name, value) in numbers {
        cargo.args(value.map(|value| format!("{name}={value}")));
    }
    cargo.args(args.keep.then_some("--keep"));
    if let Some(replay) = &args.replay {
        // Relative to where the command was typed, not to where cargo runs.
        cargo.arg("--replay").arg(std::path::absolute(replay)?);
    }
    // The fuzzer has told what failed; that it has failed is its exit status.
    println!("$ {}", command::shown(&cargo));
    let status = cargo.status().context("cannot run the fuzzers")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
