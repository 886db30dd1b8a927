//! Probes that take the way of clients' packets: what they see that others do not.

use std::{fs, process::Command};

use lb_tests::{
    balancer::{Prepared, binary},
    netns::Netns,
    server::Nginx,
    topology::{Lan, OTHER_VIP6, VIP4, VIP6},
};

use crate::clinic::{Clinic, Patient, lan};

/// Asks the web server, by its port or its answer.
const TCP: &str = "type = \"tcp\"\nport = 80";
const HTTP: &str = "type = \"http\"\nport = 80\nbody = \"My id is b1\"";

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

#[test]
fn backend_that_does_not_serve_the_vip_is_down() {
    let lan = lan(1);
    let host = &lan.backends[0];
    filter_strictly(&lan);
    add_default_routes(&lan);
    let prepared = Prepared::up(host, &binary().unwrap(), &[VIP4, VIP6], &[]).unwrap();
    let _server = Nginx::start(host).unwrap();
    let mut patients = ways();
    patients.push(Patient::tcp("direct", TCP));
    let mut clinic = Clinic::open(&lan, &patients);
    assert!(!clinic.daemon.process.log().contains("own addresses"), "{}", clinic.daemon.process.log());

    host.netns.ip(&format!("address del {VIP4}/32 dev lo")).unwrap();
    clinic.wait_down(&["l2", "ipip", "gue"], SILENCE);
    clinic.wait_up(&["l2-v6", "ipip-v6", "gue-v6", "direct"]);
    host.netns.ip(&format!("address add {VIP4}/32 dev lo")).unwrap();
    clinic.wait_up(&ALL);

    // What holds the decapsulator is its pin.
    fs::remove_file(prepared.pins.path().join("link")).unwrap();
    clinic.wait_down(&TUNNELLED, SILENCE);
    clinic.wait_up(&["l2", "l2-v6", "direct"]);
    prepared.down().unwrap();
    clinic.wait_down(&ALL, SILENCE);
    prepared.again(&[VIP4, VIP6], &[]).unwrap();
    clinic.wait_up(&ALL);

    clinic.daemon.terminate().unwrap();
    assert_eq!(leftovers(&lan.balancer.netns), "");
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
}

/// What a road of probes consists of, as far as it is there.
fn leftovers(netns: &Netns) -> String {
    let ip = |arguments: &str| netns.output(Command::new("ip").args(arguments.split(' '))).unwrap();
    let lines = ["-brief link", "rule", "-6 rule"].map(ip).concat();
    lines.lines().filter(|line| line.contains("sluice-") || line.contains("fwmark")).collect()
}
