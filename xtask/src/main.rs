//! `cargo xtask`: everything that plain `cargo` cannot do for this workspace, one module per subcommand.
//!
//! The eBPF programs need a second compiler and a linker of their own. Every subcommand that needs them finds or
//! installs them first, so `cargo xtask run` is a complete command on a fresh machine.

#![forbid(unsafe_code)]

mod bench;
mod build_ebpf;
mod build_sluice;
mod churn;
mod ci;
mod command;
mod fuzz;
mod run;
mod sandbox;
mod setup;
mod test;
mod workspace;

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{setup::Needs, workspace::Workspace};

/// Build, run and test Sluice.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    subcommand: Xtask,
}

#[derive(Subcommand)]
enum Xtask {
    /// Find or install what the build and the tests need, and say what is where
    Setup,
    /// Compile the XDP programs to `target/bpf/sluice.o`
    BuildEbpf(build_ebpf::Args),
    /// Compile `target/release/sluice`, with the XDP programs inside
    Build,
    /// Show the balancer at work in a sandbox, or run it on this host
    Run(run::Args),
    /// Run the test suites (as root)
    Test(test::Args),
    /// Hold thousands of connections through whatever an operator does, and tell which broke (as root)
    Churn(churn::Args),
    /// Measure what Sluice costs
    Bench(bench::Args),
    /// Search for packets and configurations that break something
    Fuzz(fuzz::Args),
    /// Check formatting, lints and documentation, then run every suite
    Ci,
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(without_separator(env::args_os()));
    run_subcommand(cli.subcommand).unwrap_or_else(|error| {
        // Without a backtrace, also where `RUST_BACKTRACE` is set: these errors are addressed to whoever typed the
        // command.
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_subcommand(subcommand: Xtask) -> Result<ExitCode> {
    match subcommand {
        Xtask::Setup => setup::run(&Workspace::locate()?).map(|()| ExitCode::SUCCESS),
        Xtask::BuildEbpf(args) => build_ebpf(&args).map(|()| ExitCode::SUCCESS),
        Xtask::Build => build().map(|()| ExitCode::SUCCESS),
        Xtask::Run(args) => run::run(args),
        Xtask::Test(args) => test::run(&args),
        Xtask::Churn(args) => churn::run(&args),
        Xtask::Bench(args) => bench::run(&args),
        Xtask::Fuzz(args) => fuzz::run(&args),
        Xtask::Ci => ci::run(),
    }
}

fn build_ebpf(args: &build_ebpf::Args) -> Result<()> {
    let workspace = Workspace::locate()?;
    let toolchain = setup::ensure(&workspace, Needs::Toolchain)?;
    let build = if args.debug_log { build_ebpf::build_for_debugging } else { build_ebpf::build };
    let object = build(&workspace, &toolchain)?;
    println!("{}", object.display());
    Ok(())
}

fn build() -> Result<()> {
    let binary = build_sluice::build(&Workspace::locate()?, Needs::Toolchain)?;
    println!("{}", binary.display());
    Ok(())
}

/// Drops a `--` right after the subcommand: people write `cargo xtask run -- --once` as they would for `cargo run`.
fn without_separator(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_separator = |index: usize, arg: &OsString| index == 2 && arg == "--";
    args.enumerate().filter(|(index, arg)| !is_separator(*index, arg)).map(|(_, arg)| arg).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(args: &[&str]) -> Vec<OsString> {
        without_separator(args.iter().map(OsString::from))
    }

    #[test]
    fn a_separator_after_the_subcommand_is_dropped() {
        assert_eq!(stripped(&["xtask", "run", "--", "--once"]), ["xtask", "run", "--once"]);
    }

    #[test]
    fn a_separator_elsewhere_stays() {
        assert_eq!(stripped(&["xtask", "test", "host", "--"]), ["xtask", "test", "host", "--"]);
    }
}
