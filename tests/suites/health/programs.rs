//! `grpc` against etcd, and `exec`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use lb_tests::{
    process::{Process, wait_until},
    temporary,
    topology::Host,
};
use rustix::process::Signal;

use crate::clinic::{Clinic, DEADLINE, Patient, lan};

/// etcd, which tells its health by gRPC at 2379.
fn etcd(host: &Host, data: &Path) -> Process {
    let url = format!("http://{}:2379", host.v4);
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(data).args(["--log-level", "warn", "--listen-client-urls", &url]);
    command.args(["--advertise-client-urls", &url, "--listen-peer-urls", "http://127.0.0.1:2380"]);
    let mut process = Process::spawn(&host.netns, "etcd", &mut command).unwrap();
    let listens = || host.netns.run(|| std::net::TcpStream::connect((host.v4, 2379)).is_ok()).unwrap();
    wait_until(DEADLINE, "etcd", || !process.is_running() || listens()).unwrap();
    process.check().unwrap();
    process
}

#[test]
fn grpc_server_says_that_it_serves() {
    let lan = lan(1);
    let host = &lan.backends[0];
    let data = temporary::directory("etcd").unwrap();
    let server = etcd(host, data.path());
    let asks = "type = \"grpc\"\nport = 2379";
    let mut clinic = Clinic::admit(
        &lan,
        &[
            Patient::tcp("etcd", asks),
            // A server that has just started may be slow with its first answers, which is not what it is to be down for.
            Patient::tcp("stranger", format!("{asks}\ngrpc_service = \"nobody.Knows\"\ngrace = \"2s\"")),
        ],
    );
    clinic.wait_up(&["etcd"]);
    let reason = "grpc-status NOT_FOUND, it does not know that service: unknown service";
    clinic.wait_down(&["stranger"], reason);

    server.signal(Signal::STOP).unwrap();
    clinic.wait_down(&["etcd"], "timed out after 300ms, waiting for the answer");
    server.signal(Signal::CONT).unwrap();
    clinic.wait_up(&["etcd"]);

    drop(server);
    clinic.wait_down(&["etcd"], "connection refused");
    let _server = etcd(host, data.path());
    clinic.wait_up(&["etcd"]);
}

#[test]
fn program_judges_a_backend() {
    let lan = lan(1);
    let files = temporary::directory("exec").unwrap();
    let (program, verdict) = (files.path().join("check"), files.path().join("verdict"));
    fs::write(&program, "#!/bin/sh\n. \"$1\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let says = |script: &str| {
        // Another file in its place: a program that runs has read the one before, or reads this one.
        fs::write(verdict.with_extension("draft"), script).unwrap();
        fs::rename(verdict.with_extension("draft"), &verdict).unwrap();
    };
    says("exit 0");
    let command = format!("type = \"exec\"\ncommand = [{program:?}, {verdict:?}]");
    let mut clinic = Clinic::open(&lan, &[Patient::tcp("replica", command)]);

    says("echo $SLUICE_ADDRESS lags; exit 2");
    clinic.wait_down(&["replica"], &format!("exit status 2: {} lags", lan.backends[0].v4));
    says("exit 0");
    clinic.wait_up(&["replica"]);

    says("sleep 1000");
    clinic.wait_down(&["replica"], "timed out after 300ms, waiting for the program's end");
    says("exit 0");
    clinic.wait_up(&["replica"]);
}
