//! The balancer's own host as a backend.

use lb_tests::{
    balancer::{Prepared, READY_DEADLINE, binary},
    client::fetch,
    config::{Backend, Config, Service},
    process::wait_until,
    server::Nginx,
    topology::{Lan, VIP4, VIP6},
};

use crate::scene::{DETACH, Scene};

#[test]
fn balancer_that_is_a_backend_gets_its_share() {
    let lan = Lan::new().unwrap();
    let backends = &lan.backends[..1];
    let binary = binary().unwrap();
    // The interface has the balancer's program.
    let _prepared = Prepared::up(&lan.balancer, &binary, &[VIP4, VIP6], &["--no-decap"]).unwrap();
    let _server = Nginx::start(&lan.balancer).unwrap();
    let services = [("web4", VIP4, "ipip"), ("web6", VIP6, "l2")].map(|(name, vip, forwarding)| {
        Service::new(name, (vip, 80).into()).with(forwarding, backends).with(forwarding, [&lan.balancer])
    });
    let scene = Scene::start(&lan.balancer, backends, services.into());
    for vip in [VIP4, VIP6] {
        let answers = fetch(&lan.client.netns, (vip, 80).into(), 100).unwrap();
        assert_eq!(answers.failures, Vec::<String>::new(), "{vip}");
        assert!(answers.of("balancer") > 20 && answers.of("b1") > 20, "{vip}: {answers:?}");
    }
    let status = scene.daemon.status().unwrap();
    assert!(status.reason("local") >= 120 && status.reason("transmitted") >= 120, "{status:?}");
    let service = status.service("web4").unwrap();
    assert_eq!(service.backend("balancer").unwrap().forwarding, "local");
    assert!(service.backend("balancer").unwrap().packets > 60, "{service:?}");

    // A client on a backend asks itself, as one on the balancer does.
    for host in [&lan.backends[0], &lan.balancer] {
        let answers = fetch(&host.netns, (VIP4, 80).into(), 20).unwrap();
        assert_eq!(answers.of(&host.name), 20, "{answers:?}");
    }
}

/// Each of two hosts balances over both: one is itself, the other is behind a tunnel, whose decapsulator there stands
/// behind the balancer.
#[test]
fn hosts_that_balance_over_each_other_have_the_decapsulator_behind_the_balancer() {
    let lan = Lan::new().unwrap();
    let binary = binary().unwrap();
    let (hosts, nobody) = ([&lan.balancer, &lan.backends[0]], &lan.backends[..0]);
    let prepared = hosts.map(|host| Prepared::up(host, &binary, &[VIP4], &["--pin-only"]).unwrap());
    let _servers = hosts.map(|host| Nginx::start(host).unwrap());
    let scenes = [0, 1].map(|at| {
        let service = Service::new("web4", (VIP4, 80).into()).with("ipip", hosts);
        let program = prepared[at].pins.path().join("program");
        let adjust =
            |config: &mut Config| config.balancer = format!("next_program = \"{}\"", program.display());
        Scene::start_adjusted(hosts[at], nobody, vec![service], DETACH, adjust)
    });
    for (scene, host) in scenes.iter().zip(hosts) {
        lan.client.netns.ip(&format!("route replace 203.0.113.0/24 via {}", host.v4)).unwrap();
        let answers = fetch(&lan.client.netns, (VIP4, 80).into(), 100).unwrap();
        assert_eq!(answers.failures, Vec::<String>::new());
        assert!(hosts.iter().all(|host| answers.of(&host.name) > 20), "{answers:?}");
        let status = scene.daemon.status().unwrap();
        assert!(status.reason("local") > 60 && status.reason("transmitted") > 60, "{status:?}");
    }
    assert!(prepared.iter().all(|host| host.show().unwrap().contains("decap    pinned at")));
    assert!(
        prepared[1]
            .show()
            .unwrap()
            .lines()
            .any(|line| line.contains("decapsulated") && !line.contains(" 0 "))
    );
}

/// As an address does that VRRP or a cluster moves.
#[test]
fn backend_whose_address_moves_is_followed() {
    let lan = Lan::new().unwrap();
    let backends = &lan.backends[..1];
    let binary = binary().unwrap();
    let _prepared = Prepared::up(&lan.balancer, &binary, &[VIP4], &["--no-decap"]).unwrap();
    let _server = Nginx::start(&lan.balancer).unwrap();
    let floating = |host: &lb_tests::topology::Host, verb: &str| {
        host.netns.ip(&format!("address {verb} 198.51.100.77/24 dev eth0")).unwrap();
    };
    floating(&lan.balancer, "add");
    let mut service = Service::new("web4", (VIP4, 80).into());
    service.backends.push(Backend {
        name: "floating".to_owned(),
        address: "198.51.100.77".parse().unwrap(),
        forwarding: "ipip",
        weight: 1,
        settings: String::new(),
    });
    let _scene = Scene::start(&lan.balancer, backends, vec![service]);
    let answered_by = |host: &str| {
        let answers = fetch(&lan.client.netns, (VIP4, 80).into(), 10).unwrap();
        answers.of(host) == 10
    };
    assert!(answered_by("balancer"));
    floating(&lan.balancer, "del");
    floating(&backends[0], "add");
    wait_until(READY_DEADLINE, "the other host to answer", || answered_by("b1")).unwrap();
    floating(&backends[0], "del");
    floating(&lan.balancer, "add");
    wait_until(READY_DEADLINE, "the balancer to answer again", || answered_by("balancer")).unwrap();
}
