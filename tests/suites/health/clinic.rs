//! A balancer with services that differ in their probes alone.

use std::{fmt::Write as _, fs, net::IpAddr, time::Duration};

use lb_tests::{
    balancer::{Daemon, binary},
    bpf::{self, Pins},
    status::{Backend, Status},
    temporary,
    topology::{Host, Lan, VIP4},
};
use tempfile::TempDir;

use crate::PACE;

/// How long a server may take to start or to end.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What is probed how.
pub(crate) struct Patient {
    /// Name of the service.
    pub(crate) name: &'static str,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Further keys of the service.
    pub(crate) keys: &'static str,
    /// The probe's own keys.
    pub(crate) probe: String,
    /// The address of the service.
    pub(crate) vip: IpAddr,
    /// How its packets get to backends.
    pub(crate) forwarding: &'static str,
    /// Further keys of each backend.
    pub(crate) backend_keys: &'static str,
    /// Which way its probes take. Most backends here are no backends but servers, and serve no VIP.
    pub(crate) via: &'static str,
}

impl Patient {
    pub(crate) fn tcp(name: &'static str, probe: impl Into<String>) -> Self {
        let probe = probe.into();
        let (keys, backend_keys) = ("", "");
        Self { name, protocol: "tcp", keys, probe, vip: VIP4, forwarding: "l2", backend_keys, via: "direct" }
    }

    pub(crate) fn udp(name: &'static str, probe: impl Into<String>) -> Self {
        Self { protocol: "udp", ..Self::tcp(name, probe) }
    }

    /// The same, probed at the VIP by the path of traffic.
    pub(crate) fn by_path(self, vip: IpAddr, forwarding: &'static str) -> Self {
        Self { vip, forwarding, via: "path", ..self }
    }
}

/// A running daemon that probes the backends of `lan`. Fields are dropped in order.
pub(crate) struct Clinic<'net> {
    pub(crate) daemon: Daemon<'net>,
    pub(crate) pins: Pins,
    _files: TempDir,
}

/// Where translated flows have their addresses from.
const POOL: &str = "198.51.100.250";

/// A network with that many backends.
pub(crate) fn lan(backends: u8) -> Lan {
    Lan::with_backends(&bpf::object().unwrap(), backends).unwrap()
}

impl<'net> Clinic<'net> {
    /// Starts the daemon, and waits until every backend of every service is up.
    pub(crate) fn open(lan: &'net Lan, patients: &[Patient]) -> Self {
        let mut clinic = Self::admit(lan, patients);
        clinic.daemon.wait_ready().unwrap();
        clinic
    }

    /// Starts the daemon.
    pub(crate) fn admit(lan: &'net Lan, patients: &[Patient]) -> Self {
        let (pins, files) = (Pins::unique("clinic").unwrap(), temporary::directory("clinic").unwrap());
        let (config, socket) = (files.path().join("sluice.toml"), files.path().join("sluice.sock"));
        let mut text = format!(
            "[balancer]\ninterfaces = [\"eth0\"]\nsocket = \"{}\"\npin_path = \"{}\"\nstate_path = \"{}\"\n{LIMITS}",
            socket.display(),
            pins.path().display(),
            files.path().join("state.json").display()
        );
        if patients.iter().any(|patient| patient.forwarding == "nat") {
            lan.balancer.netns.ip(&format!("address add {POOL}/24 dev eth0")).unwrap();
            write!(text, "[balancer.nat]\naddresses = [\"{POOL}\"]\n").unwrap();
        }
        for (patient, port) in patients.iter().zip(2000..) {
            write!(text, "{}", service(patient, port, &lan.backends)).unwrap();
        }
        fs::write(&config, text).unwrap();
        let daemon =
            Daemon::start(&lan.balancer, &binary().unwrap(), &config, &socket, &["--detach"]).unwrap();
        Self { daemon, pins, _files: files }
    }

    /// Waits until `b1` of each service is down, for that reason.
    #[track_caller]
    pub(crate) fn wait_down(&mut self, services: &[&str], reason: &str) {
        let end = format!(": {reason}");
        for service in services {
            self.wait(service, reason, |b1| b1.health == "down" && b1.reason.ends_with(&end));
        }
    }

    /// Waits until `b1` of each service is up.
    #[track_caller]
    pub(crate) fn wait_up(&mut self, services: &[&str]) {
        for service in services {
            self.wait(service, "up", |b1| b1.health == "up" && b1.share > 0.0);
        }
    }

    /// Waits until `b1` of `service` is as `condition` says.
    #[track_caller]
    pub(crate) fn wait(
        &mut self,
        service: &str,
        what: &str,
        condition: impl Fn(&Backend) -> bool,
    ) -> Backend {
        let b1 = |status: &Status| status.service(service).and_then(|service| service.backend("b1")).cloned();
        let met = |status: &Status| b1(status).is_some_and(|backend| condition(&backend));
        match self.daemon.wait_for(&format!("{service}: {what}"), met) {
            Ok(status) => b1(&status).unwrap(),
            Err(error) => panic!("{error:#}"),
        }
    }
}

/// Small maps, which are made at once.
const LIMITS: &str = "[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"\n\
    [limits]\nservices = 16\nbackends = 64\nslots = 20000\nconnections = 1024\n";

fn service(patient: &Patient, port: u16, backends: &[Host]) -> String {
    let Patient { name, protocol, keys, probe, vip, forwarding, backend_keys, via } = patient;
    let keys = format!(
        "port = {port}\nprotocol = \"{protocol}\"\nforwarding = \"{forwarding}\"\nslots = 499\n{keys}"
    );
    let address = |host: &Host| if vip.is_ipv4() { host.v4 } else { host.v6 };
    let backends: String =
        backends.iter().map(|host| backend(&host.name, address(host), backend_keys)).collect();
    format!(
        "[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\n{keys}\n[service.probe]\nvia = \"{via}\"\n{PACE}\n{probe}\n{backends}"
    )
}

fn backend(name: &str, address: IpAddr, keys: &str) -> String {
    format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n{keys}\n")
}
