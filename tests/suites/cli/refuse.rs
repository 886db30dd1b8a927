//! What `sluice run` refuses: it ends with a message that names the remedy, and leaves nothing behind.

use std::{fs, process::Command};

use lb_tests::{
    balancer::binary,
    bpf::{PassProgram, Pins, object},
    process::{Process, wait_until},
    skip::skip,
};
use rustix::process::Signal;

use crate::site::{Answer, DEADLINE, LOOPBACK, Site, assert_says};

#[test]
fn missing_capabilities_are_named() {
    let site = Site::new();
    for (held, missing) in [
        ("-all", "missing CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON: "),
        ("-all,+sys_admin", "missing CAP_NET_ADMIN: "),
        ("-all,+net_admin,+bpf", "missing CAP_PERFMON: "),
    ] {
        let Some(answer) = run_with(&site, held) else { return };
        assert_says(&answer.error_line(), &[missing, "run sluice as root", "setcap"]);
        site.assert_nothing_left();
    }
}

/// The remedy that the refusal names is one.
#[test]
fn the_named_capabilities_are_enough() {
    let site = Site::new();
    if !has_setpriv() {
        return;
    }
    let mut command = limited(&site, "-all,+net_admin,+bpf,+perfmon");
    command.arg("--detach");
    let mut daemon = Process::spawn(&site.host.netns, "sluice run", &mut command).unwrap();
    wait_until(DEADLINE, "the daemon to forward", || daemon.log().contains("forwarding")).unwrap();
    daemon.signal(Signal::TERM).unwrap();
    assert!(daemon.wait(DEADLINE).unwrap().success());
    site.assert_nothing_left();
}

#[test]
fn unknown_interface_is_refused() {
    let mut site = Site::new();
    site.change("[\"eth0\"]", "[\"eth0\", \"eth9\"]");
    assert_says(&site.refusal(), &["balancer.interfaces", "there is no interface \"eth9\"", "`ip link`"]);
    site.assert_nothing_left();
}

#[test]
fn program_of_somebody_else_stays_attached() {
    let site = Site::new();
    PassProgram::load(&object().unwrap()).unwrap().attach(&site.host.netns, "eth0").unwrap();
    let before = site.program("eth0");
    assert_eq!(before["prog"]["name"], "sluice_pass");
    let remedy = "`ip link set dev eth0 xdp off`";
    assert_says(&site.refusal(), &["eth0 has an XDP program of somebody else", "sluice_pass", remedy]);
    assert_eq!(site.program("eth0"), before);
    assert!(!site.pins.path().exists() && !site.socket().exists());
}

#[test]
fn pin_path_of_another_daemon_is_refused() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let (before, link) = (site.digest(), site.link());
    let (ours, other) = (site.socket(), site.socket().with_file_name("other.sock"));
    let text = site.config.replace(ours.to_str().unwrap(), other.to_str().unwrap());
    let pin_path = site.pins.path().to_str().unwrap();
    let told = site.refusal_of(&site.write("other.toml", &text));
    assert_says(&told, &["another sluice is running with", pin_path, "balancer.pin_path"]);
    assert!(!other.exists());
    assert_eq!((site.digest(), site.link()), (before, link));
}

#[test]
fn socket_of_another_daemon_is_refused() {
    let site = Site::new();
    let _daemon = site.start(&["--detach"]);
    let before = site.digest();
    let other = Pins::unique("other").unwrap();
    let text = site.config.replace(site.pins.path().to_str().unwrap(), other.path().to_str().unwrap());
    let socket = site.socket();
    let told = site.refusal_of(&site.write("other.toml", &text));
    assert_says(&told, &["another sluice answers on", socket.to_str().unwrap(), "balancer.socket"]);
    assert!(!other.path().exists());
    assert_eq!(site.digest(), before);
}

#[test]
fn file_in_the_place_of_the_socket_is_refused_and_left() {
    let site = Site::new();
    let socket = site.write("sluice.sock", "somebody's");
    assert_says(&site.refusal(), &["cannot listen on", "there is a file that is no socket"]);
    assert_eq!(fs::read_to_string(socket).unwrap(), "somebody's");
    assert!(!site.pins.path().exists());
}

#[test]
fn native_mode_is_refused_where_the_driver_has_none() {
    let mut site = Site::new();
    site.change("mode = \"auto\"", "mode = \"native\"");
    site.change("[\"eth0\"]", "[\"lo\"]");
    let told = site.refusal();
    assert_says(&told, &["cannot attach to lo in native mode", "balancer.mode", "\"auto\" or \"generic\""]);
    site.assert_nothing_left();
}

/// The first interface takes the program before the second refuses it.
#[test]
fn start_that_fails_halfway_detaches_what_it_attached() {
    let mut site = Site::new();
    site.change("mode = \"auto\"", "mode = \"native\"");
    site.change("[\"eth0\"]", "[\"eth0\", \"lo\"]");
    assert_says(&site.refusal(), &[&format!("cannot attach to {LOOPBACK}")]);
    site.assert_nothing_left();
}

#[test]
fn pin_path_elsewhere_is_refused() {
    let mut site = Site::new();
    let elsewhere = site.socket().with_file_name("pins").join("deep");
    let pin_path = site.pins.path().to_str().unwrap().to_owned();
    site.change(&pin_path, elsewhere.to_str().unwrap());
    let told = site.refusal();
    assert_says(&told, &[elsewhere.to_str().unwrap(), "not in a BPF file system", "below /sys/fs/bpf"]);
    assert!(!elsewhere.parent().unwrap().exists());
    site.assert_nothing_left();
}

#[test]
fn socket_that_cannot_be_made_is_refused() {
    let mut site = Site::new();
    let blocked = site.write("blocked", "a file").join("sluice.sock");
    let socket = site.socket();
    site.change(socket.to_str().unwrap(), blocked.to_str().unwrap());
    assert_says(&site.refusal(), &[blocked.to_str().unwrap(), "set balancer.socket to a path"]);
    site.assert_nothing_left();
}

#[test]
fn broken_file_is_refused_as_check_refuses_it() {
    let mut site = Site::new();
    site.change("protocol = \"tcp\"", "protocol = \"sctp\"");
    let path = site.config_path();
    let [run, check] = [["run", "--config"].as_slice(), &["check"]]
        .map(|words| site.sluice(&[words, &[path.to_str().unwrap()]].concat()));
    assert_eq!((run.status.code(), check.status.code()), (Some(1), Some(1)));
    assert_says(&run.stderr, &["error: service[0].protocol", "\"sctp\"", "tcp"]);
    assert_eq!(run.stderr, check.stderr);
    site.assert_nothing_left();
}

#[test]
fn log_filter_that_is_none_is_refused() {
    let answer = Site::new().sluice(&["run", "--log", "x=y=z"]);
    assert_says(&answer.error_line(), &["--log: \"x=y=z\" is no filter"]);
    assert_eq!(answer.stderr.matches("error parsing level filter").count(), 1, "{answer:?}");
}

/// Runs `sluice run` with the capabilities `held`, in the words of `setpriv --bounding-set`.
fn run_with(site: &Site, held: &str) -> Option<Answer> {
    let limited = limited(site, held);
    let mut command = Command::new("timeout");
    command.arg("20").arg(limited.get_program()).args(limited.get_args());
    has_setpriv().then(|| site.command(&mut command))
}

/// Root with a smaller bounding set: its files stay readable, which another user's need not be.
fn limited(site: &Site, held: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-all", &format!("--bounding-set={held}")]).arg(binary().unwrap());
    command.args(["run", "--config"]).arg(site.config_path());
    command
}

fn has_setpriv() -> bool {
    let found = Command::new("setpriv").arg("--version").output().is_ok();
    if !found {
        skip("no setpriv (Debian's util-linux) to take capabilities away with");
    }
    found
}
