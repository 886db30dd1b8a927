//! `sluice backend`: what it sets up, and that it leaves nothing behind.

use std::{net::IpAddr, process::Command, time::Duration};

use lb_tests::{
    balancer::{Prepared, binary},
    bpf::{self, PassProgram},
    netns::Netns,
    process::wait_until,
    topology::{Host, Lan, OTHER_VIP4, VIP4, VIP6},
};

const SETTINGS: [&str; 5] = [
    "ipv4/conf/all/arp_ignore",
    "ipv4/conf/all/arp_announce",
    "ipv4/conf/eth0/arp_ignore",
    "ipv4/conf/eth0/arp_announce",
    "ipv4/conf/eth0/rp_filter",
];

/// All that `sluice backend` may change, as text.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    settings: Vec<String>,
    addresses: String,
    program: bool,
}

fn observe(host: &Host) -> Observed {
    let settings = SETTINGS.iter().map(|key| host.netns.sysctl(key).unwrap()).collect();
    let addresses = ip(&host.netns, "-brief address show dev lo");
    Observed { settings, addresses, program: ip(&host.netns, "link show dev eth0").contains("prog/xdp") }
}

/// The kernel detaches a program some time after its link has been let go of.
const DETACH: Duration = Duration::from_secs(5);

fn assert_restored(host: &Host, before: &Observed) {
    let _ = wait_until(DETACH, "the program to be gone", || !observe(host).program);
    assert_eq!(observe(host), *before);
}

fn ip(netns: &Netns, arguments: &str) -> String {
    netns.output(Command::new("ip").args(arguments.split(' '))).unwrap()
}

#[test]
fn backend_down_restores_everything() {
    let lan = Lan::new().unwrap();
    let host = &lan.backends[0];
    host.netns.set_sysctl("ipv4/conf/all/arp_announce", "1").unwrap();
    host.netns.set_sysctl("ipv4/conf/eth0/rp_filter", "1").unwrap();
    // A VIP that the operator put there is not ours to remove.
    host.netns.ip(&format!("address add {OTHER_VIP4}/32 dev lo")).unwrap();
    let before = observe(host);

    let prepared = Prepared::up(host, &binary().unwrap(), &[VIP4, VIP6, OTHER_VIP4], &[]).unwrap();
    let during = observe(host);
    assert_eq!(during.settings, ["1", "2", "1", "2", "2"]);
    assert!(during.program && during.addresses.contains(&VIP6.to_string()), "{during:?}");
    assert!(prepared.state_path().exists() && prepared.pins.path().exists());

    prepared.down().unwrap();
    assert_restored(host, &before);
    assert!(!prepared.state_path().exists() && !prepared.pins.path().exists());
    prepared.down().expect("a second `down` has nothing to do");
}

#[test]
fn backend_up_again_changes_the_vips() {
    let lan = Lan::new().unwrap();
    let host = &lan.backends[0];
    let before = observe(host);
    let prepared = Prepared::up(host, &binary().unwrap(), &[VIP4, VIP6], &[]).unwrap();
    prepared.again(&[VIP4, VIP6], &[]).expect("the same once more");
    prepared.again(&[OTHER_VIP4, VIP6], &[]).unwrap();
    let addresses = observe(host).addresses;
    let has = |vip: IpAddr| addresses.contains(&vip.to_string());
    assert!(has(OTHER_VIP4) && has(VIP6) && !has(VIP4), "{addresses}");
    assert_eq!(decap_vips(&prepared), 2);

    prepared.again(&[VIP4], &["--no-decap"]).unwrap();
    wait_until(DETACH, "the program to be gone", || !observe(host).program).unwrap();
    prepared.down().unwrap();
    assert_restored(host, &before);
}

fn decap_vips(prepared: &Prepared) -> usize {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["--json", "map", "dump", "pinned"]).arg(prepared.pins.path().join("decap_vips"));
    let output = bpftool.output().unwrap();
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    entries.len()
}

#[test]
fn backend_refuses_an_interface_with_a_program_of_somebody_else() {
    let lan = Lan::new().unwrap();
    let host = &lan.backends[0];
    PassProgram::load(&bpf::object().unwrap()).unwrap().attach(&host.netns, "eth0").unwrap();
    let before = observe(host);
    let error = Prepared::up(host, &binary().unwrap(), &[VIP4], &[]).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("sluice_pass") && message.contains("--no-decap"), "{message}");
    assert_eq!(observe(host), before);
}

#[test]
fn backend_refuses_an_unknown_interface() {
    let lan = Lan::new().unwrap();
    let mut command = Command::new(binary().unwrap());
    command.args([
        "backend",
        "up",
        "--interface",
        "eth9",
        "--vip",
        "203.0.113.10",
        "--state",
        "/nonexistent/x",
    ]);
    let error = lan.backends[0].netns.output(&mut command).unwrap_err();
    assert!(format!("{error:#}").contains("there is no interface \"eth9\""), "{error:#}");
}

#[test]
fn backend_show_tells_what_does_not_hold_any_more() {
    let lan = Lan::new().unwrap();
    let host = &lan.backends[0];
    let prepared = Prepared::up(host, &binary().unwrap(), &[VIP4, VIP6], &[]).unwrap();
    let report = prepared.show().unwrap();
    assert!(report.contains("0 decapsulated") && report.contains(&VIP6.to_string()), "{report}");
    host.netns.ip(&format!("address del {VIP4}/32 dev lo")).unwrap();
    host.netns.set_sysctl("ipv4/conf/all/arp_ignore", "0").unwrap();
    let message = format!("{:#}", prepared.show().unwrap_err());
    for problem in ["203.0.113.10 is not on lo any more", "ipv4/conf/all/arp_ignore is 0, not 1"] {
        assert!(message.contains(problem), "{message}");
    }
}
