//! A QUIC client that has its bytes sent back, checks each, and goes on until it is told that it is enough.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lb_tests::{process::wait_until, topology::Routed};
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::timeout,
};

use super::{HOST_NAME, transport};
use crate::{certificate::Certificate, content::content, mode::Case};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes after which the content is repeated. A prime, so that it is not where packets are.
const PERIOD: usize = 65_521;

/// The client, with a transfer under way.
pub(super) struct Client<'net> {
    network: &'net Routed,
    case: Case,
    endpoint: Endpoint,
    /// Where it has been, in order.
    pub(super) addresses: Vec<SocketAddr>,
    progress: Arc<Progress>,
    transfer: JoinHandle<()>,
    /// Runs the transfer while the test does other things. Dropped last.
    runtime: Runtime,
}

#[derive(Default)]
struct Progress {
    /// Bytes that came back.
    bytes: AtomicU64,
    enough: AtomicBool,
}

impl<'net> Client<'net> {
    /// Connects to `target`, and starts a transfer.
    pub(super) fn start(
        network: &'net Routed,
        case: Case,
        target: SocketAddr,
        certificate: &Certificate,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = bind(network, case.address_of(&network.client));
        let addresses = vec![socket.local_addr().unwrap()];
        let mut config = certificate.quic_client();
        config.transport_config(transport());
        let connect = async {
            let endpoint = EndpointConfig::default();
            let mut endpoint = Endpoint::new(endpoint, None, socket, Arc::new(TokioRuntime)).unwrap();
            endpoint.set_default_client_config(config);
            let connecting = endpoint.connect(target, HOST_NAME).unwrap();
            let connection = timeout(DEADLINE, connecting).await.expect("the handshake ends").unwrap();
            (endpoint, connection)
        };
        let (endpoint, connection) = runtime.block_on(connect);
        let progress = Arc::new(Progress::default());
        let transfer = runtime.spawn(transfer(connection, Arc::clone(&progress)));
        Self { network, case, endpoint, addresses, progress, transfer, runtime }
    }

    /// Waits until `bytes` more have come back.
    pub(super) fn wait_for(&self, bytes: u64) {
        let goal = self.bytes() + bytes;
        let reached = || self.bytes() >= goal || self.transfer.is_finished();
        wait_until(DEADLINE, "the transfer to go on", reached).unwrap();
        assert!(!self.transfer.is_finished(), "the transfer has ended after {} bytes", self.bytes());
    }

    /// Goes on from the other one of the host's two addresses, and another port.
    pub(super) fn migrate(&mut self) {
        let own = self.case.address_of(&self.network.client);
        let other = Routed::OTHER_CLIENT[usize::from(own.is_ipv6())];
        let is_at_home = self.addresses.last().is_some_and(|address| address.ip() == own);
        let socket = bind(self.network, if is_at_home { other } else { own });
        self.addresses.push(socket.local_addr().unwrap());
        let _context = self.runtime.enter();
        self.endpoint.rebind(socket).unwrap();
    }

    /// Ends the transfer, and gives its length.
    pub(super) fn finish(self) -> u64 {
        self.progress.enough.store(true, Ordering::Relaxed);
        let end = async { timeout(DEADLINE, self.transfer).await.expect("the transfer ends").unwrap() };
        self.runtime.block_on(end);
        self.progress.bytes.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.progress.bytes.load(Ordering::Relaxed)
    }
}

fn bind(network: &Routed, address: IpAddr) -> UdpSocket {
    network.client.netns.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap()
}

/// Sends until it is enough, while it compares what comes back.
async fn transfer(connection: Connection, progress: Arc<Progress>) {
    let (out, back) = connection.open_bi().await.unwrap();
    let content = content(PERIOD);
    let (sent, received) = tokio::join!(send(out, &content, &progress), compare(back, &content, &progress));
    assert_eq!(sent, received);
}

async fn send(mut out: SendStream, content: &[u8], progress: &Progress) -> u64 {
    let mut position = 0;
    while !progress.enough.load(Ordering::Relaxed) {
        out.write_all(content).await.unwrap();
        position += content.len() as u64;
    }
    out.finish().unwrap();
    position
}

async fn compare(mut back: RecvStream, content: &[u8], progress: &Progress) -> u64 {
    let mut position = 0;
    let mut rest = content;
    // A chunk is compared with what is left of the period, at most.
    while let Some(chunk) = back.read_chunk(rest.len(), true).await.unwrap() {
        let (expected, later) = rest.split_at(chunk.bytes.len());
        assert!(chunk.bytes == expected, "other bytes after {position}");
        rest = if later.is_empty() { content } else { later };
        position += expected.len() as u64;
        progress.bytes.store(position, Ordering::Relaxed);
    }
    position
}
