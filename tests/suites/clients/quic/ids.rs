//! Connection ids in which a balancer reads the server's id (draft-ietf-quic-load-balancers-21, section 5.2: plaintext).
//!
//! ```text
//!   bits   3                 5                 8 × server id's length   8 × 8
//!          config rotation   bytes after this  server id                nonce
//! ```

use std::time::Duration;

use lb_tests::topology::Host;
use quinn::{ConnectionId, ConnectionIdGenerator, rustls::crypto::ring};

/// Number of the configuration that balancer and servers agree on. 7 would say that there is none.
pub(super) const CONFIG_ID: u8 = 2;

/// Bytes of the part that differs between the ids of a server.
const NONCE: usize = 8;

/// The id of a backend, as its configuration has it.
pub(super) fn server_id(host: &Host) -> [u8; 2] {
    let number: u8 = host.name.trim_start_matches('b').parse().expect("backends are numbered");
    [0xbe, number]
}

/// Makes the ids of one server.
pub(super) struct ServerIds {
    server_id: Vec<u8>,
}

impl ServerIds {
    pub(super) fn new(server_id: &[u8]) -> Self {
        Self { server_id: server_id.to_owned() }
    }
}

impl ConnectionIdGenerator for ServerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; NONCE];
        ring::default_provider().secure_random.fill(&mut nonce).expect("the kernel has random numbers");
        let first = CONFIG_ID << 5 | (self.cid_len() - 1) as u8;
        ConnectionId::new(&[&[first], &*self.server_id, &nonce].concat())
    }

    fn cid_len(&self) -> usize {
        1 + self.server_id.len() + NONCE
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
