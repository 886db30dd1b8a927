//! Start and end of the daemon.

use std::process::Command;

use lb_tests::{
    client::fetch,
    topology::{Host, Lan, VIP4},
};

use crate::scene::{Scene, web_services};

#[test]
fn sigterm_detaches_and_removes_the_pins() {
    let lan = Lan::new().unwrap();
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    assert!(has_program(&lan.balancer) && scene.pins.path().join("services").exists());
    scene.daemon.terminate().unwrap();
    assert!(!has_program(&lan.balancer));
    assert!(!scene.pins.path().exists());
}

#[test]
fn keep_attached_goes_on_forwarding_and_the_next_daemon_takes_over() {
    let lan = Lan::new().unwrap();
    let services = web_services(&lan.backends);
    let mut scene = Scene::start_with(&lan.balancer, &lan.backends, services, &["--keep-attached"]);
    let before = scene.daemon.status().unwrap().service("web4").unwrap().clone();
    scene.daemon.terminate().unwrap();
    let answers = fetch(&lan.client.netns, (VIP4, 80).into(), 50).unwrap();
    assert_eq!((answers.answered(), answers.failures), (50, vec![]));

    scene.restart();
    let after = scene.daemon.status().unwrap().service("web4").unwrap().clone();
    assert_eq!((&after.digest, after.generation), (&before.digest, before.generation), "nothing changed");
    assert!(after.packets > before.packets, "packets are counted on, those of the time between included");
    let answers = fetch(&lan.client.netns, (VIP4, 80).into(), 50).unwrap();
    assert_eq!((answers.answered(), answers.failures), (50, vec![]));
    scene.daemon.terminate().unwrap();
    assert!(!has_program(&lan.balancer));
}

#[test]
fn table_does_not_depend_on_the_order_in_the_file() {
    let lan = Lan::new().unwrap();
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    let before = scene.daemon.status().unwrap();
    scene.daemon.terminate().unwrap();
    scene.config.services.reverse();
    scene.config.services.iter_mut().for_each(|service| service.backends.reverse());
    scene.save_config();
    scene.restart();
    let after = scene.daemon.status().unwrap();
    for service in &before.services {
        assert_eq!(after.service(&service.name).unwrap().digest, service.digest);
    }
}

fn has_program(host: &Host) -> bool {
    let mut command = Command::new("ip");
    host.netns.output(command.args(["link", "show", "dev", "eth0"])).unwrap().contains("prog/xdp")
}
