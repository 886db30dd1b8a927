//! Where the daemon's log goes: to standard error, for people or for programs, or to the journal with its fields.

use std::{
    env,
    io::{IsTerminal as _, stderr},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::fs::fstat;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// To the journal where standard error is that, otherwise as text
    Auto,
    /// A line each, for people
    Text,
    /// An object each, for programs
    Json,
    /// To the journal, a field for each
    Journal,
}

/// What the fields of the journal begin with: `SLUICE_SERVICE`, `SLUICE_BACKEND`.
const PREFIX: &str = "SLUICE";

/// Begins to log what `filter` lets through.
pub(super) fn begin(filter: &str, format: LogFormat) -> Result<()> {
    let filter =
        EnvFilter::builder().parse(filter).with_context(|| format!("--log: {filter:?} is no filter"))?;
    let text = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false);
    let layer = match chosen(format) {
        LogFormat::Json => text.json().flatten_event(true).with_ansi(false).boxed(),
        LogFormat::Journal => tracing_journald::layer()
            .context("--log-format journal: no journal listens on /run/systemd/journal/socket")?
            .with_field_prefix(Some(PREFIX.to_owned()))
            .with_syslog_identifier("sluice".to_owned())
            .boxed(),
        LogFormat::Auto | LogFormat::Text => text.with_ansi(stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(())
}

fn chosen(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if is_journal() => LogFormat::Journal,
        LogFormat::Auto => LogFormat::Text,
        format => format,
    }
}

/// Whether standard error is the journal, and nobody has redirected it since (systemd.exec(5), `JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    fstat(stderr().as_fd()).is_ok_and(|stat| names(&stream, stat.st_dev, stat.st_ino))
}

/// Whether `stream` is a device and an inode, and these.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    let numbers = stream.split_once(':');
    numbers.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_the_journal_where_both_numbers_are_its() {
        assert!(names("8:123", 8, 123));
        assert!(!names("8:123", 8, 124) && !names("9:123", 8, 123));
        assert!(!names("", 0, 0) && !names("8", 8, 0) && !names("8:x", 8, 0));
    }

    #[test]
    fn what_is_asked_for_by_name_is_taken() {
        assert_eq!(chosen(LogFormat::Json), LogFormat::Json);
        assert_eq!(chosen(LogFormat::Text), LogFormat::Text);
    }
}
