//! What carries connections from a client to backends, besides Sluice.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lb_tests::balancer::{Daemon, binary};
use lb_tests::bpf::Pins;
use lb_tests::config::{Config, Service};
use lb_tests::process::{Process, wait_until};
use lb_tests::temporary;
use lb_tests::topology::{TwoArmed, VIP4};
use tempfile::TempDir;

use super::streams::PORT;

/// How long one may take until it listens.
const DEADLINE: Duration = Duration::from_secs(10);

/// One of them.
pub(super) struct Balancer {
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    Forwarding,
    Sluice(&'static str),
    Nftables,
    Haproxy,
}

/// The one that the others are compared with comes first.
pub(super) const BALANCERS: [Balancer; 5] = [
    Balancer { name: "kernel forwarding, to one backend", kind: Kind::Forwarding },
    Balancer { name: "sluice, l2", kind: Kind::Sluice("l2") },
    Balancer { name: "sluice, ipip", kind: Kind::Sluice("ipip") },
    Balancer { name: "nftables, DNAT by a hash", kind: Kind::Nftables },
    Balancer { name: "HAProxy, TCP mode", kind: Kind::Haproxy },
];

/// A balancer at work, until it is dropped. Fields are dropped in order.
#[derive(Default)]
#[expect(dead_code, reason = "its fields are guards")]
pub(super) struct Running<'net> {
    daemon: Option<Daemon<'net>>,
    process: Option<Process>,
    pins: Option<Pins>,
    files: Option<TempDir>,
    undo: Option<Undo<'net>>,
}

/// A command for the balancer's namespace, when it is dropped.
struct Undo<'net> {
    net: &'net TwoArmed,
    command: Vec<String>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let [program, arguments @ ..] = &self.command[..] else { return };
        if let Err(error) = self.net.balancer.netns.output(Command::new(program).args(arguments)) {
            eprintln!("cannot clean up: {error:#}");
        }
    }
}

impl Balancer {
    /// Starts it, and waits until it is ready.
    pub(super) fn start<'net>(&self, net: &'net TwoArmed) -> anyhow::Result<Running<'net>> {
        match self.kind {
            Kind::Forwarding => {
                let backend = net.backends[0].v4;
                net.balancer.netns.ip(&format!("route add {VIP4} via {backend}"))?;
                Ok(Running::undone_by(net, &format!("ip route del {VIP4}")))
            }
            Kind::Sluice(forwarding) => sluice(net, forwarding),
            Kind::Nftables => nftables(net),
            Kind::Haproxy => haproxy(net),
        }
    }
}

impl<'net> Running<'net> {
    fn undone_by(net: &'net TwoArmed, command: &str) -> Self {
        let command = command.split(' ').map(str::to_owned).collect();
        Self { undo: Some(Undo { net, command }), ..Self::default() }
    }
}

fn sluice<'net>(net: &'net TwoArmed, forwarding: &'static str) -> anyhow::Result<Running<'net>> {
    let (pins, files) = (Pins::unique("balancer")?, temporary::directory("balancer")?);
    let service = Service::new("web", (VIP4, PORT).into()).with(forwarding, &net.backends);
    let config = Config {
        interfaces: vec!["eth0".to_owned()],
        socket: files.path().join("sluice.sock"),
        pin_path: pins.path().to_owned(),
        balancer: String::new(),
        peers: Vec::new(),
        services: vec![service],
    };
    let path = files.path().join("sluice.toml");
    fs::write(&path, config.to_string())?;
    let mut daemon = Daemon::start(&net.balancer, &binary()?, &path, &config.socket, &["--detach"])?;
    daemon.wait_ready()?;
    Ok(Running { daemon: Some(daemon), pins: Some(pins), files: Some(files), ..Running::default() })
}

fn nftables(net: &TwoArmed) -> anyhow::Result<Running<'_>> {
    let [first, second] = &net.backends[..] else { anyhow::bail!("there are to be two backends") };
    let rules = format!(
        "table ip bench {{ chain balance {{ type nat hook prerouting priority dstnat; ip daddr {VIP4} tcp dport {PORT} \
         dnat to jhash ip saddr . tcp sport mod 2 map {{ 0 : {}, 1 : {} }}; }}; }}\n",
        first.v4, second.v4
    );
    let file = temporary::file("rules")?;
    fs::write(file.path(), rules)?;
    net.balancer.netns.output(Command::new("nft").arg("--file").arg(file.path()))?;
    Ok(Running::undone_by(net, "nft flush ruleset"))
}

fn haproxy(net: &TwoArmed) -> anyhow::Result<Running<'_>> {
    let files = temporary::directory("haproxy")?;
    let config = files.path().join("haproxy.cfg");
    fs::write(&config, haproxy_configuration(net))?;
    net.balancer.netns.ip(&format!("address add {VIP4}/32 dev lo"))?;
    let mut running = Running::undone_by(net, &format!("ip address del {VIP4}/32 dev lo"));
    let mut process = Process::spawn(&net.balancer.netns, "haproxy", &mut haproxy_command(&config))?;
    let target = SocketAddr::from((VIP4, PORT));
    let listens = || net.balancer.netns.run(|| TcpStream::connect(target).is_ok()).unwrap_or(false);
    wait_until(DEADLINE, "haproxy", || !process.is_running() || listens())?;
    process.check()?;
    (running.process, running.files) = (Some(process), Some(files));
    Ok(running)
}

fn haproxy_command(config: &Path) -> Command {
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(config);
    command
}

fn haproxy_configuration(net: &TwoArmed) -> String {
    let server = |host: &lb_tests::topology::Host| format!("    server {} {}:{PORT}\n", host.name, host.v4);
    let servers: String = net.backends.iter().map(server).collect();
    format!(
        "global\n    maxconn 2000\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 30s\n\
         \x20   timeout server 30s\nlisten web\n    bind {VIP4}:{PORT}\n    balance roundrobin\n{servers}"
    )
}
