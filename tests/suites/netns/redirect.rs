//! Backends behind another interface than the clients.

use lb_tests::{
    client::fetch,
    topology::{TwoArmed, VIP4, VIP6},
};

use crate::scene::{Scene, web_services};

#[test]
fn requests_reach_backends_behind_the_other_interface() {
    let network = TwoArmed::new().unwrap();
    let scene = Scene::start(&network.balancer, &network.backends, web_services(&network.backends));
    for vip in [VIP4, VIP6] {
        let answers = fetch(&network.client.netns, (vip, 80).into(), 100).unwrap();
        assert_eq!(answers.failures, Vec::<String>::new(), "{vip}");
        assert_eq!(answers.by_backend.len(), 2, "{vip}: {answers:?}");
    }
    let status = scene.daemon.status().unwrap();
    assert!(status.reason("redirected") >= 600 && status.reason("transmitted") == 0, "{status:?}");
}
