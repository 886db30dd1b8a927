//! A QUIC client that changes its address in mid-transfer, while backends are added.

mod client;
mod ids;
mod server;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use lb_tests::{
    config::Service,
    topology::{Depth, Host, Routed},
};
use quinn::TransportConfig;

use self::{
    client::Client,
    ids::{CONFIG_ID, server_id},
    server::Server,
};
use crate::{
    certificate::Certificate,
    mode::{Case, Mode, POOL},
    scene::Scene,
};

const PORT: u16 = 4433;
const HOST_NAME: &str = "quic.example";
/// Bytes that are on their way at most, in each direction.
const WINDOW: u32 = 128 << 10;
/// Bytes between two changes of the client's address: more than can be on their way.
const PART: u64 = 1 << 20;
/// Backends of a service before any are added.
const AT_FIRST: usize = 2;
/// How often a client changes its address. Were each time the flow's hash to decide, one in a thousand would get
/// through.
const MOVES: usize = 6;

#[test]
fn quic_transfer_survives_migration_while_backends_are_added() {
    let network = Routed::new(Depth::Near, 4).unwrap();
    let certificate = Certificate::new(HOST_NAME);
    let services = Case::all().map(|case| service(case, &network.backends[..AT_FIRST])).collect();
    let mut scene = Scene::start(&network, services);
    for (number, case) in Case::all().enumerate() {
        let serve = |host| Server::start(host, (case.served_at(host), PORT).into(), &certificate);
        let servers: Vec<_> = network.backends.iter().map(serve).collect();
        let mut client = Client::start(&network, case, case.at(PORT), &certificate);
        for step in 1..=MOVES {
            client.wait_for(PART);
            client.migrate();
            let backends = AT_FIRST + step;
            if backends <= network.backends.len() {
                scene.config.services[number] = service(case, &network.backends[..backends]);
                scene.reload("another backend to join", |status| {
                    let service = status.service(&case.service_name(PORT));
                    service.is_some_and(|service| service.backends.len() == backends) && status.is_ready()
                });
            }
        }
        client.wait_for(PART);
        let peers: Vec<_> = servers.iter().flat_map(Server::peers).collect();
        assert_seen(case, &peers, &client.addresses);
        let bytes = client.finish();
        println!("{case:?}: {bytes} bytes over {MOVES} changes of address, one connection");
        assert!(bytes > MOVES as u64 * PART, "{case:?}: {bytes}");
    }
    scene.dropped_nothing_but(&[]);
}

/// A server has seen one connection, from each of the client's addresses in turn, or from as many of the balancer's.
fn assert_seen(case: Case, peers: &[Vec<SocketAddr>], addresses: &[SocketAddr]) {
    if case.mode != Mode::Nat {
        assert_eq!(peers, [addresses], "{case:?}");
        return;
    }
    let [seen] = peers else { panic!("{case:?}: {peers:?}") };
    let different: BTreeSet<_> = seen.iter().filter(|peer| POOL.contains(&peer.ip())).collect();
    assert_eq!((different.len(), seen.len()), (addresses.len(), addresses.len()), "{case:?}: {seen:?}");
}

/// What both ends use.
fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.stream_receive_window(WINDOW.into()).send_window(WINDOW.into());
    config.into()
}

fn service(case: Case, backends: &[Host]) -> Service {
    let mut service = Service { protocol: "quic", ..case.service(PORT, backends) };
    let length = server_id(&backends[0]).len();
    let ids = format!("quic = {{ server_id_length = {length}, config_id = {CONFIG_ID} }}");
    service.settings = format!("{}\n{ids}", service.settings);
    for (backend, host) in service.backends.iter_mut().zip(backends) {
        let [first, second] = server_id(host);
        backend.settings = format!("server_id = \"{first:02x}{second:02x}\"");
    }
    service
}
