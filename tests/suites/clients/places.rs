//! Clients in unusual places: among the backends, and on the balancer's own host.

use lb_tests::{
    client::fetch,
    topology::{Depth, Host, Routed},
};

use crate::{
    mode::{Case, Mode},
    scene::Scene,
};

const REQUESTS: usize = 40;

/// They come by the interface that backends are reached through, while others come by the other one.
#[test]
fn clients_among_the_backends_are_served() {
    let network = Routed::new(Depth::Near, 3).unwrap();
    let (backends, neighbour) = network.backends.split_at(2);
    let scene = Scene::start(&network, Case::all().map(|case| case.service(80, backends)).collect());
    for case in Case::all() {
        make_client(&neighbour[0], case);
        for client in [&neighbour[0], &network.client] {
            let answers = fetch(&client.netns, case.at(80), REQUESTS).unwrap();
            assert_eq!(
                (answers.answered(), answers.by_backend.len()),
                (REQUESTS, 2),
                "{case:?}: {answers:?}"
            );
        }
    }
    let status = scene.dropped_nothing_but(&[]);
    let least = 3 * REQUESTS as u64 * Case::all().count() as u64;
    assert!(status.reason("transmitted") >= least && status.reason("redirected") >= least, "{status:?}");
}

/// A host that has a VIP itself serves itself. None has those of nat.
fn make_client(host: &Host, case: Case) {
    if case.mode == Mode::Nat {
        return;
    }
    let length = if case.vip().is_ipv4() { 32 } else { 128 };
    host.netns.ip(&format!("address del {}/{length} dev lo", case.vip())).unwrap();
}

/// Its packets leave for the router, which sends them back: the program sees what arrives, not what is sent.
#[test]
fn client_on_the_balancers_host_is_served() {
    let network = Routed::new(Depth::Near, 2).unwrap();
    let scene = Scene::start(&network, Case::all().map(|case| case.service(80, &network.backends)).collect());
    for case in Case::all() {
        let answers = fetch(&network.balancer.netns, case.at(80), REQUESTS).unwrap();
        assert_eq!((answers.answered(), answers.by_backend.len()), (REQUESTS, 2), "{case:?}: {answers:?}");
    }
    scene.dropped_nothing_but(&[]);
}
