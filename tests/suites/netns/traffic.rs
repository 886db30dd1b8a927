//! Requests and bulk data over both families and both ways of forwarding.

use std::{env, process::Command, thread};

use lb_tests::{
    balancer::binary,
    client::{fetch, iperf},
    config::{Backend, Service},
    process::output,
    server::Iperf,
    status::Status,
    topology::{Lan, VIP4, VIP6},
};

use crate::scene::{Scene, web_services};

/// How long each bulk transfer takes.
fn iperf_seconds() -> u64 {
    env::var("SLUICE_IPERF_SECONDS").map_or(3, |seconds| seconds.parse().unwrap())
}

#[test]
fn requests_reach_every_backend_over_both_families() {
    let lan = Lan::new().unwrap();
    let scene = Scene::start(&lan.balancer, &lan.backends, web_services(&lan.backends));
    for vip in [VIP4, VIP6] {
        let answers = fetch(&lan.client.netns, (vip, 80).into(), 200).unwrap();
        assert_eq!(answers.failures, Vec::<String>::new(), "{vip}");
        assert_eq!(answers.by_backend.len(), 4, "{vip}: {answers:?}");
    }
    let status = scene.daemon.status().unwrap();
    for service in &status.services {
        // At least SYN, request and FIN of every connection; nothing is forwarded uncounted.
        assert!(service.packets >= 600, "{service:?}");
        assert_eq!(service.packets, service.backends.iter().map(|backend| backend.packets).sum::<u64>());
        let opened = service.backends.iter().map(|backend| backend.opened_flows.unwrap()).sum::<u64>();
        // One more for each SYN that is sent again, which is none unless the host is slow.
        assert!((200..220).contains(&opened), "{service:?}");
        assert_eq!(service.opened_flows, Some(opened));
    }
    assert!(status.reason("transmitted") >= 1200 && status.reason("redirected") == 0, "{status:?}");
}

#[test]
fn tunnels_cross_the_families() {
    let lan = Lan::new().unwrap();
    let host = &lan.backends[0];
    // (VIP, address of the backend): IPv4 in IPv6, and IPv6 in IPv4.
    let services = [(VIP4, host.v6), (VIP6, host.v4)].map(|(vip, address)| {
        let name = host.name.clone();
        let settings = String::new();
        let backends = vec![Backend { name, address, forwarding: "ipip", weight: 1, settings }];
        Service { backends, ..Service::new(&format!("cross-{vip}"), (vip, 80).into()) }
    });
    let _scene = Scene::start(&lan.balancer, &lan.backends[..1], services.into());
    for vip in [VIP4, VIP6] {
        let answers = fetch(&lan.client.netns, (vip, 80).into(), 20).unwrap();
        assert_eq!((answers.of("b1"), answers.failures), (20, vec![]), "{vip}");
    }
}

/// Ports of the bulk services, by way of forwarding.
const BULK: [(&str, u16); 2] = [("ipip", 5201), ("l2", 5202)];

/// One service per family and way of forwarding, each with one backend: iperf3's control connection and its data have
/// to meet at the same one.
fn bulk_services(lan: &Lan) -> Vec<Service> {
    let service = |vip, (forwarding, port)| {
        Service::new(&format!("{forwarding}-{vip}"), (vip, port).into()).with(forwarding, &lan.backends[..1])
    };
    [VIP4, VIP6].into_iter().flat_map(|vip| BULK.map(|bulk| service(vip, bulk))).collect()
}

fn bulk_servers(lan: &Lan) -> Vec<Iperf> {
    BULK.iter().map(|(_, port)| Iperf::start(&lan.backends[0], *port).unwrap()).collect()
}

#[test]
fn bulk_data_flows_over_both_families_and_forwardings() {
    let lan = Lan::new().unwrap();
    let _servers = bulk_servers(&lan);
    let _scene = Scene::start(&lan.balancer, &lan.backends[..1], bulk_services(&lan));
    for vip in [VIP4, VIP6] {
        for (forwarding, port) in BULK {
            let sent = iperf(&lan.client.netns, vip, port, iperf_seconds()).unwrap();
            println!("{forwarding} to {vip}: {sent:?}");
            assert!(sent.bytes > 1_000_000, "{forwarding} to {vip}: {sent:?}");
        }
    }
}

/// A second backend joins and changes its weight, so slots move back and forth under the flow, which stays where it is.
#[test]
fn reloads_cost_bulk_data_no_retransmission() {
    let lan = Lan::new().unwrap();
    let _servers = bulk_servers(&lan);
    let mut scene = Scene::start(&lan.balancer, &lan.backends[..2], bulk_services(&lan));
    let (forwarding, port) = BULK[0];
    let seconds = iperf_seconds();
    let quiet = iperf(&lan.client.netns, VIP4, port, seconds).unwrap();
    let before = forwarded(&scene.daemon.status().unwrap());
    let reloaded = thread::scope(|scope| {
        let transfer = scope.spawn(|| iperf(&lan.client.netns, VIP4, port, seconds).unwrap());
        let alone = scene.config.services[0].clone();
        for (part, weight) in (1..).zip([1, 2, 1, 2, 1, 2, 1, 2, 1, 2]) {
            // The quiet transfer's packets tell when a part of this one is through.
            let packets = before + before * part / 11;
            scene.daemon.wait_for("data to flow", |status| forwarded(status) > packets).unwrap();
            scene.config.services[0] = alone.clone().with(forwarding, &lan.backends[1..2]);
            scene.config.services[0].backends[1].weight = weight;
            scene.save_config();
            let share = f64::from(weight) / f64::from(weight + 1);
            let moved = |status: &Status| (share_of_b2(status) - share).abs() < 0.01;
            scene.daemon.wait_for(&format!("b2 to have a share of {share:.2}"), moved).unwrap();
        }
        transfer.join().unwrap()
    });
    println!("{forwarding}: without reloads {quiet:?}, with ten {reloaded:?}");
    assert!(reloaded.retransmits <= quiet.retransmits, "{quiet:?} {reloaded:?}");
}

/// Killed and replaced twice under bulk data. `b2` drains by command all the while, so some slots have moved.
#[test]
fn killed_daemon_costs_bulk_data_no_retransmission_and_forgets_nothing() {
    let lan = Lan::new().unwrap();
    let _servers = bulk_servers(&lan);
    let mut scene = Scene::start(&lan.balancer, &lan.backends[..2], bulk_services(&lan));
    let (forwarding, port) = BULK[0];
    let seconds = iperf_seconds().max(6);
    let quiet = iperf(&lan.client.netns, VIP4, port, seconds).unwrap();
    let each = forwarded(&scene.daemon.status().unwrap()) / 4;
    scene.config.services[0] = scene.config.services[0].clone().with(forwarding, &lan.backends[1..2]);
    scene.save_config();
    scene.daemon.wait_for("b2 to join", |status| share_of_b2(status) > 0.4).unwrap();
    output(Command::new(binary().unwrap()).args(["drain", "b2", "--socket"]).arg(&scene.config.socket))
        .unwrap();
    // Its first probes may still be under way.
    let drains = |status: &Status| {
        let mut b2 = status.services.iter().filter_map(|service| service.backend("b2"));
        b2.all(|b2| b2.share == 0.0 && b2.health == "up")
    };
    let before = scene.daemon.wait_for("b2 to be up and to drain", drains).unwrap();
    let killed = thread::scope(|scope| {
        let transfer = scope.spawn(|| iperf(&lan.client.netns, VIP4, port, seconds).unwrap());
        for part in 1..=2 {
            let packets = forwarded(&before) + part * each;
            scene.daemon.wait_for("data to flow", |status| forwarded(status) > packets).unwrap();
            scene.kill_and_restart();
            let log = scene.daemon.process.log();
            assert!(!log.contains("table published") && !log.contains("backend is"), "{log}");
        }
        transfer.join().unwrap()
    });
    assert_eq!(known(&scene.daemon.status().unwrap()), known(&before));
    println!("without a kill {quiet:?}, with two {killed:?}");
    assert!(killed.retransmits <= quiet.retransmits, "{quiet:?} {killed:?}");
}

/// What a daemon has to know after another: tables, admin states, health.
fn known(status: &Status) -> Vec<String> {
    let known = status.services.iter().flat_map(|service| {
        let table = format!("{} {} {}", service.name, service.digest, service.generation);
        let backends = service.backends.iter();
        let backends =
            backends.map(|backend| format!("{} {} {}", backend.name, backend.admin, backend.health));
        std::iter::once(table).chain(backends)
    });
    known.collect()
}

fn share_of_b2(status: &Status) -> f64 {
    status.services.iter().filter_map(|service| service.backend("b2")).map(|b2| b2.share).sum()
}

fn forwarded(status: &Status) -> u64 {
    status.services.iter().map(|service| service.packets).sum()
}
