//! Balancers of several interfaces.

use lb_tests::{
    client::fetch,
    config::Config,
    topology::{Host, TwoArmed, VIP4, VIP6},
};

use crate::scene::{DETACH, Scene, web_services};

#[test]
fn requests_reach_backends_behind_the_other_interface() {
    let network = TwoArmed::new().unwrap();
    let scene = Scene::start(&network.balancer, &network.backends, web_services(&network.backends));
    assert_served(&network.client);
    let status = scene.daemon.status().unwrap();
    assert!(status.reason("redirected") >= 600 && status.reason("transmitted") == 0, "{status:?}");
}

#[test]
fn clients_of_either_interface_are_served() {
    let network = TwoArmed::new().unwrap();
    let adjust = |config: &mut Config| config.interfaces.push("eth1".to_owned());
    let services = web_services(&network.backends);
    let scene = Scene::start_adjusted(&network.balancer, &network.backends, services, DETACH, adjust);
    assert_served(&network.client);
    let status = scene.daemon.status().unwrap();
    assert!(status.reason("redirected") >= 600 && status.reason("transmitted") == 0, "{status:?}");
    assert_served(&network.neighbour);
    let status = scene.daemon.status().unwrap();
    assert!(status.reason("transmitted") >= 600, "{status:?}");
}

/// Each backend answers a client that asks often.
#[track_caller]
fn assert_served(client: &Host) {
    for vip in [VIP4, VIP6] {
        let answers = fetch(&client.netns, (vip, 80).into(), 100).unwrap();
        assert_eq!(answers.failures, Vec::<String>::new(), "{vip}");
        assert_eq!(answers.by_backend.len(), 2, "{vip}: {answers:?}");
    }
}
