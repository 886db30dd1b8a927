//! `udp`, `dns` and `icmp`.

use std::process::Command;

use lb_tests::{
    process::{Process, wait_until},
    topology::Host,
};
use rustix::process::Signal;

use crate::{
    clinic::{Clinic, DEADLINE, Patient, lan},
    listener::datagrams,
};

/// What dnsmasq knows.
const RECORD: &str = "--host-record=health.example.org,192.0.2.1";

/// A DNS server that knows nothing but `options`, and nobody to ask.
fn dnsmasq(host: &Host, options: &[&str]) -> Process {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--no-resolv"]);
    command
        .args(["--no-hosts", "--local=/example.org/", "--user=root", "--pid-file=", "--port=53"])
        .args(options);
    let mut process = Process::spawn(&host.netns, "dnsmasq", &mut command).unwrap();
    let listens = || host.netns.run(|| std::net::TcpStream::connect((host.v4, 53)).is_ok()).unwrap();
    wait_until(DEADLINE, "dnsmasq", || !process.is_running() || listens()).unwrap();
    process.check().unwrap();
    process
}

#[test]
fn dns_server_is_judged_by_code_and_record() {
    let lan = lan(1);
    let host = &lan.backends[0];
    let server = dnsmasq(host, &[RECORD]);
    let asks = "type = \"dns\"\nport = 53\nquery = \"health.example.org\"";
    let mut clinic = Clinic::open(&lan, &[Patient::udp("dns", asks)]);

    drop(server);
    clinic.wait_down(&["dns"], "connection refused");
    let server = dnsmasq(host, &[RECORD]);
    clinic.wait_up(&["dns"]);

    server.signal(Signal::STOP).unwrap();
    clinic.wait_down(&["dns"], "timed out after 300ms, waiting for the answer");
    server.signal(Signal::CONT).unwrap();
    clinic.wait_up(&["dns"]);
}

#[test]
fn missing_record_is_named() {
    let lan = lan(1);
    let _server = dnsmasq(&lan.backends[0], &[RECORD]);
    let asks = |record: &str, name: &str| {
        format!("type = \"dns\"\nport = 53\nquery = \"{name}\"\nrecord = \"{record}\"")
    };
    let mut clinic = Clinic::admit(
        &lan,
        &[
            Patient::udp("there", asks("A", "health.example.org")),
            Patient::udp("other", asks("AAAA", "health.example.org")),
            Patient::udp("strange", asks("A", "health.example.net")),
            Patient::udp("absent", asks("A", "nobody.example.org")),
            Patient::udp("empty", format!("{}\nrcode = \"NXDOMAIN\"", asks("A", "nobody.example.org"))),
        ],
    );
    clinic.wait_up(&["there", "empty"]);
    clinic.wait_down(&["other"], "health.example.org has no AAAA record");
    clinic.wait_down(&["strange"], "REFUSED, expected NOERROR");
    clinic.wait_down(&["absent"], "NXDOMAIN, expected NOERROR");
}

#[test]
fn datagrams_are_answered_as_expected() {
    let lan = lan(1);
    let echo = datagrams(&lan.backends[0], 7000, "pong");
    let asks = "type = \"udp\"\nport = 7000\nsend = \"ping\"\nexpect = \"hex:706f6e67\"";
    let silent = "type = \"udp\"\nport = 7001\nsend = \"ping\"";
    let mut clinic = Clinic::admit(&lan, &[Patient::udp("echo", asks), Patient::udp("closed", silent)]);
    clinic.wait_up(&["echo"]);
    clinic.wait_down(&["closed"], "connection refused");
    echo.set("busy");
    clinic.wait_down(&["echo"], "the answer \"busy\" does not hold \"pong\"");
    echo.set("pong");
    clinic.wait_up(&["echo"]);
}

#[test]
fn host_is_judged_by_its_echo() {
    let lan = lan(1);
    let host = &lan.backends[0];
    let mut clinic = Clinic::open(&lan, &[Patient::tcp("echo", "type = \"icmp\"")]);
    host.netns.set_sysctl("ipv4/icmp_echo_ignore_all", "1").unwrap();
    clinic.wait_down(&["echo"], "timed out after 300ms, waiting for the echo reply");
    host.netns.set_sysctl("ipv4/icmp_echo_ignore_all", "0").unwrap();
    clinic.wait_up(&["echo"]);
}
