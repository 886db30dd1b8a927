//! What most tests start from: a balancer whose backends are up.

use std::{fs, path::PathBuf};

use lb_tests::{
    balancer::{Daemon, Prepared, READY_DEADLINE, binary},
    bpf::Pins,
    config::{Config, Service},
    process::wait_until,
    server::Nginx,
    temporary,
    topology::{Host, VIP4, VIP6},
};
use rustix::process::Signal;
use tempfile::TempDir;

/// What makes a daemon take its data plane with it.
pub(crate) const DETACH: &[&str] = &["--detach"];

/// A running balancer, and backends with nginx and a decapsulator each. Fields are dropped in order.
pub(crate) struct Scene<'net> {
    pub(crate) daemon: Daemon<'net>,
    pub(crate) servers: Vec<Nginx>,
    pub(crate) config: Config,
    balancer: &'net Host,
    _prepared: Vec<Prepared<'net>>,
    pub(crate) pins: Pins,
    files: TempDir,
}

impl<'net> Scene<'net> {
    /// Sets the backends up, starts the daemon with `services`, and waits until it is ready.
    pub(crate) fn start(balancer: &'net Host, backends: &'net [Host], services: Vec<Service>) -> Self {
        Self::start_with(balancer, backends, services, DETACH)
    }

    /// The same, with options for `sluice run`.
    pub(crate) fn start_with(
        balancer: &'net Host,
        backends: &'net [Host],
        services: Vec<Service>,
        options: &[&str],
    ) -> Self {
        Self::start_adjusted(balancer, backends, services, options, |_| {})
    }

    /// The same, after `adjust` has had the configuration.
    pub(crate) fn start_adjusted(
        balancer: &'net Host,
        backends: &'net [Host],
        services: Vec<Service>,
        options: &[&str],
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let binary = binary().unwrap();
        let prepare = |host| Prepared::up(host, &binary, &[VIP4, VIP6], &[]).unwrap();
        let prepared = backends.iter().map(prepare).collect();
        let servers = backends.iter().map(|host| Nginx::start(host).unwrap()).collect();
        let pins = Pins::unique("balancer").unwrap();
        let files = temporary::directory("balancer").unwrap();
        let mut config = Config {
            interfaces: vec!["eth0".to_owned()],
            socket: files.path().join("sluice.sock"),
            pin_path: pins.path().to_owned(),
            balancer: String::new(),
            peers: Vec::new(),
            services,
        };
        adjust(&mut config);
        let path = files.path().join("sluice.toml");
        fs::write(&path, config.to_string()).unwrap();
        let mut daemon = Daemon::start(balancer, &binary, &path, &config.socket, options).unwrap();
        daemon.wait_ready().unwrap();
        Self { daemon, servers, config, balancer, _prepared: prepared, pins, files }
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.files.path().join("sluice.toml")
    }

    /// Writes the configuration to the file, as an editor does: a new file in the place of the old one.
    pub(crate) fn save_config(&self) {
        let draft = self.files.path().join("draft");
        fs::write(&draft, self.config.to_string()).unwrap();
        fs::rename(draft, self.config_path()).unwrap();
    }

    /// Kills the daemon, and starts another one.
    pub(crate) fn kill_and_restart(&mut self) {
        self.daemon.process.signal(Signal::KILL).unwrap();
        self.daemon.process.wait(READY_DEADLINE).unwrap();
        self.succeed();
        let answers = || self.daemon.status().is_ok();
        wait_until(READY_DEADLINE, "the next daemon", answers).unwrap();
    }

    /// Starts another daemon, after the first has ended.
    pub(crate) fn restart(&mut self) {
        self.succeed();
        self.daemon.wait_ready().unwrap();
    }

    /// The same, where not every backend is to take flows.
    pub(crate) fn succeed(&mut self) {
        let binary = binary().unwrap();
        self.daemon =
            Daemon::start(self.balancer, &binary, &self.config_path(), &self.config.socket, DETACH).unwrap();
    }
}

/// A web service for each family, `web4` and `web6`, with the first half of `backends` by `ipip` and the rest by `l2`.
pub(crate) fn web_services(backends: &[Host]) -> Vec<Service> {
    let (tunnelled, direct) = backends.split_at(backends.len() / 2);
    [("web4", VIP4), ("web6", VIP6)]
        .map(|(name, vip)| Service::new(name, (vip, 80).into()).with("ipip", tunnelled).with("l2", direct))
        .into()
}
