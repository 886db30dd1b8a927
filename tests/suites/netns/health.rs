//! Backends that die and come back.

use lb_tests::{
    client::fetch,
    server::Nginx,
    status::Status,
    topology::{Lan, VIP4, VIP6},
};

use crate::scene::{Scene, web_services};

#[test]
fn killed_backend_leaves_the_tables_and_comes_back() {
    let lan = Lan::new().unwrap();
    let mut scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    let before = digests(&scene.daemon.status().unwrap());

    drop(scene.servers.remove(0));
    scene.daemon.wait_for("b1 to leave the tables", |status| is_down(status, "b1")).unwrap();
    for vip in [VIP4, VIP6] {
        let answers = fetch(&lan.client.netns, (vip, 80).into(), 100).unwrap();
        assert_eq!((answers.of("b1"), answers.failures), (0, vec![]), "{vip}");
    }

    scene.servers.push(Nginx::start(&lan.backends[0]).unwrap());
    let status = scene.daemon.wait_ready().unwrap();
    assert_eq!(digests(&status), before, "full health restores the tables");
    for vip in [VIP4, VIP6] {
        let answers = fetch(&lan.client.netns, (vip, 80).into(), 100).unwrap();
        assert!(answers.of("b1") > 0 && answers.failures.is_empty(), "{vip}: {answers:?}");
    }
}

fn digests(status: &Status) -> Vec<String> {
    status.services.iter().map(|service| service.digest.clone()).collect()
}

/// Whether `backend` is down in all services, and in the tables of none.
fn is_down(status: &Status, backend: &str) -> bool {
    let mut entries = status.services.iter().filter_map(|service| service.backend(backend));
    entries.all(|entry| entry.health == "down" && entry.share == 0.0)
}
