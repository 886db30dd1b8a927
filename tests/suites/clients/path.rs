//! 10 MB there and back over paths that are narrower than either end knows, without a stall.
//!
//! Backends say that they take an Ethernet's segments, so the client has to learn what fits, and what the tunnel leaves of
//! it, by an ICMP error of the balancer's. Clients say so too, and backends learn by an ICMP error of a router's.

use std::fs;

use lb_common::counter::Reason;
use lb_tests::{
    config::Service,
    topology::{Depth, Host, Routed},
};

use crate::{
    content::content,
    curl::{download, upload},
    kernel::{Sent, path_mtu},
    mode::{Case, Mode},
    scene::Scene,
};

const SIZE: usize = 10 << 20;
/// MTU between balancer and backends; the client's is 1500.
const NARROW: u32 = 1400;
/// Of some 7000 segments, those that may have to be sent again until the sender has learned.
const RETRANSMISSIONS: u64 = 500;
/// Retransmission timers that may expire: on a busy machine an acknowledgement comes late.
const TIMEOUTS: u64 = 6;

#[test]
fn transfers_pass_a_narrow_egress() {
    let network = Routed::with_mtu(Depth::Near, Mode::ALL.len() as u8, NARROW).unwrap();
    transfer_all(&network, &Mode::ALL);
}

/// A router before the backends tells the balancer that its tunnels' packets do not fit. The balancer tells the clients.
/// Where backends are behind a router, `l2` does not reach them.
#[test]
fn transfers_pass_a_narrow_place_inside_the_tunnel() {
    let modes = [Mode::Ipip, Mode::Gue, Mode::GueDirect];
    let network = Routed::new(Depth::Far, modes.len() as u8).unwrap();
    network.narrow_to_backends(NARROW).unwrap();
    transfer_all(&network, &modes);
}

/// A router on the clients' side tells the VIP that what its backend has sent does not fit. The balancer brings it there.
#[test]
fn transfers_pass_a_narrow_way_to_the_client() {
    let network = Routed::new(Depth::Near, Mode::DIRECT.len() as u8).unwrap();
    network.narrow_to_client(NARROW).unwrap();
    let scene = start(&network, &Mode::DIRECT);
    let content = content(SIZE);
    for (number, mode) in Mode::DIRECT.into_iter().enumerate() {
        for case in Case::of(&[mode]) {
            let (host, client) = (&network.backends[number].netns, case.seen_as(&network.client));
            assert_eq!(path_mtu(host, client).unwrap(), None, "{case:?}");
            send_down(&network, &scene, (case, number), &content);
            assert_eq!(path_mtu(host, client).unwrap(), Some(NARROW), "{case:?}");
        }
    }
    scene.dropped_nothing_but(&[]);
}

/// What translates sees the replies: the client's wire is narrower than the backends', and the balancer says so to the pool's
/// side.
#[test]
fn transfers_pass_a_narrow_wire_to_the_client_behind_nat() {
    let network = Routed::new(Depth::Near, 1).unwrap();
    for (host, device) in [(&network.edge, "eth1"), (&network.balancer, "eth0")] {
        host.netns.ip(&format!("link set {device} mtu {NARROW}")).unwrap();
    }
    let scene = start(&network, &[Mode::Nat]);
    let content = content(SIZE);
    for case in Case::of(&[Mode::Nat]) {
        let (host, pool) = (&network.backends[0].netns, case.seen_as(&network.client));
        assert_eq!(path_mtu(host, pool).unwrap(), None, "{case:?}");
        send_down(&network, &scene, (case, 0), &content);
        assert_eq!(path_mtu(host, pool).unwrap(), Some(NARROW), "{case:?}");
    }
    scene.dropped_nothing_but(&[]);
}

/// Each mode has a backend of its own: what is learned of one's path is nobody else's merit.
fn start<'net>(network: &'net Routed, modes: &[Mode]) -> Scene<'net> {
    let pairs: Vec<_> = modes.iter().zip(&network.backends).collect();
    let service = |case: Case, host: &Host| case.service(80, std::slice::from_ref(host));
    let of = |(mode, host): &(&Mode, &Host)| {
        Case::of(&[**mode]).map(|case| service(case, host)).collect::<Vec<Service>>()
    };
    Scene::start(network, pairs.iter().flat_map(of).collect())
}

fn transfer_all(network: &Routed, modes: &[Mode]) {
    let scene = start(network, modes);
    let content = content(SIZE);
    for (number, mode) in modes.iter().enumerate() {
        for case in Case::of(&[*mode]) {
            send_up(network, &scene, (case, number), &content);
            send_down(network, &scene, (case, number), &content);
        }
    }
    scene.dropped_nothing_but(&[Reason::TooBig]);
}

/// The client learns what fits into the tunnel, and no more than a few packets are too big.
fn send_up(network: &Routed, scene: &Scene<'_>, (case, backend): (Case, usize), content: &[u8]) {
    let client = &network.client.netns;
    let name = case.service_name(80);
    let too_big = |scene: &Scene<'_>| scene.daemon.status().unwrap().reason(Reason::TooBig.name());
    let (before, told) = (Sent::by(client).unwrap(), too_big(scene));
    upload(client, content, &format!("http://{}/store/{name}", case.at(80))).unwrap();
    assert!(fs::read(scene.servers[backend].stored(&name)).unwrap() == content, "{case:?}: other bytes");
    assert_eq!(path_mtu(client, case.vip()).unwrap(), Some(NARROW - case.overhead()), "{case:?}");
    let told = too_big(scene) - told;
    let again = Sent::by(client).unwrap() - before;
    println!("{case:?} up: {told} too big, {again:?}");
    assert!((1..=RETRANSMISSIONS).contains(&told), "{case:?}: {told} packets were too big");
    assert!(again.is_at_most(RETRANSMISSIONS, TIMEOUTS), "{case:?}: {again:?}");
}

fn send_down(network: &Routed, scene: &Scene<'_>, (case, backend): (Case, usize), content: &[u8]) {
    let host = &network.backends[backend].netns;
    fs::write(scene.servers[backend].stored("file"), content).unwrap();
    let before = Sent::by(host).unwrap();
    let arrived = download(&network.client.netns, &format!("http://{}/store/file", case.at(80))).unwrap();
    assert!(arrived == content, "{case:?}: other bytes");
    let again = Sent::by(host).unwrap() - before;
    println!("{case:?} down: {again:?}");
    assert!(again.is_at_most(RETRANSMISSIONS, TIMEOUTS), "{case:?}: {again:?}");
}
