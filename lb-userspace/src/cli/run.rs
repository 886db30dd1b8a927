//! `sluice run`: the daemon.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::log::{self, LogFormat};
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
    /// How to log
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
}

pub(super) fn run(args: Args) -> Result<()> {
    log::begin(&args.log, args.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(daemon::run(Options { config: args.config, detach: args.detach }))
}
