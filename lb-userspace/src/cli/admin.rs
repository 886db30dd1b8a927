//! `sluice drain`, `ready` and `maintenance`: what an operator wants of a backend.

use std::time::Duration;

use anyhow::{Context as _, Result};
use humantime::parse_duration;

use super::{
    daemon::{DaemonArgs, Output, print, print_json},
    drained,
    names::{Name, resolve},
    state::sentence,
};
use crate::{
    admin::{
        client,
        order::{self, Obeyed, Request},
        status::Status,
    },
    config::{AdminState, OnDeadline},
};

/// Arguments of `sluice ready` and `sluice maintenance`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
}

/// Arguments of `sluice drain`.
#[derive(Debug, clap::Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    target: Target,
    /// How long the drain may last from now on, such as 10m; then the flows that are left are given up
    #[arg(long, value_name = "DURATION", value_parser = order::deadline)]
    deadline: Option<Duration>,
    /// What becomes of the flows that are left then; the service's `on_deadline` where it is not said
    #[arg(long, value_enum, value_name = "WHAT")]
    on_deadline: Option<OnDeadline>,
    /// Return once the backend gets no packet any more
    #[arg(long)]
    wait: bool,
    /// How long to wait at most, such as 5m; for ever where it is not said
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    timeout: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The backend: of every service that has it, where no service is named
    #[arg(value_name = "[SERVICE/]BACKEND")]
    backend: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Runs `sluice ready`.
pub(super) fn ready(args: &Args) -> Result<()> {
    super::runtime()?.block_on(set(&args.target, AdminState::Ready))
}

/// Runs `sluice maintenance`.
pub(super) fn maintenance(args: &Args) -> Result<()> {
    super::runtime()?.block_on(set(&args.target, AdminState::Maintenance))
}

/// Runs `sluice drain`.
pub(super) fn drain(args: &DrainArgs) -> Result<()> {
    super::runtime()?.block_on(drain_and_wait(args))
}

async fn set(target: &Target, state: AdminState) -> Result<()> {
    let (_, obeyed) = send(target, &Request { state, deadline: None, on_deadline: None }).await?;
    tell(target, &obeyed)
}

async fn drain_and_wait(args: &DrainArgs) -> Result<()> {
    let deadline = args.deadline.map(|deadline| humantime::format_duration(deadline).to_string());
    let request = Request { state: AdminState::Drain, deadline, on_deadline: args.on_deadline };
    let (names, obeyed) = send(&args.target, &request).await?;
    if !args.wait {
        return tell(&args.target, &obeyed);
    }
    warn(&obeyed);
    let drained = drained::wait(&args.target.daemon, names, args.timeout).await?;
    if args.target.daemon.output == Output::Json { print_json(&drained) } else { Ok(()) }
}

/// Sends the order for every backend that is meant. All of them are known before the first is.
async fn send(target: &Target, request: &Request) -> Result<(Vec<Name>, Vec<Obeyed>)> {
    let endpoint = &target.daemon.endpoint;
    let status: Status = client::get(endpoint, "/v1/status").await?;
    let names = resolve(&status, &target.backend)?;
    let mut obeyed = Vec::new();
    for name in &names {
        let path = format!("/v1/services/{}/backends/{}/admin", name.service, name.backend);
        obeyed.push(client::post(endpoint, &path, request).await.with_context(|| name.to_string())?);
    }
    Ok((names, obeyed))
}

fn tell(target: &Target, obeyed: &[Obeyed]) -> Result<()> {
    warn(obeyed);
    if target.daemon.output == Output::Json {
        return print_json(&obeyed);
    }
    obeyed.iter().try_for_each(|one| print(&sentence(&one.service, &one.backend)))
}

fn warn(obeyed: &[Obeyed]) {
    for Obeyed { service, backend, warning } in obeyed {
        if let Some(warning) = warning {
            eprintln!("warning: {service}/{}: {warning}", backend.name);
        }
    }
}
