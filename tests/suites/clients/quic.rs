//! A QUIC client that changes its address in mid-transfer, while backends are added.

mod client;
mod ids;
mod server;

use lb_tests::topology::{Depth, Routed};

use self::{client::Client, server::Server};
use crate::{
    certificate::Certificate,
    mode::{Case, Mode},
};

const PORT: u16 = 4433;
const HOST_NAME: &str = "quic.example";
/// Bytes between two changes of the client's address: more than is on its way at any time.
const PART: u64 = 3 << 20;
/// How often a client changes its address.
const MOVES: usize = 4;

/// The two ends by themselves.
#[test]
fn quic_client_keeps_its_connection_when_it_migrates() {
    let network = Routed::new(Depth::Near, 1).unwrap();
    let host = &network.backends[0];
    let certificate = Certificate::new(HOST_NAME);
    for case in Case::of(&[Mode::L2]) {
        let server = Server::start(host, (case.address_of(host), PORT).into(), &certificate);
        let mut client = Client::start(&network, case, server.address, &certificate);
        for _ in 0..MOVES {
            client.wait_for(PART);
            client.migrate();
        }
        client.wait_for(PART);
        assert_eq!(server.peers(), [client.addresses.clone()], "{case:?}");
        assert!(client.finish() > 10_000_000, "{case:?}");
    }
}
