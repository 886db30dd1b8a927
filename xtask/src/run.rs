//! `cargo xtask run`: the balancer at work, in a sandbox that leaves nothing behind, or on this host.

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build_sluice,
    sandbox::{self, Sandbox},
    setup::{self, Needs},
    workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Remove the sandbox after the requests, and exit with 0 where all went well
    #[arg(long, conflicts_with = "config")]
    once: bool,
    /// Requests to each of the sandbox's two services
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// No sandbox: run the daemon on this host with this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    // Before anything is built, since that takes minutes.
    if !setup::is_root() {
        bail!(
            "XDP programs and network namespaces need root: run `sudo -E env \"PATH=$PATH\" cargo xtask run`"
        );
    }
    let workspace = Workspace::locate()?;
    let binary = build_sluice::build(&workspace, Needs::Everything)?;
    if let Some(config) = args.config {
        let error = Command::new(&binary).args(["run", "--config"]).arg(config).exec();
        return Err(error).with_context(|| format!("cannot run {}", binary.display()));
    }
    let object = workspace.object();
    sandbox::run(&Sandbox { binary, object, requests: args.requests as usize, once: args.once })
}
