//! Who gets how much of the new flows when backends fail: shares that real connections get, against what is promised.

use std::{collections::BTreeMap, fs, path::PathBuf};

use lb_tests::{
    balancer::{Daemon, Prepared, READY_DEADLINE, binary},
    bpf::Pins,
    client::{Answers, fetch},
    config::{Config, Service},
    process::wait_until,
    server::Nginx,
    status::{SlowStart, Status},
    temporary,
    topology::{Lan, OTHER_VIP4, VIP4},
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::clinic::lan;

/// Connections by which a share is measured.
const CONNECTIONS: usize = 400;

/// How far a measured share may be off, in connections: four standard deviations of a fair coin.
const TOLERANCE: f64 = 40.0;

/// A running daemon, and backends with nginx at ports 80 and 8080. Fields are dropped in order.
struct Stage<'net> {
    daemon: Daemon<'net>,
    servers: BTreeMap<String, Nginx>,
    lan: &'net Lan,
    _prepared: Vec<Prepared<'net>>,
    socket: PathBuf,
    _pins: Pins,
    files: TempDir,
}

impl<'net> Stage<'net> {
    /// Starts everything, and waits until it is ready. `probe` takes the place of the probe's type.
    fn open(lan: &'net Lan, services: Vec<Service>, probe: impl FnOnce(&TempDir) -> String) -> Self {
        let binary = binary().unwrap();
        let prepare = |host| Prepared::up(host, &binary, &[VIP4, OTHER_VIP4], &["--no-decap"]).unwrap();
        let prepared = lan.backends.iter().map(prepare).collect();
        let servers =
            lan.backends.iter().map(|host| (host.name.clone(), Nginx::start(host).unwrap())).collect();
        let pins = Pins::unique("shares").unwrap();
        let files = temporary::directory("shares").unwrap();
        let socket = files.path().join("sluice.sock");
        let config = Config {
            interfaces: vec!["eth0".to_owned()],
            socket: socket.clone(),
            pin_path: pins.path().to_owned(),
            balancer: "location = \"eu.ams.dc1.rack1\"".to_owned(),
            peers: Vec::new(),
            services,
        };
        let text = config.to_string().replace("type = \"tcp\"\nport = 80", &probe(&files));
        let path = files.path().join("sluice.toml");
        fs::write(&path, text).unwrap();
        let mut daemon = Daemon::start(&lan.balancer, &binary, &path, &socket, &["--detach"]).unwrap();
        daemon.wait_for("all backends to be up", are_up).unwrap();
        Self { daemon, servers, lan, _prepared: prepared, socket, _pins: pins, files }
    }

    fn kill(&mut self, backends: &[&str]) {
        self.servers.retain(|name, _| !backends.contains(&name.as_str()));
        let are_down = |status: &Status| {
            let named = status.services.iter().flat_map(|service| &service.backends);
            named.filter(|one| backends.contains(&one.name.as_str())).all(|backend| backend.health == "down")
        };
        self.daemon.wait_for("the killed to be down", are_down).unwrap();
    }

    fn revive(&mut self, backend: &str) {
        let host = self.lan.backends.iter().find(|host| host.name == backend).unwrap();
        self.servers.insert(backend.to_owned(), Nginx::start(host).unwrap());
    }

    /// Waits until the backends of a service are promised what is `expected`, in per cent, and have it; then sends connections,
    /// and holds what each of those that are up got against that.
    #[track_caller]
    fn measure(&mut self, service: &str, expected: [f64; 4]) -> Answers {
        let is_off = |part: f64, expected: f64| (part * 100.0 - expected).abs() > 0.5;
        let as_expected = |status: &Status| {
            let mut backends = status.service(service).unwrap().backends.iter().zip(expected);
            !backends.any(|(one, expected)| is_off(one.promised, expected) || is_off(one.share, expected))
        };
        let status = self.daemon.wait_for(&format!("{service} to have {expected:?}"), as_expected).unwrap();
        let answers = fetch(&self.lan.client.netns, address(service), CONNECTIONS).unwrap();
        let backends = status.service(service).unwrap().backends.iter().zip(expected);
        for (backend, expected) in backends.filter(|(backend, _)| backend.health == "up") {
            let off = off(answers.of(&backend.name), expected);
            assert!(
                off <= if expected == 0.0 { 0.0 } else { TOLERANCE },
                "{service}/{}: {answers:?}",
                backend.name
            );
        }
        answers
    }

    fn digests(&self) -> Vec<String> {
        digests(&self.daemon.status().unwrap())
    }

    /// Kills the daemon, and starts another one.
    fn kill_and_restart(&mut self) {
        self.daemon.process.signal(Signal::KILL).unwrap();
        self.daemon.process.wait(READY_DEADLINE).unwrap();
        let path = self.files.path().join("sluice.toml");
        let binary = binary().unwrap();
        self.daemon = Daemon::start(&self.lan.balancer, &binary, &path, &self.socket, &["--detach"]).unwrap();
        wait_until(READY_DEADLINE, "the next daemon", || self.daemon.status().is_ok()).unwrap();
    }
}

/// How far so many of all connections are from so many per cent.
fn off(connections: usize, percent: f64) -> f64 {
    let number = |count: usize| f64::from(count as u32);
    (number(connections) - number(CONNECTIONS) * percent / 100.0).abs()
}

fn digests(status: &Status) -> Vec<String> {
    status.services.iter().map(|service| service.digest.clone()).collect()
}

fn are_up(status: &Status) -> bool {
    let mut backends = status.services.iter().flat_map(|service| &service.backends).peekable();
    backends.peek().is_some() && backends.all(|backend| backend.health == "up")
}

/// Where the services are.
fn address(service: &str) -> std::net::SocketAddr {
    match service {
        "levels" => (VIP4, 80),
        "places" => (VIP4, 8080),
        "panicky" => (OTHER_VIP4, 80),
        _ => (OTHER_VIP4, 8080),
    }
    .into()
}

/// A service with lines of its own, and others for each backend.
fn service(lan: &Lan, name: &str, settings: &str, of_backends: [&str; 4]) -> Service {
    let mut service = Service::new(name, address(name)).with("l2", &lan.backends);
    settings.clone_into(&mut service.settings);
    for (backend, settings) in service.backends.iter_mut().zip(of_backends) {
        settings.clone_into(&mut backend.settings);
    }
    service
}

fn tcp(_: &TempDir) -> String {
    "type = \"tcp\"\nport = 80".to_owned()
}

#[test]
fn flows_overflow_spill_over_and_panic_as_promised() {
    let lan = lan(4);
    let standby = "priority = 1";
    let places = ["eu.ams.dc1.rack1", "eu.ams.dc1.rack2", "eu.fra.dc1", "us.nyc.dc1"]
        .map(|place| format!("location = \"{place}\""));
    let places = places.each_ref().map(String::as_str);
    let services = vec![
        service(&lan, "levels", "", ["", "", standby, standby]),
        service(&lan, "places", "prefer = \"near\"", places),
        service(&lan, "panicky", "panic_threshold = \"60%\"", [""; 4]),
        service(&lan, "quiet", "panic_threshold = \"60%\"\npanic = \"none\"\nmin_healthy = 3", [""; 4]),
    ];
    let mut stage = Stage::open(&lan, services, tcp);
    let healthy = stage.digests();
    for (name, expected) in [
        ("levels", [50.0, 50.0, 0.0, 0.0]),
        ("places", [50.0, 50.0, 0.0, 0.0]),
        ("panicky", [25.0; 4]),
        ("quiet", [25.0; 4]),
    ] {
        assert_eq!(stage.measure(name, expected).failures, Vec::<String>::new(), "{name}");
    }

    // Half of the first level is left, which carries 70 % of the flows.
    stage.kill(&["b1"]);
    for (name, expected) in [
        ("levels", [0.0, 70.0, 15.0, 15.0]),
        ("places", [0.0, 70.0, 30.0, 0.0]),
        ("panicky", [0.0, 33.3, 33.3, 33.3]),
    ] {
        assert_eq!(stage.measure(name, expected).failures, Vec::<String>::new(), "{name}");
    }
    assert!(stage.daemon.status().unwrap().service("quiet").unwrap().available);

    // Half of all: two panic, one by giving flows to everybody, the dead included, one by giving none to anybody.
    stage.kill(&["b3"]);
    for (name, expected) in [("levels", [0.0, 70.0, 0.0, 30.0]), ("places", [0.0, 70.0, 0.0, 30.0])] {
        assert_eq!(stage.measure(name, expected).failures, Vec::<String>::new(), "{name}");
    }
    let answers = stage.measure("panicky", [25.0; 4]);
    assert!(off(answers.failures.len(), 50.0) <= TOLERANCE, "{answers:?}");
    let status = stage.daemon.status().unwrap();
    assert_eq!(status.service("panicky").unwrap().probes, "panic");
    let quiet = status.service("quiet").unwrap();
    assert!(quiet.backends.iter().all(|backend| backend.share == 0.0), "{quiet:#?}");
    assert!(!quiet.available && quiet.unavailable.as_deref().unwrap().starts_with("panic"), "{quiet:#?}");

    stage.revive("b3");
    stage.revive("b1");
    let restored = |status: &Status| digests(status) == healthy;
    stage.daemon.wait_for("full health to restore the tables", restored).unwrap();
}

/// The probes are made by a program on the balancer, and that is what fails: nothing is wrong with the backends.
#[test]
fn probes_that_all_fail_at_once_stop_no_flow() {
    let lan = lan(4);
    let services = vec![service(&lan, "open", "", [""; 4])];
    let alive = |files: &TempDir| files.path().join("alive");
    let mut stage = Stage::open(&lan, services, |files| {
        fs::write(alive(files), "").unwrap();
        format!(
            "type = \"exec\"\nport = 80\ncommand = [\"/usr/bin/test\", \"-e\", \"{}\"]",
            alive(files).display()
        )
    });
    let healthy = stage.digests();

    fs::remove_file(alive(&stage.files)).unwrap();
    let all_down = |status: &Status| status.services[0].probes == "all_down";
    let status = stage.daemon.wait_for("probes to be given up", all_down).unwrap();
    assert!(!status.services[0].available, "{status:#?}");
    assert_eq!(stage.digests(), healthy, "they get flows as if they were healthy");
    assert_eq!(stage.measure("open", [25.0; 4]).failures, Vec::<String>::new());

    fs::write(alive(&stage.files), "").unwrap();
    let status = stage.daemon.wait_ready().unwrap();
    assert_eq!(status.services[0].probes, "followed");
    assert!(status.services[0].available, "{status:#?}");
}

#[test]
fn backend_that_comes_up_gets_its_share_in_steps_also_over_a_restart() {
    let lan = lan(4);
    let services = vec![service(&lan, "slow", "slow_start = \"12s\"", [""; 4])];
    let mut stage = Stage::open(&lan, services, tcp);
    let healthy = stage.digests();
    let step = |status: &Status| status.services[0].backend("b1").unwrap().slow_start;
    let status = stage.daemon.status().unwrap();
    assert!(status.services[0].backends.iter().all(|backend| backend.slow_start.is_none()), "{status:#?}");

    stage.kill(&["b1"]);
    stage.revive("b1");
    let second = |status: &Status| step(status) == Some(SlowStart { step: 2 });
    stage.daemon.wait_for("the second step", second).unwrap();
    // Two fifths of a share beside three whole ones.
    stage.measure("slow", [100.0 * 0.4 / 3.4, 100.0 / 3.4, 100.0 / 3.4, 100.0 / 3.4]);

    stage.kill_and_restart();
    let goes_on = |status: &Status| step(status).is_some_and(|slow| slow.step >= 2);
    stage.daemon.wait_for("the start to go on", goes_on).unwrap();
    let status = stage.daemon.wait_for("the end of the start", |status| step(status).is_none()).unwrap();
    assert_eq!(status.services[0].digest, healthy[0], "{status:#?}");
}
