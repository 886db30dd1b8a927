//! `cargo xtask bench`: builds what is measured, as it is shipped, and runs the measurements.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    build_sluice, command,
    setup::{self, Needs},
    workspace::{BPF_OBJECT, Workspace},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure; everything, where nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Few repetitions, small sizes: shows that it runs, not how fast. Nothing is kept in `bench/results`
    #[arg(long)]
    quick: bool,
    /// Also write all results to this file, as a list in JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// `wire`: also measure the XDP balancer in this object, whatever it is
    #[arg(long, value_name = "FILE", requires = "section")]
    object: Option<PathBuf>,
    /// Section of its program, or the program's name where the section has several
    #[arg(long, value_name = "NAME", requires = "object")]
    section: Option<String>,
    /// Directory in a BPF file system where its maps are pinned, filled, under their names
    #[arg(long, value_name = "DIRECTORY", requires = "object")]
    pins: Option<PathBuf>,
    /// The VIP that its maps serve, at port 80
    #[arg(long, value_name = "ADDRESS", requires = "object")]
    vip: Option<std::net::IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Building, refilling, merging and publishing lookup tables
    Table,
    /// Nanoseconds per packet within the kernel (as root)
    Packet,
    /// Instructions, helper calls and cache lines of a settled packet (as root)
    Path,
    /// Packets, connections and bytes per second over a wire, beside other balancers (as root)
    Wire,
    /// From a changed file to the data plane, with a thousand services (as root)
    Reload,
    /// From a backend's end to the last packet that is sent to it (as root)
    Failover,
    /// Bytes of entries, and of a daemon with up to ten thousand services (as root)
    Memory,
    /// Five thousand backends probed by one daemon: its processor time, and whether probes are in time (as root)
    Probes,
    /// Draw the plots of what is kept in `bench/results`
    Plot,
}

impl Part {
    /// Whether anybody may measure it.
    const fn is_for_all(self) -> bool {
        matches!(self, Self::Table | Self::Plot)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything is built, since that takes minutes.
    let for_all = !args.parts.is_empty() && args.parts.iter().all(|part| part.is_for_all());
    if !for_all && !setup::is_root() {
        bail!(
            "the kernel measures for root alone: run `sudo -E env \"PATH=$PATH\" cargo xtask bench`, or the part \
             `table`"
        );
    }
    let workspace = Workspace::locate()?;
    let needs = if for_all { Needs::Toolchain } else { Needs::Everything };
    let binary = build_sluice::build(&workspace, needs)?;
    let mut cargo = workspace.cargo("run");
    cargo
        .args(["--release", "--quiet", "--package", "lb-bench", "--", "--feeder"])
        .arg(workspace.bench_object());
    cargo.env("SLUICE_BIN", binary).env(BPF_OBJECT, workspace.object());
    cargo.args(
        args.parts.iter().filter_map(ValueEnum::to_possible_value).map(|part| part.get_name().to_owned()),
    );
    cargo.args(args.quick.then_some("--quick"));
    // Relative to where the command was typed, not to where cargo runs.
    for (option, path) in [("--json", &args.json), ("--object", &args.object), ("--pins", &args.pins)] {
        if let Some(path) = path {
            cargo.arg(option).arg(std::path::absolute(path)?);
        }
    }
    if let Some(section) = &args.section {
        cargo.arg("--section").arg(section);
    }
    if let Some(vip) = args.vip {
        cargo.arg("--vip").arg(vip.to_string());
    }
    command::run(&mut cargo).map(|()| ExitCode::SUCCESS)
}
