//! A QUIC server that sends back what it gets, and remembers who it spoke to.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

use lb_tests::topology::Host;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, TokioRuntime};

use super::{
    ids::{ServerIds, server_id},
    transport,
};
use crate::{background::Background, certificate::Certificate};

/// The server, running.
pub(super) struct Server {
    peers: Peers,
    _task: Background,
}

/// For each connection, the addresses that its client had, in order.
type Peers = Arc<Mutex<Vec<Vec<SocketAddr>>>>;

impl Server {
    /// Starts it on `host`, bound to `address`, so that it answers from there.
    pub(super) fn start(host: &Host, address: SocketAddr, certificate: &Certificate) -> Self {
        let mut config = certificate.quic_server();
        config.transport_config(transport());
        let peers = Peers::default();
        let noted = Arc::clone(&peers);
        let id = server_id(host);
        let serve = move || {
            let mut endpoint = EndpointConfig::default();
            endpoint.cid_generator(move || Box::new(ServerIds::new(&id)));
            let socket = UdpSocket::bind(address).unwrap();
            let endpoint = Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime)).unwrap();
            accept(endpoint, noted)
        };
        Self { peers, _task: Background::start(&host.netns, serve) }
    }

    /// The connections, each with the addresses that its client had.
    pub(super) fn peers(&self) -> Vec<Vec<SocketAddr>> {
        self.peers.lock().unwrap().clone()
    }
}

async fn accept(endpoint: Endpoint, peers: Peers) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(serve(incoming, Arc::clone(&peers)));
    }
}

/// Ends with the connection.
async fn serve(incoming: Incoming, peers: Peers) {
    let Ok(connection) = incoming.await else {
        return;
    };
    let number = {
        let mut peers = peers.lock().unwrap();
        peers.push(Vec::new());
        peers.len() - 1
    };
    while let Ok((answer, request)) = connection.accept_bi().await {
        // An error ends the connection, too.
        let _ = echo(answer, request, || note(&peers, number, &connection)).await;
    }
}

fn note(peers: &Peers, number: usize, connection: &Connection) {
    let peer = &mut peers.lock().unwrap()[number];
    let address = connection.remote_address();
    if peer.last() != Some(&address) {
        peer.push(address);
    }
}

/// Ends with the stream, or when the connection is lost. Calls `arrived` for every piece.
async fn echo(mut answer: SendStream, mut request: RecvStream, arrived: impl Fn()) -> Option<()> {
    while let Some(chunk) = request.read_chunk(usize::MAX, true).await.ok()? {
        arrived();
        answer.write_chunk(chunk.bytes).await.ok()?;
    }
    answer.finish().ok()
}
