//! HAProxy, whose agent tells what becomes of the server behind it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use lb_tests::{
    process::{Process, wait_until},
    temporary,
    topology::Host,
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::clinic::{Clinic, DEADLINE, Patient, lan};

const AGENT: u16 = 9777;

/// The words of the agent, by the state of the server.
const SCRIPT: &str = r#"
core.register_service("agent", "tcp", function(applet)
  local stats = core.backends["site"].servers["s1"]:get_stats()
  local status = stats["status"]
  local word = "up ready"
  if status:find("^DRAIN") then word = "drain"
  elseif status:find("^MAINT") then word = "maint"
  elseif status:find("^DOWN") then word = "down#its server is down" end
  applet:send(stats["weight"] .. "% " .. word .. "\n")
end)
"#;

/// A balancer of its own: the web at 80, its agent at [`AGENT`], and the server behind it.
struct Haproxy {
    process: Process,
    directory: TempDir,
}

impl Haproxy {
    fn start(host: &Host) -> Self {
        let directory = temporary::directory("haproxy").unwrap();
        fs::write(directory.path().join("agent.lua"), SCRIPT).unwrap();
        fs::write(directory.path().join("haproxy.cfg"), configuration(directory.path())).unwrap();
        let process = run(host, directory.path());
        Self { process, directory }
    }

    /// Gives a command to its stats socket, and takes the answer.
    fn tell(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(socket(self.directory.path())).unwrap();
        writeln!(socket, "{command}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("stats.sock")
}

fn configuration(directory: &Path) -> String {
    format!(
        "global\nstats socket {} mode 600 level admin\nlua-load {}\n\
         defaults\nmode http\ntimeout connect 1s\ntimeout client 5s\ntimeout server 5s\n\
         frontend web\nbind :80\ndefault_backend site\n\
         backend site\nserver s1 127.0.0.1:81 weight 100 check inter 100ms fastinter 100ms fall 1 rise 1\n\
         frontend origin\nbind 127.0.0.1:81\nhttp-request return status 200 content-type text/plain string ready\n\
         frontend agent\nmode tcp\nbind :{AGENT}\ntcp-request content use-service lua.agent\n",
        socket(directory).display(),
        directory.join("agent.lua").display()
    )
}

fn run(host: &Host, directory: &Path) -> Process {
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(directory.join("haproxy.cfg"));
    let mut process = Process::spawn(&host.netns, "haproxy", &mut command).unwrap();
    let listens = || host.netns.run(|| TcpStream::connect((host.v4, AGENT)).is_ok()).unwrap();
    wait_until(DEADLINE, "haproxy", || !process.is_running() || listens()).unwrap();
    process.check().unwrap();
    process
}

#[test]
fn haproxys_agent_says_what_becomes_of_its_server() {
    let lan = lan(2);
    let mut haproxy = Haproxy::start(&lan.backends[0]);
    let _other = Haproxy::start(&lan.backends[1]);
    let patients = [
        Patient::tcp("agent", format!("type = \"agent\"\nport = {AGENT}")),
        Patient::tcp("web", "type = \"http\"\nport = 80\nbody = \"ready\""),
    ];
    let mut clinic = Clinic::open(&lan, &patients);

    haproxy.tell("set server site/s1 weight 50%");
    clinic.wait("agent", "half its weight", |b1| {
        b1.says.as_deref() == Some("ready, 50%") && (0.32..0.35).contains(&b1.share)
    });

    haproxy.tell("set server site/s1 state drain");
    clinic.wait("agent", "a drain", |b1| b1.says.as_deref() == Some("drain, 50%") && b1.share == 0.0);
    haproxy.tell("set server site/s1 state maint");
    clinic.wait("agent", "maintenance", |b1| b1.says.as_deref() == Some("maint, 50%") && b1.share == 0.0);
    clinic.wait_down(&["web"], "status 503, expected 200-299");
    haproxy.tell("set server site/s1 state ready");
    haproxy.tell("set server site/s1 weight 100%");
    clinic.wait_up(&["agent", "web"]);

    haproxy.tell("disable frontend origin");
    clinic.wait_down(&["agent"], "the agent says down: its server is down");
    clinic.wait_down(&["web"], "status 503, expected 200-299");
    haproxy.tell("enable frontend origin");
    clinic.wait_up(&["agent", "web"]);

    haproxy.process.signal(Signal::KILL).unwrap();
    clinic.wait_down(&["agent", "web"], "connection refused");
    haproxy.process.wait(DEADLINE).unwrap();
    haproxy.process = run(&lan.backends[0], haproxy.directory.path());
    clinic.wait_up(&["agent", "web"]);
}
