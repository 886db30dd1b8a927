//! Probes that take the way of clients' packets: what they see that others do not.

use std::{collections::HashMap, fs, net::SocketAddr, process::Command, time::Instant};

use lb_tests::{
    balancer::{Prepared, binary},
    netns::Netns,
    server::Nginx,
    topology::{Lan, OTHER_VIP6, VIP4, VIP6},
};
use rustix::process::Signal;

use crate::{
    clinic::{Clinic, Patient, lan},
    listener::slow_web,
    witness::Witness,
};

/// Port of the server that takes its time.
const SLOW: u16 = 8888;

/// Asks the web server, by its port or its answer.
const TCP: &str = "type = \"tcp\"\nport = 80";
const HTTP: &str = "type = \"http\"\nport = 80\nbody = \"My id is b\"";

const SILENCE: &str = "timed out after 300ms, waiting for the connection by the path of traffic";

/// One service for every way to a backend.
fn ways() -> Vec<Patient> {
    vec![
        Patient::tcp("l2", HTTP).by_path(VIP4, "l2"),
        Patient::tcp("ipip", HTTP).by_path(VIP4, "ipip"),
        Patient::tcp("gue", TCP).by_path(VIP4, "gue"),
        Patient::tcp("l2-v6", TCP).by_path(VIP6, "l2"),
        Patient::tcp("ipip-v6", HTTP).by_path(VIP6, "ipip"),
        Patient::tcp("gue-v6", HTTP).by_path(VIP6, "gue"),
    ]
}

const ALL: [&str; 6] = ["l2", "ipip", "gue", "l2-v6", "ipip-v6", "gue-v6"];
const TUNNELLED: [&str; 4] = ["ipip", "gue", "ipip-v6", "gue-v6"];

/// Has the balancer's kernel look where replies come from, as distributions set it.
fn filter_strictly(lan: &Lan) {
    for scope in ["all", "eth0"] {
        lan.balancer.netns.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "1").unwrap();
    }
}

/// A way to the VIP such as a default route is, so that the filter lets replies pass.
fn add_default_routes(lan: &Lan) {
    lan.balancer.netns.ip(&format!("route add default via {}", lan.client.v4)).unwrap();
    lan.balancer.netns.ip(&format!("-6 route add default via {}", lan.client.v6)).unwrap();
}

/// A balancer whose kernel is strict, and backends that serve the VIPs.
struct Scene<'net> {
    clinic: Clinic<'net>,
    witness: Witness,
    services: HashMap<&'static str, SocketAddr>,
}

impl<'net> Scene<'net> {
    fn open(lan: &'net Lan, patients: &[Patient]) -> Self {
        filter_strictly(lan);
        add_default_routes(lan);
        let clinic = Clinic::open(lan, patients);
        let log = clinic.daemon.process.log();
        assert!(!log.contains("own addresses"), "{log}");
        let status = clinic.daemon.status().unwrap();
        for patient in patients {
            let b1 = status.service(patient.name).unwrap().backend("b1").unwrap();
            let probe = b1.probe.as_ref().unwrap();
            assert_eq!((&*probe.via, &probe.problem), (patient.via, &None), "{}", patient.name);
        }
        let ports = patients.iter().zip(2000..);
        let services: HashMap<_, _> =
            ports.map(|(patient, port)| (patient.name, (patient.vip, port).into())).collect();
        let targets: Vec<_> = services.values().copied().collect();
        let witness = Witness::start(&lan.client, clinic.pins.path(), &targets);
        Self { clinic, witness, services }
    }

    /// Makes `fault` happen, of which `b1` of these services has to be found down for that reason. Tells how long that
    /// took, and how long its packets went on.
    #[track_caller]
    fn suffer(&mut self, fault: &str, services: &[&str], reason: &str, happen: impl FnOnce()) {
        let began = Instant::now();
        happen();
        for service in services {
            self.clinic.wait_down(&[service], reason);
            let seen = began.elapsed();
            let last = self.witness.last_packet(self.services[service]) - began;
            println!(
                "{fault}: {service}: seen to be down after {seen:.0?} at most, last packet after {last:.0?}"
            );
        }
    }

    /// Waits until everybody is up.
    #[track_caller]
    fn recover(&mut self) {
        let services: Vec<_> = self.services.keys().copied().collect();
        self.clinic.wait_up(&services);
    }
}

#[test]
fn backend_that_does_not_serve_the_vip_is_down() {
    let lan = lan(2);
    let binary = binary().unwrap();
    let vips = [VIP4, VIP6];
    let prepared: Vec<_> =
        lan.backends.iter().map(|host| Prepared::up(host, &binary, &vips, &[]).unwrap()).collect();
    let _servers: Vec<_> = lan.backends.iter().map(|host| Nginx::start(host).unwrap()).collect();
    let mut patients = ways();
    patients.push(Patient::tcp("direct", TCP));
    let mut scene = Scene::open(&lan, &patients);
    let (b1, prepared) = (&lan.backends[0].netns, &prepared[0]);

    scene.suffer("VIP missing", &["l2", "ipip", "gue"], SILENCE, || {
        b1.ip(&format!("address del {VIP4}/32 dev lo")).unwrap();
    });
    scene.clinic.wait_up(&["l2-v6", "ipip-v6", "gue-v6", "direct"]);
    b1.ip(&format!("address add {VIP4}/32 dev lo")).unwrap();
    scene.recover();

    // What holds the decapsulator is its pin.
    scene.suffer("decapsulator gone", &TUNNELLED, SILENCE, || {
        fs::remove_file(prepared.pins.path().join("link")).unwrap();
    });
    scene.clinic.wait_up(&["l2", "l2-v6", "direct"]);
    prepared.again(&vips, &[]).unwrap();
    scene.recover();

    scene.suffer("tunnel's port closed", &["gue", "gue-v6"], SILENCE, || {
        prepared.again(&vips, &["--gue-port", "0"]).unwrap();
    });
    scene.clinic.wait_up(&["ipip", "ipip-v6", "l2", "l2-v6", "direct"]);
    prepared.again(&vips, &[]).unwrap();
    scene.recover();

    scene.suffer("no backend any more", &ALL, SILENCE, || prepared.down().unwrap());
    scene.clinic.wait_up(&["direct"]);
    prepared.again(&vips, &[]).unwrap();
    scene.recover();

    scene.clinic.daemon.terminate().unwrap();
    assert_eq!(leftovers(&lan.balancer.netns), "");
}

#[test]
fn server_that_fails_is_down_by_every_way() {
    let lan = lan(2);
    let binary = binary().unwrap();
    let vips = [VIP4, VIP6];
    let _prepared: Vec<_> =
        lan.backends.iter().map(|host| Prepared::up(host, &binary, &vips, &[]).unwrap()).collect();
    let mut servers: Vec<_> = lan.backends.iter().map(|host| Nginx::start(host).unwrap()).collect();
    let slow: Vec<_> = lan.backends.iter().map(|host| slow_web(host, SLOW, "0")).collect();
    let mut patients = ways();
    patients.push(Patient::tcp("slow", format!("type = \"http\"\nport = {SLOW}")).by_path(VIP4, "ipip"));
    let mut scene = Scene::open(&lan, &patients);

    scene.suffer("port closed", &ALL, "connection refused", || drop(servers.remove(0)));
    scene.clinic.wait_up(&["slow"]);
    servers.insert(0, Nginx::start(&lan.backends[0]).unwrap());
    scene.recover();

    let server = &servers[0].process;
    let hangs = "timed out after 300ms, waiting for the answer";
    scene.suffer("server hangs", &["l2", "ipip", "ipip-v6", "gue-v6"], hangs, || {
        server.signal(Signal::STOP).unwrap();
    });
    scene.clinic.wait_up(&["gue", "l2-v6", "slow"]);
    server.signal(Signal::CONT).unwrap();
    scene.recover();

    scene.suffer("slow answer", &["slow"], hangs, || slow[0].set("450"));
    slow[0].set("0");
    scene.recover();

    let b1 = &lan.backends[0].netns;
    let black_hole = |action: &str| {
        b1.ip(&format!("route {action} blackhole {}/32", lan.balancer.v4)).unwrap();
        b1.ip(&format!("-6 route {action} blackhole {}/128", lan.balancer.v6)).unwrap();
    };
    scene.suffer("blackhole", &ALL, SILENCE, || black_hole("add"));
    black_hole("del");
    scene.recover();
}

#[test]
fn answers_that_this_host_would_drop_are_not_waited_for() {
    let lan = lan(1);
    let host = &lan.backends[0];
    filter_strictly(&lan);
    // No way to the VIP of its own, and a VIP that it has itself.
    lan.balancer.netns.ip(&format!("address add {OTHER_VIP6}/128 dev lo")).unwrap();
    let _server = Nginx::start(host).unwrap();
    let patients =
        [Patient::tcp("v4", TCP).by_path(VIP4, "l2"), Patient::tcp("v6", TCP).by_path(OTHER_VIP6, "l2")];
    let clinic = Clinic::open(&lan, &patients);
    let log = clinic.daemon.process.log();
    let filtered = "own addresses: their replies, from 203.0.113.10 on eth0, would be dropped by this host's reverse path \
                    filter: add a route to 203.0.113.10 by eth0, and reload service=\"v4\"";
    let own = "own addresses: 2001:db8:113::20 is an address of this host too, so that the kernel would keep them for \
               itself service=\"v6\"";
    assert!(log.contains(filtered) && log.contains(own), "{log}");
    let status = clinic.daemon.status().unwrap();
    for (service, end) in
        [("v4", "add a route to 203.0.113.10 by eth0, and reload"), ("v6", "keep them for itself")]
    {
        let probe = status.service(service).unwrap().backend("b1").unwrap().probe.clone().unwrap();
        assert_eq!(probe.via, "direct");
        assert!(probe.target.ends_with(":80") && probe.problem.unwrap().ends_with(end), "{}", probe.target);
    }
}

/// What a road of probes consists of, as far as it is there.
fn leftovers(netns: &Netns) -> String {
    let ip = |arguments: &str| netns.output(Command::new("ip").args(arguments.split(' '))).unwrap();
    let lines = ["-brief link", "rule", "-6 rule"].map(ip).concat();
    lines.lines().filter(|line| line.contains("sluice-") || line.contains("fwmark")).collect()
}
