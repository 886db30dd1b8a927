//! `cargo xtask ci`: all that must hold of every commit, cheapest first. The first step that fails ends it.

use std::{
    fmt::{self, Display, Formatter},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    setup::{self, Needs, Toolchain},
    test,
    workspace::Workspace,
};

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// The manifest of the crate that is no member of the workspace.
const EBPF_MANIFEST: [&str; 2] = ["--manifest-path", "lb-ebpf/Cargo.toml"];

pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace { locked: true, ..Workspace::locate()? };
    let mut steps = Steps::default();
    let toolchain = steps.take("setup", || setup::ensure(&workspace, Needs::Everything))?;
    check(&workspace, &toolchain, &mut steps)?;
    let report = steps.take("tests", || test::run_all(&workspace))?;
    println!("\n{steps}\n{report}");
    Ok(report.exit_code())
}

fn check(workspace: &Workspace, toolchain: &Toolchain, steps: &mut Steps) -> Result<()> {
    let command = |name, command: &mut Command, steps: &mut Steps| steps.take(name, || command::run(command));
    command("rustfmt", &mut rustfmt(workspace, &["--all"]), steps)?;
    command("rustfmt of lb-ebpf", &mut rustfmt(workspace, &EBPF_MANIFEST), steps)?;
    // The daemon's crate embeds the object, so nothing compiles without it.
    steps.take("build-ebpf", || build_ebpf::build(workspace, toolchain))?;
    command("clippy", &mut clippy(workspace), steps)?;
    command("clippy of lb-ebpf", &mut clippy_ebpf(workspace), steps)?;
    command("documentation", &mut documentation(workspace), steps)
}

fn rustfmt(workspace: &Workspace, packages: &[&str]) -> Command {
    let mut cargo = Workspace { locked: false, ..workspace.clone() }.cargo("fmt");
    cargo.arg("--check").args(packages);
    cargo
}

fn clippy(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo("clippy");
    cargo.args(["--workspace", "--all-targets", "--all-features"]).args(DENY_WARNINGS);
    cargo
}

/// For the host: the eBPF compiler may come without clippy, and aya's kernel side compiles anywhere.
fn clippy_ebpf(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo("clippy");
    cargo.args(EBPF_MANIFEST).arg("--target-dir").arg(&workspace.target).args(DENY_WARNINGS);
    cargo
}

/// Of every library, and of the programs that have none. There are no examples: whoever asks for them gets dependencies with
/// the features that tests want of them, and those clippy has looked at already.
fn documentation(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo("doc");
    cargo
        .args(["--workspace", "--no-deps", "--all-features", "--lib", "--examples"])
        .args(["--bin", "lb-bench", "--bin", "xtask"])
        .env("RUSTDOCFLAGS", "-D warnings");
    cargo
}

/// The steps taken, and how long each took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn take<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let result = step().with_context(|| format!("the step `{name}` failed"))?;
        println!("({name}: {:.1} s)", start.elapsed().as_secs_f64());
        self.0.push((name, start.elapsed()));
        Ok(result)
    }
}

impl Display for Steps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, time)| writeln!(f, "{name:<20}{:>6} s", time.as_secs()))
    }
}
