//! Where roll-outs are played: a balancer with a web service, whose backends answer with their names, and a client.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Write as _, process::Command, thread};

use lb_tests::{
    balancer::{Daemon, Prepared, READY_DEADLINE, binary},
    bpf::Pins,
    client::{Answers, fetch_url},
    config::{Config, Service},
    server::Nginx,
    status::{self, Status},
    temporary,
    topology::{Lan, VIP4},
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Fields are dropped in order.
pub(crate) struct Stage<'net> {
    pub(crate) daemon: Daemon<'net>,
    pub(crate) servers: BTreeMap<String, Nginx>,
    config: Config,
    lan: &'net Lan,
    _prepared: Vec<Prepared<'net>>,
    _pins: Pins,
    files: TempDir,
    table: String,
    /// Measurements so far.
    steps: u8,
}

impl<'net> Stage<'net> {
    /// Starts the daemon; the service has these keys, and the first backends these versions. Others are not in the file.
    pub(crate) fn set(lan: &'net Lan, keys: &str, versions: &[&str]) -> Self {
        let binary = binary().unwrap();
        let prepare = |host| Prepared::up(host, &binary, &[VIP4], &["--no-decap"]).unwrap();
        let prepared = lan.backends.iter().map(prepare).collect();
        let server = |host: &'net lb_tests::topology::Host| (host.name.clone(), Nginx::start(host).unwrap());
        let servers = lan.backends.iter().map(server).collect();
        let (pins, files) = (Pins::unique("stage").unwrap(), temporary::directory("stage").unwrap());
        let config = Config {
            interfaces: vec!["eth0".to_owned()],
            socket: files.path().join("sluice.sock"),
            pin_path: pins.path().to_owned(),
            balancer: String::new(),
            peers: Vec::new(),
            services: Vec::new(),
        };
        let config = with_service(config, lan, keys, versions);
        let path = files.path().join("sluice.toml");
        fs::write(&path, config.to_string()).unwrap();
        let daemon = Daemon::start(&lan.balancer, &binary, &path, &config.socket, &["--detach"]).unwrap();
        let table = String::new();
        let mut stage =
            Self { daemon, servers, config, lan, _prepared: prepared, _pins: pins, files, table, steps: 0 };
        stage.wait("everybody to be up", |status| {
            status.backends.iter().all(|backend| backend.health == "up")
        });
        stage
    }

    /// Writes another service of these keys and versions, and waits until the daemon has followed.
    pub(crate) fn rewrite(&mut self, keys: &str, versions: &[&str]) {
        let reloads = self.log().matches("configuration reloaded").count();
        self.config = with_service(self.config.clone(), self.lan, keys, versions);
        let draft = self.files.path().join("draft");
        fs::write(&draft, self.config.to_string()).unwrap();
        fs::rename(draft, self.files.path().join("sluice.toml")).unwrap();
        let process = &self.daemon.process;
        let told = || process.log().matches("configuration reloaded").count() > reloads;
        lb_tests::process::wait_until(READY_DEADLINE, "the reload", told).unwrap();
        self.wait("everybody to be up", |status| {
            status.backends.iter().all(|backend| backend.health == "up")
        });
    }

    /// Kills the daemon, and starts another one. What it has said is given.
    pub(crate) fn kill_and_restart(&mut self) {
        self.daemon.process.signal(Signal::KILL).unwrap();
        self.daemon.process.wait(READY_DEADLINE).unwrap();
        let path = self.files.path().join("sluice.toml");
        let (binary, socket) = (binary().unwrap(), &self.config.socket);
        self.daemon = Daemon::start(&self.lan.balancer, &binary, &path, socket, &["--detach"]).unwrap();
        self.wait("the next daemon", |status| status.generation > 0);
    }

    pub(crate) fn log(&self) -> String {
        self.daemon.process.log()
    }

    /// Runs `sluice` on the balancer, and gives what it printed.
    pub(crate) fn sluice(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary().unwrap());
        command.args(arguments).arg("--socket").arg(&self.config.socket);
        self.lan.balancer.netns.output(&mut command).unwrap()
    }

    /// The history of a backend, as the command gives it: what has changed, and what it is since.
    pub(crate) fn history(&self, backend: &str) -> Vec<(String, String)> {
        let text = self.sluice(&["history", backend, "--output", "json"]);
        let told: Value = serde_json::from_str(&text).unwrap();
        let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
        let changes = told[0]["history"].as_array().unwrap();
        changes.iter().map(|change| (text(change, "what"), text(change, "is"))).collect()
    }

    /// Waits until the service is as `condition` says.
    #[track_caller]
    pub(crate) fn wait(
        &mut self,
        what: &str,
        condition: impl Fn(&status::Service) -> bool,
    ) -> status::Service {
        let met = |status: &Status| status.service("web").is_some_and(&condition);
        match self.daemon.wait_for(what, met) {
            Ok(status) => status.service("web").unwrap().clone(),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Takes a backend's server away until it is down, or gives it back until it is up.
    pub(crate) fn turn(&mut self, backend: &str, health: &str) {
        if health == "down" {
            self.servers.remove(backend);
        } else {
            let host = self.lan.backends.iter().find(|host| host.name == backend).unwrap();
            self.servers.insert(backend.to_owned(), Nginx::start(host).unwrap());
        }
        self.wait(&format!("{backend} to be {health}"), |status| {
            status.backend(backend).is_some_and(|backend| backend.health == health)
        });
    }

    /// Opens `count` connections from an address that had none yet, since a flow of before may be remembered for a while
    /// after its end, and its port be used again. Notes in the table which share of them each version has got, and gives
    /// these shares in per cent.
    pub(crate) fn measure(&mut self, step: &str, versions: &[&str], count: usize) -> BTreeMap<String, f64> {
        const CLIENTS: usize = 2;
        let client = &self.lan.client.netns;
        self.steps += 1;
        let address = format!("198.51.100.{}", 100 + self.steps);
        client.ip(&format!("address add {address}/24 dev eth0")).unwrap();
        let (url, options) = (format!("http://{VIP4}/"), ["--interface", &address]);
        let answers = thread::scope(|scope| {
            let some = || fetch_url(client, &url, count / CLIENTS, &options).unwrap();
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(some)).collect();
            clients.into_iter().fold(Answers::default(), |mut all, client| {
                all.add(client.join().unwrap());
                all
            })
        });
        assert_eq!(answers.failures, [] as [&str; 0], "{step}");
        let mut shares: BTreeMap<String, f64> =
            versions.iter().map(|version| ((*version).to_owned(), 0.0)).collect();
        for (number, version) in (1..).zip(versions) {
            let answered = answers.of(&format!("b{number}"));
            *shares.get_mut(*version).unwrap() += percent(answered, answers.answered());
        }
        self.note(step, &shares, answers.answered());
        shares
    }

    fn note(&mut self, step: &str, shares: &BTreeMap<String, f64>, count: usize) {
        let shares: Vec<_> =
            shares.iter().map(|(version, share)| format!("{version} {share:6.2} %")).collect();
        writeln!(self.table, "  {step:<58} {:<36} of {count} connections", shares.join("   ")).unwrap();
    }

    /// Shows what was noted, also where the test passes.
    pub(crate) fn show(&self) {
        let _ = write!(
            std::io::stderr(),
            "\nshares of new flows, as clients' connections were answered\n{}",
            self.table
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "connections are few")]
fn percent(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64 * 100.0
}

fn with_service(mut config: Config, lan: &Lan, keys: &str, versions: &[&str]) -> Config {
    let mut service =
        Service::new("web", (VIP4, 80).into()).with("l2", lan.backends.iter().take(versions.len()));
    keys.clone_into(&mut service.settings);
    for (backend, version) in service.backends.iter_mut().zip(versions) {
        backend.settings = format!("version = \"{version}\"");
    }
    config.services = vec![service];
    config
}
