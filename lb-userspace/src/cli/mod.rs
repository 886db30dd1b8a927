//! The command line.

mod admin;
mod backend;
mod capture;
mod check;
mod completions;
mod daemon;
mod detach;
mod doctor;
mod drained;
mod drops;
mod explain;
mod fleet;
mod guards;
mod history;
mod lists;
mod log;
mod names;
mod plan;
mod probes;
mod rollout;
mod run;
mod shares;
mod sizes;
mod state;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod top;
mod verify;
mod weight;

use std::{
    env,
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::{causes::with_causes, config::Diagnostics};

/// A kernel-bypass L4 load balancer.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balances, as a configuration file says
    Run(run::Args),
    /// Checks a configuration file without touching anything
    Check(check::CheckArgs),
    /// Tells what a configuration file would change if it became the running one: slots, flows, backends
    Plan(plan::PlanArgs),
    /// Makes a configuration file the running one, after it has shown what that changes
    Apply(plan::ApplyArgs),
    /// Tells which keys of a configuration file differ from the running ones
    Diff(plan::DiffArgs),
    /// Shows what a running daemon balances: services, backends, state, share, packets
    Status(status::Args),
    /// Shows what happens, as it happens, on the terminal; keys drain and weigh backends
    Top(top::Args),
    /// Lists the services
    Services(lists::ServicesArgs),
    /// Lists the backends, of one service or of all
    Backends(lists::BackendsArgs),
    /// Gives a backend another share relative to the others
    Weight(weight::Args),
    /// Takes a backend out gently: it keeps its flows and gets no new ones
    Drain(admin::DrainArgs),
    /// Gives a backend new flows again
    Ready(admin::Args),
    /// Takes a backend out at once: others get its flows
    Maintenance(admin::Args),
    /// Says which versions of a service's backends get new flows
    Rollout(rollout::RolloutArgs),
    /// Shows the last changes of a backend's state, and why they came
    History(history::Args),
    /// Says where a packet goes and why, by the program itself, without a trace
    Explain(explain::Args),
    /// Shows packets as they are decided about, a line for each
    Trace(capture::TraceArgs),
    /// Writes packets to a pcapng file, as they arrive and as they leave, with what was decided
    Capture(capture::CaptureArgs),
    /// Shows which packets are dropped, how many, why, and what to do about it
    Drops(drops::Args),
    /// Compares what the kernel holds with what the daemon has applied, and writes anew what differs
    Verify(verify::Args),
    /// Looks for what is wrong with this host, as a balancer or a backend, and says what cures it
    Doctor(doctor::Args),
    /// Prints what a shell completes commands by
    Completions(completions::CompletionsArgs),
    /// Writes manual pages
    Man(completions::ManArgs),
    /// Takes down the data plane that a stopped daemon has left forwarding
    Detach(detach::Args),
    /// Makes this host a backend: VIPs, ARP settings, decapsulation
    Backend(backend::BackendArgs),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => return ended(check::run(&args)),
        Command::Plan(args) => return ended(plan::plan(&args)),
        Command::Apply(args) => return ended(plan::apply(&args)),
        Command::Diff(args) => return ended(plan::diff(&args)),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Services(args) => lists::services(&args),
        Command::Backends(args) => lists::backends(&args),
        Command::Weight(args) => weight::run(&args),
        Command::Drain(args) => admin::drain(&args),
        Command::Ready(args) => admin::ready(&args),
        Command::Maintenance(args) => admin::maintenance(&args),
        Command::Rollout(args) => rollout::run(&args),
        Command::History(args) => history::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Trace(args) => capture::trace(&args),
        Command::Capture(args) => capture::capture(&args),
        Command::Drops(args) => drops::run(&args),
        Command::Verify(args) => return ended(verify::run(&args)),
        Command::Doctor(args) => return ended(doctor::run(&args)),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Detach(args) => detach::run(&args),
        Command::Backend(args) => runtime().and_then(|runtime| runtime.block_on(backend::run(args))),
    };
    ended(result.map(|()| ExitCode::SUCCESS))
}

/// The exit code of a command, whose error is told.
fn ended(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// What is wrong with a configuration has its own form; everything else is one line.
fn complain(error: &anyhow::Error) {
    match error.downcast_ref::<Diagnostics>() {
        Some(diagnostics) if is_styled() => eprintln!("{}", diagnostics.styled()),
        Some(diagnostics) => eprintln!("{diagnostics}"),
        None => eprintln!("error: {}", with_causes(error.as_ref())),
    }
}

/// Whether standard error takes colours.
fn is_styled() -> bool {
    stderr().is_terminal() && env::var_os("NO_COLOR").is_none()
}

/// A runtime for one short command.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}
