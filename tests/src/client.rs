//! Real clients: curl and iperf3.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

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
    fetch_url(client, &format!("http://{target}/"), count, &[])
}

/// Sends `count` requests for `url`, with further options for curl.
///
/// # Errors
///
/// See [`fetch`].
pub fn fetch_url(client: &Netns, url: &str, count: usize, options: &[&str]) -> Result<Answers> {
    let urls = temporary::file("urls")?;
    std::fs::write(urls.path(), format!("url = \"{url}\"\n").repeat(count))?;
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--silent", "--noproxy", "*", "--header", "Connection: close"]).args(options);
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
    let target = format!("--client {address} --port {port} --time {seconds}");
    run_iperf(client, &format!("--fq-rate 200M {target}"), "sum_sent")
}

/// What an iperf3 run saw of its datagrams.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Datagrams {
    /// How many the client sent.
    pub packets: u64,
    /// How many of them did not get to the server.
    pub lost_packets: u64,
}

/// Sends `count` datagrams from `client` to the iperf3 server behind `address`, which has both a TCP and a UDP service
/// with the same one backend there. The rate is one that loses none to full queues.
///
/// # Errors
///
/// See [`iperf`].
pub fn iperf_datagrams(client: &Netns, address: IpAddr, port: u16, count: u64) -> Result<Datagrams> {
    let target = format!("--client {address} --port {port} --blockcount {count}");
    run_iperf(client, &format!("--udp --length 1200 --bitrate 20M {target}"), "sum")
}

/// Runs iperf3 with the options `line`, and reads the part `sum` of the end of its report.
fn run_iperf<Sum: DeserializeOwned>(client: &Netns, line: &str, sum: &str) -> Result<Sum> {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--connect-timeout", "3000"]).args(line.split(' '));
    let output = client.run(|| command.output())?.context("cannot run iperf3")?;
    let mut report: Value = serde_json::from_slice(&output.stdout).context("iperf3 printed no report")?;
    if let Some(error) = report.get("error") {
        bail!("iperf3 {line}: {error}");
    }
    serde_json::from_value(report["end"][sum].take()).with_context(|| format!("iperf3 {line} gave no {sum}"))
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
