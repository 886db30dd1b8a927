//! `cargo xtask bench`: builds what is measured, as it is shipped, and runs the measurement.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    build_ebpf, command,
    setup::{self, Needs},
    workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum)]
    part: Part,
    /// Few repetitions: shows that it runs, not how fast
    #[arg(long)]
    quick: bool,
    /// Also write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds per packet within the kernel (as root)
    Packet,
    /// Building, refilling and merging lookup tables
    Table,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything is built, since that takes minutes.
    if args.part == Part::Packet && !setup::is_root() {
        bail!(
            "the kernel measures packets for root alone: \
             run `sudo -E env \"PATH=$PATH\" cargo xtask bench packet`"
        );
    }
    let workspace = Workspace::locate()?;
    let toolchain = setup::ensure(&workspace, Needs::Toolchain)?;
    build_ebpf::build(&workspace, &toolchain)?;
    let mut cargo = workspace.cargo("run");
    cargo.args(["--release", "--quiet", "--package", "lb-bench", "--"]);
    match args.part {
        Part::Packet => cargo.args(["packet", "--feeder"]).arg(workspace.bench_object()),
        Part::Table => cargo.arg("table"),
    };
    cargo.args(args.quick.then_some("--quick"));
    if let Some(json) = &args.json {
        // Relative to where the command was typed, not to where cargo runs.
        cargo.arg("--json").arg(std::path::absolute(json)?);
    }
    command::run(&mut cargo).map(|()| ExitCode::SUCCESS)
}
