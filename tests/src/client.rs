//! Real clients: curl and iperf3.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{netns::Netns, temporary};

/// What curl prints after each transfer; the answer's text comes before it.
const WRITE_OUT: &str = "# %{http_code} %{local_port} %{errormsg}\\n";

/// What became of a number of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How often each backend answered.
    pub by_backend: BTreeMap<String, usize>,
    /// One message for each request that was not answered.
    pub failures: Vec<String>,
    /// Source ports of all requests. As many as requests, where none was used twice.
    pub ports: BTreeSet<u16>,
}

impl Answers {
    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.by_backend.values().sum()
    }

    /// How often `backend` answered.
    #[must_use]
    pub fn of(&self, backend: &str) -> usize {
        self.by_backend.get(backend).copied().unwrap_or(0)
    }

    /// Adds what became of other requests.
    pub fn add(&mut self, other: Self) {
        for (backend, count) in other.by_backend {
            *self.by_backend.entry(backend).or_default() += count;
        }
        self.failures.extend(other.failures);
        self.ports.extend(other.ports);
    }
}

/// Sends `count` requests from `client` to `target` by one curl, each over a connection of its own.
///
/// # Errors
///
/// curl cannot be run, or prints what it should not. A request that fails is no error but one of the
/// [`Answers::failures`].
pub fn fetch(client: &Netns, target: SocketAddr, count: usize) -> Result<Answers> {
    let urls = temporary::file("urls")?;
    std::fs::write(urls.path(), format!("url = \"http://{target}/\"\n").repeat(count))?;
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--silent", "--noproxy", "*", "--header", "Connection: close"]);
    curl.args(["--connect-timeout", "3", "--max-time", "5", "--write-out", WRITE_OUT, "--config"]);
    // The exit status is that of the last transfer; the lines tell of each.
    let output = client.run(|| curl.arg(urls.path()).output())?.context("cannot run curl")?;
    let answers = parse(&String::from_utf8_lossy(&output.stdout))?;
    if answers.answered() + answers.failures.len() != count {
        bail!("curl did not finish {count} requests: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(answers)
}

fn parse(text: &str) -> Result<Answers> {
    let mut answers = Answers::default();
    let mut id = None;
    for line in text.lines() {
        let Some(transfer) = line.strip_prefix("# ") else {
            id = Some(line.strip_prefix("My id is ").with_context(|| format!("unexpected answer {line:?}"))?);
            continue;
        };
        let mut fields = transfer.splitn(3, ' ');
        let code = fields.next();
        let port = fields.next().and_then(|port| port.parse().ok());
        match (code, id.take(), port) {
            (Some("200"), Some(id), Some(port)) => {
                *answers.by_backend.entry(id.to_owned()).or_default() += 1;
                answers.ports.insert(port);
            }
            _ => answers.failures.push(transfer.to_owned()),
        }
    }
    Ok(answers)
}

/// Requests that go on, in the background, until they are stopped. Dropping it stops them too, so that a failing test
/// is not kept waiting for them.
#[derive(Debug)]
pub struct Stream<'scope> {
    stop: Arc<AtomicBool>,
    worker: Option<ScopedJoinHandle<'scope, Result<Answers>>>,
}

impl<'scope> Stream<'scope> {
    /// Starts sending requests from `client` to `target`, one after the other.
    #[must_use]
    pub fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        client: &'env Netns,
        target: SocketAddr,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let send = move || {
            let mut answers = Answers::default();
            while !flag.load(Ordering::Relaxed) {
                answers.add(fetch(client, target, 20)?);
            }
            Ok(answers)
        };
        Self { stop, worker: Some(scope.spawn(send)) }
    }

    /// Stops, and tells what became of all requests since the start.
    ///
    /// # Errors
    ///
    /// See [`fetch`].
    ///
    /// # Panics
    ///
    /// The sending thread panicked.
    pub fn stop(mut self) -> Result<Answers> {
        self.stop.store(true, Ordering::Relaxed);
        let worker = self.worker.take().expect("only this method takes it, and consumes the stream");
        worker.join().expect("the sending thread does not panic")
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What an iperf3 run saw.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Throughput {
    /// Segments that the sender sent again.
    pub retransmits: u64,
    /// Bytes that the sender sent.
    pub bytes: u64,
    /// Rate.
    pub bits_per_second: f64,
}

/// Sends from `client` to the iperf3 server behind `address` for `seconds`, at a rate that the queues of veth devices
/// bear without loss. The test's control connection must reach the same backend as its data, so the service has one.
///
/// # Errors
///
/// iperf3 cannot be run, or ends with an error.
pub fn iperf(client: &Netns, address: IpAddr, port: u16, seconds: u64) -> Result<Throughput> {
    let mut line = String::from("--json --connect-timeout 3000 --fq-rate 200M");
    write!(line, " --client {address} --port {port} --time {seconds}")?;
    let output =
        client.run(|| Command::new("iperf3").args(line.split(' ')).output())?.context("cannot run iperf3")?;
    let report: Report = serde_json::from_slice(&output.stdout).context("iperf3 printed no report")?;
    if let Some(error) = report.error {
        bail!("iperf3 to {address} port {port}: {error}");
    }
    report.end.and_then(|end| end.sum_sent).context("iperf3 reported no sum")
}

#[derive(Deserialize)]
struct Report {
    error: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct End {
    sum_sent: Option<Throughput>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_are_told_apart() {
        let text = "My id is b1\n# 200 40001 \n# 000 0 Connection timed out after 3001 ms\nMy id is b1\n# 200 40002 \n";
        let answers = parse(text).unwrap();
        assert_eq!((answers.of("b1"), answers.answered(), answers.ports.len()), (2, 2, 2));
        assert_eq!(answers.failures, ["000 0 Connection timed out after 3001 ms"]);
    }

    #[test]
    fn answer_of_somebody_else_is_an_error() {
        assert!(parse("<html>\n# 200 40001 \n").is_err());
    }
}
