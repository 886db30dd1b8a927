//! Changes of the configuration while requests go on.

use std::{fs, thread};

use lb_tests::{
    balancer::READY_DEADLINE,
    client::{Stream, fetch},
    process::wait_until,
    status::Status,
    topology::{Lan, VIP4},
};
use rustix::process::Signal;

use crate::scene::{Scene, web_services};

#[test]
fn reloads_fail_no_request() {
    let lan = Lan::new().unwrap();
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    let answers = thread::scope(|scope| {
        let stream = Stream::start(scope, &lan.client.netns, (VIP4, 80).into());
        for weight in [10, 1, 10, 1, 10] {
            // Moves flows between all backends, back and forth. The file's change alone has to be enough.
            change_weight(&mut scene, weight);
        }
        stream.stop().unwrap()
    });
    assert_eq!(answers.failures, Vec::<String>::new());
    assert_eq!(answers.by_backend.len(), 4, "{answers:?}");
}

/// Gives `b1` of `web4` a weight and waits until its share is that.
fn change_weight(scene: &mut Scene<'_>, weight: u32) {
    scene.config.services[0].backends[0].weight = weight;
    scene.save_config();
    let share = f64::from(weight) / f64::from(weight + 3);
    let what = format!("b1 to have a share of {share:.2}");
    scene.daemon.wait_for(&what, |status| (share_of_b1(status) - share).abs() < 0.01).unwrap();
}

fn share_of_b1(status: &Status) -> f64 {
    status.service("web4").and_then(|service| service.backend("b1")).map_or(0.0, |backend| backend.share)
}

#[test]
fn sighup_reloads() {
    let lan = Lan::new().unwrap();
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    scene.config.services.pop();
    scene.save_config();
    scene.daemon.process.signal(Signal::HUP).unwrap();
    scene.daemon.wait_for("web6 to go", |status| status.service("web6").is_none()).unwrap();
}

#[test]
fn broken_file_leaves_the_running_configuration() {
    let lan = Lan::new().unwrap();
    let scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    let before = scene.daemon.status().unwrap();
    let broken = scene.config.to_string().replace("weight = 1", "wieght = 1");
    fs::write(scene.config_path(), broken).unwrap();
    scene.daemon.process.signal(Signal::HUP).unwrap();
    let told = || scene.daemon.process.log().contains("wieght");
    wait_until(READY_DEADLINE, "the daemon to tell what is wrong", told).unwrap();
    let after = scene.daemon.status().unwrap();
    assert_eq!(after.service("web4").unwrap().digest, before.service("web4").unwrap().digest);
    let answers = fetch(&lan.client.netns, (VIP4, 80).into(), 20).unwrap();
    assert_eq!((answers.answered(), answers.failures), (20, vec![]));
}
