//! `cargo xtask test`: builds what the suites need, and runs them in order.
//!
//! A suite that fails does not stop the next. The last line printed is always the sum, for whoever reads only that.

mod report;
mod tally;

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{
    build_ebpf, build_sluice, command,
    setup::{self, Needs},
    test::{
        report::{Outcome, Report, Skips},
        tally::Tally,
    },
    workspace::{self, Workspace},
};

/// Names the daemon under test for the suites.
const SLUICE_BINARY: &str = "SLUICE_BIN";

/// Names another build of it, to upgrade to.
const OTHER_BINARY: &str = "SLUICE_OTHER_BIN";

/// Names the file in which the suites note what they skip and why.
const SKIPS_FILE: &str = "SLUICE_SKIPS";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The suites to run; all of them where none is named
    #[arg(value_enum)]
    names: Vec<Suite>,
    /// Count a skipped test as failed, unless the kernel lacks what it needs (the default where `CI` is set)
    #[arg(long)]
    no_skip: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Everything that needs no root and no kernel
    Host,
    /// The XDP programs, packet by packet, by `BPF_PROG_TEST_RUN`
    Program,
    /// The table of packets: bytes in, reason and bytes out; and properties that hold for any packet
    Packets,
    /// A short search for packets and configurations that break something
    Fuzz,
    /// Real clients, balancer and servers in network namespaces
    Netns,
    /// The command line: what it prints and what it refuses
    Cli,
    /// What an operator sees and touches: the API, the dashboards, metrics, plans, traces, captures
    Operator,
    /// Real servers that fail in every way that a probe can see, and come back
    Health,
    /// Clients of many kinds through every way of forwarding, over routers
    Clients,
    /// Connections that are held through whatever an operator does
    Churn,
}

/// The daemons that suites run.
struct Builds {
    sluice: PathBuf,
    /// Where a suite upgrades to it.
    other: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let suites = if args.names.is_empty() { Suite::value_variants() } else { &args.names };
    let skips =
        if args.no_skip || workspace::in_ci() { Skips::OnlyForTheKernel } else { Skips::ForAnyReason };
    let report = run_suites(&Workspace::locate()?, suites, skips)?;
    println!("\n{report}");
    Ok(report.exit_code())
}

/// Every suite, with the rules of a place where nobody watches.
pub(crate) fn run_all(workspace: &Workspace) -> Result<Report> {
    run_suites(workspace, Suite::value_variants(), Skips::OnlyForTheKernel)
}

fn run_suites(workspace: &Workspace, suites: &[Suite], skips: Skips) -> Result<Report> {
    check_root(suites)?;
    let builds = prepare(workspace, suites)?;
    let mut report = Report::default();
    for suite in suites {
        report.add(suite.name(), run_suite(workspace, *suite, builds.as_ref(), skips)?);
    }
    Ok(report)
}

/// Before anything is built, since that takes minutes.
fn check_root(suites: &[Suite]) -> Result<()> {
    if setup::is_root() || suites.iter().all(|suite| *suite == Suite::Host) {
        return Ok(());
    }
    bail!(
        "the suites load XDP programs and make network namespaces, so they need root: \
         run `sudo -E env \"PATH=$PATH\" cargo xtask test`, or `cargo xtask test host` for what works without"
    )
}

/// Builds the XDP programs, which the daemon's crate embeds, and the daemon where a suite runs it.
fn prepare(workspace: &Workspace, suites: &[Suite]) -> Result<Option<Builds>> {
    if suites.iter().any(|suite| !matches!(suite, Suite::Host | Suite::Program | Suite::Packets)) {
        let sluice = build_sluice::build(workspace, Needs::Everything)?;
        let upgrades = suites.contains(&Suite::Churn);
        let other = upgrades.then(|| build_sluice::build_other(workspace)).transpose()?;
        return Ok(Some(Builds { sluice, other }));
    }
    let toolchain = setup::ensure(workspace, Needs::Toolchain)?;
    build_ebpf::build(workspace, &toolchain).map(|_| None)
}

fn run_suite(workspace: &Workspace, suite: Suite, builds: Option<&Builds>, skips: Skips) -> Result<Outcome> {
    let start = Instant::now();
    let skips_file = workspace.target.join(format!("skips-{}", std::process::id()));
    let mut cargo = workspace.cargo("test");
    cargo.args(suite.packages()).args(suite.targets()).arg("--no-fail-fast").env(SKIPS_FILE, &skips_file);
    if let Some(Builds { sluice, other }) = builds {
        cargo.env(SLUICE_BINARY, sluice).envs(other.iter().map(|other| (OTHER_BINARY, other)));
    }
    println!("\n=== suite {} ===\n$ {}", suite.name(), command::shown(&cargo));
    let (status, tally) = watch(&mut cargo)?;
    // No file means that nothing was skipped.
    let skipped = fs::read_to_string(&skips_file).unwrap_or_default();
    let _ = fs::remove_file(&skips_file);
    Ok(Outcome::new(tally, status, &skipped, skips).taking(start.elapsed()))
}

/// Runs the tests, showing what they print as they print it.
fn watch(cargo: &mut Command) -> Result<(ExitStatus, Tally)> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot run `cargo test`")?;
    let mut tally = Tally::default();
    let mut output = child.stdout.take().context("the tests have no output")?;
    let mut chunk = [0; 4096];
    loop {
        let length = output.read(&mut chunk).context("cannot read what the tests print")?;
        if length == 0 {
            break;
        }
        tally.feed(&chunk[..length]);
        let mut stdout = io::stdout();
        stdout.write_all(&chunk[..length]).and_then(|()| stdout.flush()).context("cannot print")?;
    }
    Ok((child.wait().context("cannot wait for the tests")?, tally))
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Program => "program",
            Self::Packets => "packets",
            Self::Fuzz => "fuzz",
            Self::Netns => "netns",
            Self::Cli => "cli",
            Self::Operator => "operator",
            Self::Health => "health",
            Self::Clients => "clients",
            Self::Churn => "churn",
        }
    }

    /// The packages that `cargo test` is told. What dependencies are built with follows from them, so they are the same for
    /// all that lies in these, and everything is built once.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["--workspace", "--exclude", "lb-tests", "--exclude", "lb-fuzz", "--all-features"],
            _ => &workspace::OF_SUITES,
        }
    }

    /// Which of their tests.
    fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Host => &[],
            Self::Program => &["--test", "program"],
            Self::Packets => &["--test", "packets"],
            Self::Fuzz => &["--test", "short"],
            // The harness's own tests make namespaces too. The fuzzers' own come along.
            Self::Netns => &["--lib", "--test", "netns"],
            Self::Cli => &["--test", "cli"],
            Self::Operator => &["--test", "operator"],
            Self::Health => &["--test", "health"],
            Self::Clients => &["--test", "clients"],
            Self::Churn => &["--test", "churn"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_asked_for_by_the_name_it_is_reported_by() {
        for suite in Suite::value_variants() {
            assert_eq!(Suite::from_str(suite.name(), false), Ok(*suite));
        }
    }
}
