//! What the commands that speak to a running daemon have in common.

use std::{
    io::{ErrorKind, Write as _, stdout},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use humantime::format_duration;
use serde::Serialize;

use crate::admin::Endpoint;

/// Which daemon, and how to print what it says.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DaemonArgs {
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    #[value(alias = "text")]
    Table,
    /// For programs
    Json,
}

/// Prints to whoever reads; one that has read enough (`head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot print the answer"),
        _ => Ok(()),
    }
}

/// Prints for programs.
pub(super) fn print_json<T: Serialize>(value: &T) -> Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot print the answer")?)
}

/// A number of seconds as people write it; parts of a second do not matter to them.
pub(super) fn shown(seconds: f64) -> String {
    format_duration(Duration::try_from_secs_f64(seconds.round()).unwrap_or_default()).to_string()
}
