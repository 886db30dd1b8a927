//! Where a daemon runs, for suites that send few packets or none.
//!
//! Both ends of the veth are in one namespace, and nobody answers there: the backends are permanent neighbours without
//! probes, so that their next hops and health are known at once and never change.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use lb_tests::{
    balancer::{Daemon, binary},
    bpf::Pins,
    netns::Netns,
    process::{output, wait_until},
    temporary,
    topology::Host,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a daemon may take to say something, start or end.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Name of the program that balances, where services drop what is malformed, as they do if nothing else is said.
pub(crate) const PROGRAM: &str = "sluice_strict";

/// The device without native XDP, which every namespace has.
pub(crate) const LOOPBACK: &str = "lo";

/// A balancer's host with its configuration.
///
/// ```text
///   eth0 192.0.2.1 --- peer0
///   permanent neighbours on eth0: 192.0.2.11 to .13, 02:00:00:00:00:11 to :13
/// ```
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) pins: Pins,
    /// The text of the configuration. [`Site::save`] puts it into the file.
    pub(crate) config: String,
    files: TempDir,
}

/// What a command has said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Site {
    /// A host whose service `web` has the backends `b1`, `b2` and `b3`.
    pub(crate) fn new() -> Self {
        Self::with_backends(&[1, 2, 3])
    }

    /// The same with the backends in this order.
    pub(crate) fn with_backends(numbers: &[u8]) -> Self {
        let netns = Netns::new("site").unwrap();
        netns.ip("link add eth0 type veth peer name peer0").unwrap();
        netns.ip("address add 192.0.2.1/24 dev eth0").unwrap();
        netns.ip("link set peer0 up").unwrap();
        netns.ip("link set eth0 up").unwrap();
        for number in numbers {
            let neighbour = format!("192.0.2.1{number} lladdr 02:00:00:00:00:1{number} dev eth0");
            netns.ip(&format!("neighbour add {neighbour} nud permanent")).unwrap();
        }
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8:192::1".parse().unwrap());
        let host = Host { name: "site".to_owned(), netns, v4, v6 };
        let (pins, files) = (Pins::unique("site").unwrap(), temporary::directory("site").unwrap());
        let config = config(&files.path().join("sluice.sock"), pins.path(), numbers);
        let site = Self { host, pins, config, files };
        site.save();
        site
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.files.path().join("sluice.sock")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.files.path().join("sluice.toml")
    }

    pub(crate) fn state_path(&self) -> PathBuf {
        self.files.path().join("state.json")
    }

    /// Writes the configuration to its file.
    pub(crate) fn save(&self) {
        self.write("sluice.toml", &self.config);
    }

    /// Replaces one part of the configuration, here and in the file.
    pub(crate) fn change(&mut self, from: &str, to: &str) {
        self.config = changed(&self.config, from, to);
        self.save();
    }

    /// Puts `text` into a file of that name in the place of the one that is there, as an editor does.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (draft, path) = (self.files.path().join("draft"), self.files.path().join(name));
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, Permissions::from_mode(0o640)).unwrap();
        fs::rename(draft, &path).unwrap();
        path
    }

    /// Starts the daemon and waits until it balances.
    pub(crate) fn start(&self, options: &[&str]) -> Daemon<'_> {
        let (binary, socket) = (binary().unwrap(), self.socket());
        let mut daemon = Daemon::start(&self.host, &binary, &self.config_path(), &socket, options).unwrap();
        daemon.wait_for("the service's table", |status| status.services[0].generation > 0).unwrap();
        daemon
    }

    /// Runs `sluice` to its end.
    pub(crate) fn sluice(&self, arguments: &[&str]) -> Answer {
        self.command(Command::new("timeout").arg("20").arg(binary().unwrap()).args(arguments))
    }

    /// Runs `command`, whatever its exit status.
    pub(crate) fn command(&self, command: &mut Command) -> Answer {
        let output = self.host.netns.run(|| command.output()).unwrap().unwrap();
        Answer {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs `sluice run`, which must refuse to, and gives the line that says why.
    pub(crate) fn refusal(&self) -> String {
        self.refusal_of(&self.config_path())
    }

    /// The same with another configuration file.
    pub(crate) fn refusal_of(&self, config: &Path) -> String {
        self.sluice(&["run", "--log", "warn", "--config", config.to_str().unwrap()]).error_line()
    }

    /// Runs `sluice status`.
    pub(crate) fn status(&self) -> String {
        let answer = self.sluice(&["status", "--socket", self.socket().to_str().unwrap()]);
        assert!(answer.status.success(), "{answer:?}");
        answer.stdout
    }

    /// Runs `sluice status --output json`.
    pub(crate) fn status_json(&self) -> Value {
        let socket = self.socket();
        let answer = self.sluice(&["status", "--output", "json", "--socket", socket.to_str().unwrap()]);
        assert!(answer.status.success(), "{answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }

    /// What the status tells of a backend; null where there is none.
    pub(crate) fn backend(&self, name: &str) -> Value {
        let mut status = self.status_json();
        let backends = status["services"][0]["backends"].as_array_mut().unwrap();
        backends.iter_mut().find(|backend| backend["name"] == name).map_or(Value::Null, Value::take)
    }

    /// The entry of the backend of this number, as `bpftool` dumps it.
    pub(crate) fn entry(&self, number: usize) -> Value {
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["map", "dump", "pinned"]).arg(self.pins.path().join("backends"));
        let mut dump: Value = serde_json::from_str(&output(&mut bpftool).unwrap()).unwrap();
        dump[number - 1]["value"].take()
    }

    /// The digest that `sluice status` prints.
    pub(crate) fn digest(&self) -> String {
        let status = self.status();
        status.split("digest ").nth(1).unwrap().split(',').next().unwrap().to_owned()
    }

    /// What `ip` tells of the XDP program on `device`; null where it has none.
    pub(crate) fn program(&self, device: &str) -> Value {
        let mut ip = Command::new("ip");
        let links = self.host.netns.output(ip.args(["-json", "link", "show", "dev", device])).unwrap();
        serde_json::from_str::<Value>(&links).unwrap()[0]["xdp"].clone()
    }

    /// The kernel's number of the link that is pinned for `eth0`.
    pub(crate) fn link(&self) -> u64 {
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["--json", "link", "show", "pinned"]).arg(self.pins.path().join("link-eth0"));
        let link: Value = serde_json::from_str(&output(&mut bpftool).unwrap()).unwrap();
        link["id"].as_u64().unwrap()
    }

    /// Fails where a daemon that is no more has left something. The kernel detaches a link some time after its pin is
    /// gone (`bpf_free_inode` runs after a grace period).
    pub(crate) fn assert_nothing_left(&self) {
        let detached = || [self.program("eth0"), self.program(LOOPBACK)] == [Value::Null, Value::Null];
        wait_until(DEADLINE, "the programs to be detached", detached).unwrap();
        assert!(!self.pins.path().exists(), "{} is still there", self.pins.path().display());
        assert!(!self.socket().exists(), "{} is still there", self.socket().display());
    }
}

impl Answer {
    /// The one line in which a failed command says why, without its `error: `.
    pub(crate) fn error_line(&self) -> String {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        let (line, rest) = self.stderr.split_once('\n').unwrap();
        assert_eq!(rest, "", "more than one line");
        line.strip_prefix("error: ").unwrap().to_owned()
    }
}

/// `text` with the one place that says `from` saying `to`.
pub(crate) fn changed(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
    text.replace(from, to)
}

/// Fails where `text` lacks one of `parts`.
#[track_caller]
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

fn config(socket: &Path, pin_path: &Path, backends: &[u8]) -> String {
    let state = socket.with_file_name("state.json");
    let (socket, pin_path, state) = (socket.display(), pin_path.display(), state.display());
    let balancer = format!(
        "interfaces = [\"eth0\"]\nsocket = \"{socket}\"\npin_path = \"{pin_path}\"\nstate_path = \"{state}\""
    );
    let backends = backends.iter().map(|number| {
        format!("\n[[service.backend]]\nname = \"b{number}\"\naddress = \"192.0.2.1{number}\"\n")
    });
    format!("[balancer]\nmode = \"auto\"\n{balancer}\n{FLEET}{}", backends.collect::<String>())
}

/// What is the same at every site.
const FLEET: &str = r#"
[fleet]
seed = "000102030405060708090a0b0c0d0e0f"

[limits]
services = 16
backends = 64
slots = 20000
connections = 1024

[[service]]
name = "web"
address = "203.0.113.10"
port = 80
protocol = "tcp"
forwarding = "l2"
slots = 4099
probe = { type = "none" }
"#;
