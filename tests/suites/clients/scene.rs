//! What every test starts from: a balancer on two interfaces whose backends are up, and who answers for what it does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use lb_common::counter::{Fate, Reason};
use lb_tests::{
    balancer::{Daemon, Prepared, READY_DEADLINE, binary},
    bpf::Pins,
    config::{Config, Service},
    server::Nginx,
    status::Status,
    temporary,
    topology::Routed,
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::mode::{Case, Mode, POOL};

/// A running balancer, and backends that are set up for the VIPs of all cases. Fields are dropped in order.
pub(crate) struct Scene<'net> {
    pub(crate) daemon: Daemon<'net>,
    pub(crate) config: Config,
    /// One on each backend. The probes ask it.
    pub(crate) servers: Vec<Nginx>,
    _prepared: Vec<Prepared<'net>>,
    pins: Pins,
    files: TempDir,
}

impl<'net> Scene<'net> {
    /// Sets the backends up, starts the daemon with `services`, and waits until it is ready.
    pub(crate) fn start(network: &'net Routed, services: Vec<Service>) -> Self {
        Self::serving(network, services, "")
    }

    /// The same, where every nginx has a further server.
    pub(crate) fn serving(network: &'net Routed, services: Vec<Service>, server: &str) -> Self {
        Self::with(network, services, server, translating())
    }

    /// The same, where nothing can be translated.
    pub(crate) fn without_nat(network: &'net Routed, services: Vec<Service>) -> Self {
        Self::with(network, services, "", String::new())
    }

    fn with(network: &'net Routed, services: Vec<Service>, server: &str, balancer: String) -> Self {
        let binary = binary().unwrap();
        let on_backends = Case::all().filter(|case| case.mode != Mode::Nat);
        let vips: Vec<_> = on_backends.map(Case::vip).collect();
        let prepare = |host| Prepared::up(host, &binary, &vips, &[]).unwrap();
        let prepared = network.backends.iter().map(prepare).collect();
        let servers = network.backends.iter().map(|host| Nginx::start_with(host, server).unwrap()).collect();
        let pins = Pins::unique("balancer").unwrap();
        let files = temporary::directory("balancer").unwrap();
        let config = Config {
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            socket: files.path().join("sluice.sock"),
            pin_path: pins.path().to_owned(),
            balancer,
            peers: Vec::new(),
            services,
        };
        let path = config_path(&files);
        fs::write(&path, config.to_string()).unwrap();
        let mut daemon =
            Daemon::start(&network.balancer, &binary, &path, &config.socket, &["--detach"]).unwrap();
        daemon.wait_ready().unwrap();
        Self { daemon, config, servers, _prepared: prepared, pins, files }
    }

    /// Writes [`Scene::config`] to the file, as an editor does, and waits until the status meets `condition`.
    pub(crate) fn reload(&mut self, what: &str, condition: impl Fn(&Status) -> bool) {
        self.save_config();
        self.daemon.wait_for(what, condition).unwrap();
    }

    fn save_config(&self) {
        let draft = self.files.path().join("draft");
        fs::write(&draft, self.config.to_string()).unwrap();
        fs::rename(draft, config_path(&self.files)).unwrap();
    }

    /// Kills the daemon, and starts another one with what `change` makes of the configuration and of the pins.
    pub(crate) fn kill_and_change(&mut self, network: &'net Routed, change: impl FnOnce(&mut Config, &Path)) {
        self.kill();
        change(&mut self.config, self.pins.path());
        self.save_config();
        self.restart(network);
    }

    /// Kills the daemon, and starts another one with further limits.
    pub(crate) fn restart_with_limits(&mut self, network: &'net Routed, limits: &str) {
        let text = self.config.to_string().replace("[limits]", &format!("[limits]\n{limits}"));
        fs::write(config_path(&self.files), text).unwrap();
        self.kill_and_restart(network);
    }

    /// Kills the daemon, and starts another one that goes on where that was.
    pub(crate) fn kill_and_restart(&mut self, network: &'net Routed) {
        self.kill();
        self.restart(network);
    }

    fn kill(&mut self) {
        self.daemon.process.signal(Signal::KILL).unwrap();
        self.daemon.process.wait(READY_DEADLINE).unwrap();
    }

    fn restart(&mut self, network: &'net Routed) {
        let path = config_path(&self.files);
        let start =
            Daemon::start(&network.balancer, &binary().unwrap(), &path, &self.config.socket, &["--detach"]);
        self.daemon = start.unwrap();
        self.daemon.wait_ready().unwrap();
    }

    /// Fails where the balancer dropped a packet, but for the `expected` reasons. Gives its status.
    pub(crate) fn dropped_nothing_but(&self, expected: &[Reason]) -> Status {
        let status = self.daemon.status().unwrap();
        let is_drop = |reason: &Reason| reason.fate() == Fate::Drop && !expected.contains(reason);
        let drops = Reason::ALL
            .into_iter()
            .filter(is_drop)
            .map(|reason| (reason.name(), status.reason(reason.name())));
        let drops: BTreeMap<_, _> = drops.filter(|(_, packets)| *packets > 0).collect();
        assert!(drops.is_empty(), "dropped: {drops:?}");
        status
    }
}

/// What lets packets be translated.
pub(crate) fn translating() -> String {
    format!("[balancer.nat]\naddresses = {:?}", POOL.map(|address| address.to_string()))
}

fn config_path(files: &TempDir) -> PathBuf {
    files.path().join("sluice.toml")
}
