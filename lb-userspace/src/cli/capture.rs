//! `sluice capture` and `sluice trace`: packets as the program sees them.

use std::{
    fs::File,
    io::{ErrorKind, Write, stdout},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use humantime::{format_duration, format_rfc3339_micros, parse_duration};

use super::daemon::{DaemonArgs, Output};
use crate::{
    admin::{
        Endpoint,
        capture::{Decision, Request, Untold},
        client,
    },
    capture::decision::line,
};

/// Arguments of `sluice trace`.
#[derive(Debug, clap::Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `sluice capture`.
#[derive(Debug, clap::Args)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// Bytes that are kept of each packet, 14 to 2047
    #[arg(long, value_name = "BYTES", default_value_t = 160)]
    snaplen: u32,
    /// Where the pcapng file goes; `-` is standard output, for a pipe into Wireshark or tshark
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Which packets.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Only packets for this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only packets for this backend of it
    #[arg(long, value_name = "NAME", requires = "service")]
    backend: Option<String>,
    /// Only packets with an end in this prefix, such as `192.0.2.0/24`
    #[arg(long, value_name = "PREFIX")]
    client: Option<String>,
    /// Only packets with this reason, which may be given several times; `dropped` stands for all that drop
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only one of so many packets, at random, such as `1/100`
    #[arg(long, value_name = "1/N", value_parser = sample)]
    sample: Option<u32>,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after such a time, at most 1h
    #[arg(long, value_name = "SECONDS", default_value = "1m", value_parser = seconds)]
    seconds: Duration,
}

impl Wanted {
    fn request(&self, snaplen: Option<u32>) -> Request {
        Request {
            service: self.service.clone(),
            backend: self.backend.clone(),
            client: self.client.clone(),
            reasons: self.reason.clone(),
            one_of: self.sample,
            snaplen,
            count: self.count,
            duration: Some(format_duration(self.seconds).to_string()),
        }
    }
}

/// Reads a number of seconds, or a duration.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    seconds.or_else(|_| parse_duration(text).map_err(|error| format!("{text:?} is no duration: {error}")))
}

/// Reads `1/N`.
fn sample(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    number.parse().map_err(|_| format!("{text:?} is no sample; expected 1/N, such as 1/100"))
}

/// Runs `sluice trace`.
pub(super) fn trace(args: &TraceArgs) -> Result<()> {
    let request = args.wanted.request(None);
    let mut rest = Vec::new();
    let is_json = args.daemon.output == Output::Json;
    let print = |bytes: &[u8]| {
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let text: Vec<u8> = rest.drain(..=end).collect();
            if !show(&text[..end], is_json)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    super::runtime()?.block_on(client::stream(&args.daemon.endpoint, "/v1/trace", &request, print))
}

/// Prints one line; `false` where nobody reads any more.
fn show(text: &[u8], is_json: bool) -> Result<bool> {
    if let Ok(Untold { limited, lost }) = serde_json::from_slice(text) {
        eprintln!(
            "not told of: {limited} packets that came faster than is told, {lost} that nobody had read in time"
        );
        return Ok(true);
    }
    let out = if is_json {
        String::from_utf8_lossy(text).into_owned()
    } else {
        let decision: Decision = serde_json::from_slice(text)
            .context("the daemon's answer is of another version; restart it, or use its own sluice")?;
        let at = std::time::UNIX_EPOCH + Duration::from_secs_f64(decision.at.max(0.0));
        format!("{} {}", format_rfc3339_micros(at), line(&decision))
    };
    written(writeln!(stdout(), "{out}"))
}

/// Runs `sluice capture`.
pub(super) fn capture(args: &CaptureArgs) -> Result<()> {
    let request = args.wanted.request(Some(args.snaplen));
    let mut file: Box<dyn Write> = if args.write.as_os_str() == "-" {
        Box::new(stdout())
    } else {
        let create = || format!("cannot write {}", args.write.display());
        Box::new(File::create(&args.write).with_context(create)?)
    };
    let write = |bytes: &[u8]| written(file.write_all(bytes).and_then(|()| file.flush()));
    super::runtime()?.block_on(client::stream(&args.endpoint, "/v1/capture", &request, write))
}

/// Whether somebody still reads what was written.
fn written(result: std::io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_one_of_so_many() {
        assert_eq!(sample("1/100"), Ok(100));
        assert_eq!(sample("7"), Ok(7));
        assert!(sample("2/3").unwrap_err().contains("1/N"));
    }
}
