//! `sluice run`: the daemon.

use std::{
    io::{IsTerminal as _, stderr},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

use crate::daemon::{self, Options};

/// Arguments of `sluice run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/sluice/sluice.toml")]
    config: PathBuf,
    /// Take the data plane down when the daemon stops, rather than leave it forwarding
    #[arg(long)]
    detach: bool,
    /// What to log: error, warn, info, debug or trace, also per module
    #[arg(long, env = "SLUICE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

pub(super) fn run(args: Args) -> Result<()> {
    let filter = EnvFilter::builder()
        .parse(&args.log)
        .with_context(|| format!("--log: {:?} is no filter", args.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(daemon::run(Options { config: args.config, detach: args.detach }))
}
