//! Start and end of the daemon.

use std::process::Command;

use lb_tests::{
    balancer::{READY_DEADLINE, binary},
    client::fetch,
    process::{output, wait_until},
    topology::{Host, Lan, VIP4},
};

use crate::scene::{Scene, web_services};

#[test]
fn daemon_that_is_to_detach_leaves_nothing() {
    let lan = Lan::new().unwrap();
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    assert!(has_program(&lan.balancer) && scene.pins.path().join("services").exists());
    scene.daemon.terminate().unwrap();
    wait_detached(&lan.balancer);
    assert!(!scene.pins.path().exists());
}

#[test]
fn data_plane_goes_on_forwarding_and_the_next_daemon_takes_over() {
    let lan = Lan::new().unwrap();
    let services = web_services(&lan.backends);
    let mut scene = Scene::start_with(&lan.balancer, &lan.backends, services, &[]);
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
    wait_detached(&lan.balancer);
}

#[test]
fn detach_takes_down_what_a_daemon_has_left_and_nothing_of_a_running_one() {
    let lan = Lan::new().unwrap();
    let services = web_services(&lan.backends);
    let mut scene = Scene::start_with(&lan.balancer, &lan.backends, services, &[]);
    let detach = || {
        let mut command = Command::new(binary().unwrap());
        output(command.args(["detach", "--pin-path"]).arg(scene.pins.path()))
    };
    let refusal = detach().unwrap_err().to_string();
    assert!(refusal.contains("another sluice is running"), "{refusal}");
    scene.daemon.terminate().unwrap();
    assert_eq!(detach().unwrap(), "detached from eth0\n");
    wait_detached(&lan.balancer);
    assert!(!scene.pins.path().exists());
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

/// The kernel detaches a link some time after its pin is gone.
fn wait_detached(host: &Host) {
    wait_until(READY_DEADLINE, "the program to be detached", || !has_program(host)).unwrap();
}

fn has_program(host: &Host) -> bool {
    let mut command = Command::new("ip");
    host.netns.output(command.args(["link", "show", "dev", "eth0"])).unwrap().contains("prog/xdp")
}
