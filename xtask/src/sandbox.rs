//! The sandbox: a client, the balancer and four backends in network namespaces, and real requests between them.
//!
//! ```text
//!   client      balancer      b1 ipip    b2 ipip    b3 l2      b4 l2
//!     |            |             |          |          |          |
//!   --+------------+-------------+----------+----------+----------+--
//! ```
//!
//! The daemon uses the paths of a real one (`/sys/fs/bpf/sluice`, `/run/sluice`), so that every command in the
//! documents works on it as written; it refuses to start where those are taken. Everything is held by guards, which
//! remove it in reverse order however this ends.

mod claim;
mod report;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::{
    balancer::{Daemon, Prepared},
    client::fetch,
    config::{Config, Service},
    interrupt,
    process::wait_until,
    relay,
    server::Nginx,
    temporary,
    topology::{Host, Lan, VIP4, VIP6},
};

use self::{
    claim::{Claim, PIN_PATH, SOCKET},
    report::Distribution,
};

/// How many of the backends, counted from the first, are reached through a tunnel.
const TUNNELLED: usize = 2;

/// Where the daemon listens over TCP, on its loopback address.
const API_PORT: u16 = 9901;

/// What to show.
pub(crate) struct Sandbox {
    /// The `sluice` binary.
    pub(crate) binary: PathBuf,
    /// The XDP programs.
    pub(crate) object: PathBuf,
    /// Requests to each service.
    pub(crate) requests: usize,
    /// Whether to end after the requests.
    pub(crate) once: bool,
}

/// Shows it, and says as exit code whether all went well.
pub(crate) fn run(sandbox: &Sandbox) -> Result<ExitCode> {
    interrupt::watch().context("cannot watch for Ctrl-C")?;
    let claim = Claim::take()?;
    let result = sandbox.show();
    drop(claim);
    println!("The sandbox is removed.");
    if interrupt::requested() && (result.is_err() || !sandbox.once) {
        return Ok(if sandbox.once { ExitCode::from(130) } else { ExitCode::SUCCESS });
    }
    result
}

impl Sandbox {
    fn show(&self) -> Result<ExitCode> {
        let files = temporary::directory("sandbox")?;
        step("network namespaces: client, switch, balancer, b1 to b4");
        let lan = Lan::with_programs(&self.object)?;
        step("nginx on every backend, VIPs and decapsulators by `sluice backend up`");
        let servers = lan.backends.iter().map(Nginx::start).collect::<Result<Vec<_>>>()?;
        let prepared = self.prepare(&lan.backends)?;
        step("the balancer: `sluice run`");
        let config = files.path().join("sluice.toml");
        fs::write(&config, configuration(&lan.backends).to_string())
            .context("cannot write the configuration")?;
        let mut daemon =
            Daemon::start(&lan.balancer, &self.binary, &config, Path::new(SOCKET), &["--detach"])?;
        daemon.wait_ready()?;

        let healthy = self.send_requests(&lan, &daemon)?;
        if !self.once {
            self.print_suggestions(&lan, &servers, &prepared, &config);
            wait_for_the_end(&mut daemon)?;
        }
        daemon.terminate()?;
        Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn prepare<'host>(&self, backends: &'host [Host]) -> Result<Vec<Prepared<'host>>> {
        let up = |(index, host)| {
            let options: &[&str] = if index < TUNNELLED { &[] } else { &["--no-decap"] };
            Prepared::up(host, &self.binary, &[VIP4, VIP6], options)
        };
        backends.iter().enumerate().map(up).collect()
    }

    /// Sends the requests and prints who answered; whether that is what the tables promise.
    fn send_requests(&self, lan: &Lan, daemon: &Daemon<'_>) -> Result<bool> {
        let mut healthy = true;
        for (service, address) in services() {
            step(&format!("{} requests by curl from the client to http://{address}/", self.requests));
            let answers = fetch(&lan.client.netns, address, self.requests)?;
            interrupt::check()?;
            let status = daemon.status()?;
            let promised = status.service(service).with_context(|| format!("the status lacks {service}"))?;
            let distribution = Distribution { promised, answers: &answers, requests: self.requests };
            println!("\n{distribution}");
            for problem in distribution.problems() {
                println!("WRONG: {problem}");
                healthy = false;
            }
        }
        Ok(healthy)
    }

    fn print_suggestions(&self, lan: &Lan, servers: &[Nginx], prepared: &[Prepared<'_>], config: &Path) {
        let inside = |host: &Host| format!("nsenter --net={}", host.netns.path().display());
        let (client, b1) = (inside(&lan.client), inside(&lan.backends[0]));
        let sluice = self.binary.display();
        let rule = "-".repeat(80);
        println!("{rule}\nThe sandbox stays until Ctrl-C. To try in another terminal, as root:\n");
        println!("  a request            {client} curl http://{VIP4}/");
        println!("                       {client} curl 'http://[{VIP6}]/'");
        println!("  what sluice knows    {sluice} status");
        println!("  the same, live       {sluice} top");
        println!("  in a browser         {}", dashboard(&lan.balancer));
        println!("  the maps             bpftool map dump pinned {PIN_PATH}/services");
        println!("                       bpftool map dump pinned {PIN_PATH}/backends");
        println!("  stop b1, and watch   kill {}", servers[0].process.id());
        println!("                       watch -n 0.5 {sluice} status");
        println!("  start it again       {b1} {} &", servers[0].command_line());
        println!("  b1's set-up          {b1} {}", prepared[0].command_line("show"));
        println!("  a reload: edit       {}", config.display());
        println!("{rule}");
    }
}

/// Where a browser of this host finds the dashboard, which is served in the balancer's namespace.
fn dashboard(balancer: &Host) -> String {
    match relay::start(&balancer.netns, API_PORT) {
        Ok(address) => format!(
            "http://{address}/ (from elsewhere: ssh -L {port}:{address} THIS-HOST, then http://127.0.0.1:{port}/)",
            port = address.port()
        ),
        Err(error) => format!("not to be had: {error:#}"),
    }
}

fn services() -> [(&'static str, SocketAddr); 2] {
    [("web4", SocketAddr::new(VIP4, 80)), ("web6", SocketAddr::new(VIP6, 80))]
}

fn configuration(backends: &[Host]) -> Config {
    let (tunnelled, direct) = backends.split_at(TUNNELLED);
    let service = |(name, address)| Service::new(name, address).with("ipip", tunnelled).with("l2", direct);
    Config {
        interfaces: vec!["eth0".to_owned()],
        socket: SOCKET.into(),
        pin_path: PIN_PATH.into(),
        // Whoever is on this host may read, and nobody may change anything by it.
        balancer: format!("\n[balancer.api]\nlisten = \"127.0.0.1:{API_PORT}\""),
        peers: Vec::new(),
        services: services().into_iter().map(service).collect(),
    }
}

/// Waits for Ctrl-C; fails where the daemon ends before it.
fn wait_for_the_end(daemon: &mut Daemon<'_>) -> Result<()> {
    while !interrupt::requested() {
        daemon.process.check()?;
        // Also ends at once when asked to.
        let _ = wait_until(Duration::from_secs(1), "Ctrl-C", || false);
    }
    println!();
    Ok(())
}

fn step(what: &str) {
    println!("==> {what}");
}
