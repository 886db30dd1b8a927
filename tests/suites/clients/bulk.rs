//! iperf3: bulk data over TCP and datagrams over UDP.

use lb_tests::{
    client::{iperf, iperf_datagrams},
    config::Service,
    server::Iperf,
    topology::{Depth, Routed},
};

use crate::{mode::Case, scene::Scene};

const PORT: u16 = 5201;
const DATAGRAMS: u64 = 1000;

#[test]
fn bulk_data_and_datagrams_reach_the_backend() {
    let network = Routed::new(Depth::Near, 1).unwrap();
    let host = &network.backends[0];
    let tcp = Case::all().map(|case| case.service(PORT, &network.backends));
    let services = tcp.flat_map(|tcp| [udp_beside(&tcp), tcp]).collect();
    let scene = Scene::start(&network, services);
    let _servers: Vec<_> =
        Case::all().map(|case| Iperf::start_at(host, case.served_at(host), PORT).unwrap()).collect();
    let mut arrived = Vec::new();
    for case in Case::all() {
        let sent = iperf(&network.client.netns, case.vip(), PORT, 1).unwrap();
        let datagrams = iperf_datagrams(&network.client.netns, case.vip(), PORT, DATAGRAMS).unwrap();
        println!("{case:?}: {sent:?} {datagrams:?}");
        assert!(sent.bytes > 1_000_000, "{case:?}: {sent:?}");
        assert_eq!(datagrams.packets, DATAGRAMS, "{case:?}");
        arrived.push((case, DATAGRAMS - datagrams.lost_packets));
    }
    let status = scene.dropped_nothing_but(&[]);
    for (case, arrived) in arrived {
        let udp = status.service(&format!("{}-udp", case.service_name(PORT))).unwrap();
        // A busy machine may overrun the queue of any device. One more makes the client known.
        assert!(arrived > DATAGRAMS / 2, "{case:?}: {arrived}");
        assert!((arrived + 1..=DATAGRAMS + 1).contains(&udp.packets), "{arrived} {udp:?}");
    }
}

/// The client speaks TCP to the server about the datagrams.
fn udp_beside(tcp: &Service) -> Service {
    Service { name: format!("{}-udp", tcp.name), protocol: "udp", ..tcp.clone() }
}
