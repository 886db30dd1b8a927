//! 10 MB there and back in packets of 9000 bytes, over interfaces that take only programs that know frames of several pieces.

use std::fs;

use lb_tests::{
    client::iperf,
    server::Iperf,
    topology::{Depth, Routed},
};

use crate::{
    content::content,
    curl::{download, upload},
    mode::{Case, Mode},
    scene::Scene,
};

const SIZE: usize = 10 << 20;
const FRONT: u32 = 9000;
/// Room for any tunnel around that.
const BACK: u32 = 9100;
/// Port of iperf3.
const BULK: u16 = 5201;
/// Of packets of 1500 bytes it would be some 7000.
const MOST_PACKETS: u64 = 3000;

#[test]
fn transfers_in_jumbo_frames_are_whole() {
    let network = Routed::with_mtus(Depth::Near, 1, FRONT, BACK).unwrap();
    let services = Case::of(&Mode::ALL).map(|case| case.service(80, &network.backends)).collect();
    let scene = Scene::start(&network, services);
    let (client, content) = (&network.client.netns, content(SIZE));
    for case in Case::of(&Mode::ALL) {
        let name = case.service_name(80);
        let packets = || scene.daemon.status().unwrap().service(&name).unwrap().packets;
        let before = packets();
        upload(client, &content, &format!("http://{}/store/{name}", case.at(80))).unwrap();
        assert!(fs::read(scene.servers[0].stored(&name)).unwrap() == content, "{case:?}: other bytes");
        let sent = packets() - before;
        println!("{case:?}: {sent} packets up");
        assert!(sent < MOST_PACKETS, "{case:?}: {sent} packets");
        fs::write(scene.servers[0].stored("file"), &content).unwrap();
        let arrived = download(client, &format!("http://{}/store/file", case.at(80))).unwrap();
        assert!(arrived == content, "{case:?}: other bytes");
    }
    scene.dropped_nothing_but(&[]);
}

#[test]
fn bulk_data_goes_in_jumbo_frames() {
    let network = Routed::with_mtus(Depth::Near, 1, FRONT, BACK).unwrap();
    let services = Case::all().map(|case| case.service(BULK, &network.backends)).collect();
    let scene = Scene::start(&network, services);
    let host = &network.backends[0];
    let _servers: Vec<_> =
        Case::all().map(|case| Iperf::start_at(host, case.served_at(host), BULK).unwrap()).collect();
    for case in Case::all() {
        let sent = iperf(&network.client.netns, case.vip(), BULK, 1).unwrap();
        let status = scene.daemon.status().unwrap();
        let packets = status.service(&case.service_name(BULK)).unwrap().packets;
        println!("{case:?}: {sent:?} in {packets} packets");
        assert!(sent.bytes > 1_000_000, "{case:?}: {sent:?}");
        // Some of them carry nothing but an acknowledgement.
        assert!(packets < sent.bytes / 3000, "{case:?}: {packets} packets for {sent:?}");
    }
    scene.dropped_nothing_but(&[]);
}
