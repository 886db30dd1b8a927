//! A balancer of the script: its file, and the daemon that reads it, which may die and come back.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use super::settings::{Service as Wanted, Settings};
use crate::{
    balancer::Daemon,
    bpf::Pins,
    process::wait_until,
    status::{Service, Status},
    temporary,
    topology::Host,
};

/// How long a daemon may take to end.
const END_DEADLINE: Duration = Duration::from_secs(15);

/// By how much a share may be off its weight's part: a table has few slots, and filling it is no exact division.
const SHARE_TOLERANCE: f64 = 0.02;

/// See the module. Fields are dropped in order.
#[derive(Debug)]
pub(super) struct Balancer<'net> {
    daemon: Option<Daemon<'net>>,
    pub(super) host: &'net Host,
    pub(super) settings: Settings,
    pins: Pins,
    files: TempDir,
}

/// What a balancer's file says at first.
pub(super) struct Work<'a> {
    pub(super) interfaces: &'a [&'a str],
    pub(super) peers: &'a [IpAddr],
    pub(super) services: Vec<Wanted>,
}

impl<'net> Balancer<'net> {
    /// Starts a daemon on `host`, and waits until it balances.
    pub(super) fn start(host: &'net Host, binary: &Path, work: Work<'_>) -> Result<Self> {
        let Work { interfaces, peers, services } = work;
        let pins = Pins::unique(&host.name)?;
        let files = temporary::directory(&host.name)?;
        let settings = Settings {
            interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
            socket: files.path().join("sluice.sock"),
            pin_path: pins.path().to_owned(),
            state_path: files.path().join("state.json"),
            peers: peers.to_vec(),
            services,
        };
        let mut balancer = Self { daemon: None, host, settings, pins, files };
        balancer.restart(binary)?;
        Ok(balancer)
    }

    /// Changes the file, and waits until the daemon's tables are what it says.
    pub(super) fn apply(&mut self, change: impl FnOnce(&mut Settings)) -> Result<Status> {
        self.edit(change)?;
        self.converge()
    }

    /// Changes the file, as an editor does: a new one in the place of the old one.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        change(&mut self.settings);
        self.save()
    }

    /// Waits until the daemon's tables are what the file says.
    pub(super) fn converge(&mut self) -> Result<Status> {
        let settings = self.settings.clone();
        self.daemon()?.wait_for("the tables to be what the file says", |status| follows(status, &settings))
    }

    /// Starts a daemon of `binary`, and waits until all that it probes is up and its tables are what the file says.
    pub(super) fn restart(&mut self, binary: &Path) -> Result<()> {
        self.start_daemon(binary)?;
        let settings = self.settings.clone();
        let ready = |status: &Status| follows(status, &settings) && all_up(status);
        self.daemon()?.wait_for("all backends to be up", ready).map(drop)
    }

    /// Starts a daemon of `binary`.
    pub(super) fn start_daemon(&mut self, binary: &Path) -> Result<()> {
        self.save()?;
        let (path, socket) = (self.path(), &self.settings.socket);
        // A daemon that is asked to end is to be followed by another one here.
        self.daemon = Some(Daemon::start(self.host, binary, &path, socket, &[])?);
        Ok(())
    }

    /// Says by the command line of `binary` what is wanted of a backend: `drain`, say, in every service.
    pub(super) fn order(&self, binary: &Path, wish: &str, backend: &str) -> Result<()> {
        let mut command = Command::new(binary);
        command.args([wish, backend, "--socket"]).arg(&self.settings.socket);
        self.host.netns.output(&mut command).map(drop)
    }

    /// The running daemon.
    pub(super) fn daemon(&mut self) -> Result<&mut Daemon<'net>> {
        self.daemon.as_mut().with_context(|| format!("no daemon runs on {}", self.host.name))
    }

    /// What the daemon says of itself.
    pub(super) fn status(&self) -> Result<Status> {
        self.daemon.as_ref().with_context(|| format!("no daemon runs on {}", self.host.name))?.status()
    }

    /// Whether a daemon runs.
    pub(super) fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.process.is_running())
    }

    /// This balancer, where its daemon runs.
    pub(super) fn running(&mut self) -> Option<&mut Self> {
        self.is_running().then_some(self)
    }

    /// Kills the daemon. What it pinned goes on forwarding.
    pub(super) fn kill(&mut self) -> Result<()> {
        let daemon = self.daemon()?;
        daemon.process.signal(Signal::KILL)?;
        daemon.process.wait(END_DEADLINE)?;
        self.daemon = None;
        Ok(())
    }

    /// Asks the daemon to end. What it pinned goes on forwarding.
    pub(super) fn terminate(&mut self) -> Result<()> {
        self.daemon()?.terminate()?;
        self.daemon = None;
        Ok(())
    }

    /// Removes what is pinned and written down, so that no interface has a program any more: another machine could
    /// know no less.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.daemon = None;
        fs::remove_dir_all(self.pins.path()).context("cannot remove the pins")?;
        if self.settings.state_path.exists() {
            fs::remove_file(&self.settings.state_path).context("cannot remove the state")?;
        }
        // The kernel takes programs off when it comes to it.
        wait_until(END_DEADLINE, "the interfaces to have no program", || {
            self.settings.interfaces.iter().all(|name| matches!(self.program(name), Ok(None)))
        })
    }

    /// The kernel's numbers of the programs that this balancer's interfaces have.
    pub(super) fn programs(&self) -> Result<Vec<u64>> {
        let number = |name: &String| self.program(name)?.with_context(|| format!("{name} has no program"));
        self.settings.interfaces.iter().map(number).collect()
    }

    fn program(&self, interface: &str) -> Result<Option<u64>> {
        let mut ip = Command::new("ip");
        let text = self.host.netns.output(ip.args(["-json", "link", "show", "dev", interface]))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        Ok(links[0]["xdp"]["prog"]["id"].as_u64())
    }

    fn path(&self) -> PathBuf {
        self.files.path().join("sluice.toml")
    }

    fn save(&self) -> Result<()> {
        let draft = self.files.path().join("draft");
        fs::write(&draft, self.settings.to_string()).context("cannot write the configuration")?;
        fs::rename(draft, self.path()).context("cannot replace the configuration")
    }
}

fn all_up(status: &Status) -> bool {
    let mut backends = status.services.iter().flat_map(|service| &service.backends);
    backends.all(|backend| matches!(backend.health.as_str(), "up" | "unknown"))
}

/// Whether all services are there, and each backend has the share that its weight, its admin state and its health give.
fn follows(status: &Status, settings: &Settings) -> bool {
    let gone = |service: &&Service| !settings.services.iter().any(|wanted| wanted.name == service.name);
    let holds =
        |wanted: &Wanted| status.service(&wanted.name).is_some_and(|service| shares_follow(service, wanted));
    !status.services.iter().any(|service| gone(&service)) && settings.services.iter().all(holds)
}

fn shares_follow(service: &Service, wanted: &Wanted) -> bool {
    let weight = |backend: &super::settings::Backend| {
        let is_up = service.backend(&backend.name).is_some_and(|backend| backend.health != "down");
        if is_up && backend.admin == "ready" { f64::from(backend.weight) } else { 0.0 }
    };
    let sum: f64 = wanted.backends.iter().map(weight).sum();
    let follows = |backend: &super::settings::Backend| {
        let share = service.backend(&backend.name).map_or(-1.0, |backend| backend.share);
        sum > 0.0 && (share - weight(backend) / sum).abs() < SHARE_TOLERANCE
    };
    let strangers = service.backends.iter().filter(|backend| {
        backend.share > 0.0 && !wanted.backends.iter().any(|wanted| wanted.name == backend.name)
    });
    strangers.count() == 0 && wanted.backends.iter().all(follows)
}
