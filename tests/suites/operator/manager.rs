//! What a service manager is told, and with what it may confine the daemon.

use std::{
    fs,
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use lb_tests::{balancer::binary, process::Process, skip::skip};
use rustix::process::Signal;
use serde_json::Value;

use crate::site::{DEADLINE, Site};

/// As `examples/sluice.service` has it, a hundred times as often.
const WATCHDOG: Duration = Duration::from_millis(300);

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/sluice.service")
}

/// What the unit leaves the daemon, as `setpriv` takes it.
fn capabilities() -> String {
    let unit = fs::read_to_string(unit()).unwrap();
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let kept = set.split(' ').map(|name| format!(",+{}", name.strip_prefix("CAP_").unwrap().to_lowercase()));
    format!("-all{}", kept.collect::<String>())
}

/// The socket that a service manager listens on.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(site: &Site) -> Self {
        let path = site.socket().with_file_name("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    /// The next thing that it is told.
    fn hear(&self) -> String {
        let mut told = [0; 1024];
        match self.socket.recv(&mut told) {
            Ok(length) => String::from_utf8(told[..length].to_vec()).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing is told any more"),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next thing that begins so; everything else that is told before it is left out.
    fn hear_of(&self, what: &str) -> String {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            let told = self.hear();
            if told.starts_with(what) {
                return told;
            }
        }
        panic!("{what} is not told");
    }

    /// Starts the daemon as the unit does.
    fn start(&self, site: &Site) -> Process {
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set").arg(capabilities()).arg(binary().unwrap());
        command.args(["run", "--detach", "--config"]).arg(site.config_path());
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Process::spawn(&site.host.netns, "sluice run", &mut command).unwrap()
    }
}

#[test]
fn manager_hears_of_each_stage_of_a_daemon_with_the_rights_of_the_unit() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let mut daemon = manager.start(&site);

    let first = manager.hear();
    assert_ne!(site.program("eth0"), Value::Null, "it is ready before it forwards");
    let status = "STATUS=forwarding 1 services, 0 not available; 3 backends, 0 down";
    assert_eq!(first, format!("READY=1\n{status}\n"), "{}", daemon.log());
    for _ in 0..3 {
        manager.hear_of("WATCHDOG=1");
    }

    daemon.signal(Signal::HUP).unwrap();
    let reloading = manager.hear_of("RELOADING=1");
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(since.parse::<u64>().unwrap() > 0, "{reloading}");
    manager.hear_of("READY=1");

    daemon.signal(Signal::TERM).unwrap();
    manager.hear_of("STOPPING=1");
    assert!(daemon.wait(DEADLINE).unwrap().success(), "{}", daemon.log());
    site.assert_nothing_left();
}

#[test]
fn unit_is_one_that_systemd_reads() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skip("there is no systemd-analyze");
        return;
    }
    let site = Site::new();
    let text = fs::read_to_string(unit()).unwrap();
    let binary = binary().unwrap().canonicalize().unwrap();
    let path = site.write("sluice.service", &text.replace("/usr/local/bin/sluice", binary.to_str().unwrap()));
    let answer = site.command(Command::new("systemd-analyze").arg("verify").arg(&path));
    assert!(answer.status.success(), "{answer:?}");
    // Units of the host's own may have something to be said of them.
    let ours: Vec<_> = answer.stderr.lines().filter(|line| line.contains("sluice.service")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn log_for_programs_is_an_object_for_each_line() {
    let site = Site::new();
    let daemon = site.start(&["--log-format", "json"]);
    let log = daemon.process.log();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let published = lines.iter().find(|line| line["generation"] == 1).unwrap_or_else(|| panic!("{log}"));
    assert_eq!(published["service"], "web", "{published}");
    assert_eq!(published["message"], "table published, since the service is new", "{published}");
}
