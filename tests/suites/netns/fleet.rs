//! Balancers of a fleet that find each other. What that is worth to connections is for the churn harness.

use std::net::IpAddr;

use lb_tests::{
    bpf,
    status::{Peer, Status},
    topology::Fleet,
};

use crate::scene::{Scene, web_services};

/// The only peer in a status.
fn peer(status: &Status) -> Option<&Peer> {
    status.fleet.as_ref()?.peers.first()
}

fn talks(status: &Status) -> bool {
    peer(status).is_some_and(|peer| peer.heard && peer.listens)
}

fn set_peers(scene: &mut Scene<'_>, peers: &[IpAddr]) {
    scene.config.peers = peers.to_vec();
    scene.save_config();
}

fn own(status: &Status) -> Option<IpAddr> {
    status.fleet.as_ref()?.own
}

#[test]
fn balancers_find_each_other_by_reload_and_tell_whose_tables_differ() {
    let net = Fleet::with_backends(&bpf::object().unwrap(), 2).unwrap();
    let addresses: Vec<IpAddr> = net.balancers.iter().map(|host| host.v4).collect();
    let [first, second] = &net.balancers[..] else { panic!("two balancers") };
    let mut one = Scene::start(first, &net.backends, web_services(&net.backends));
    // Its backends are set up already.
    let mut other = Scene::start(second, &[], web_services(&net.backends));
    assert!(one.daemon.status().unwrap().fleet.is_none());

    for scene in [&mut one, &mut other] {
        set_peers(scene, &addresses);
    }
    for (scene, host) in [(&mut one, first), (&mut other, second)] {
        let same = |status: &Status| peer(status).is_some_and(|peer| peer.same_tables == 2);
        let status = scene.daemon.wait_for("the peer", |status| talks(status) && same(status)).unwrap();
        assert_eq!((own(&status), peer(&status).unwrap().other_tables.len()), (Some(host.v4), 0));
    }

    one.config.services[0].backends[0].weight = 5;
    one.save_config();
    for scene in [&mut one, &mut other] {
        let differs = |status: &Status| peer(status).is_some_and(|peer| peer.other_tables == ["web4"]);
        scene.daemon.wait_for("the difference", differs).unwrap();
    }

    set_peers(&mut other, &[]);
    one.daemon.wait_for("the peer to go", |status| peer(status).is_some_and(|peer| !peer.heard)).unwrap();
}
