//! Which way a probe takes to its backend, as far as the probe has to know.
//!
//! The task that owns the truth decides it and prepares the road; a probe only puts the mark on its socket.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use tokio::sync::watch;

use super::TargetKey;

/// Which way a probe takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That of clients' packets.
    Path(Path),
    /// To the backend's own address.
    Direct,
}

/// What a socket has to have so that its packets take the way of clients' packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The mark that names the way.
    pub mark: u32,
    /// The balancer's own address, which the backend answers to.
    pub source: IpAddr,
    /// The VIP.
    pub vip: IpAddr,
}

impl Way {
    /// Whom a probe of the backend at `address` talks to.
    #[must_use]
    pub const fn destination(self, address: SocketAddr) -> SocketAddr {
        match self {
            Self::Path(path) => SocketAddr::new(path.vip, address.port()),
            Self::Direct => address,
        }
    }
}

/// The ways that are known.
pub type Ways = HashMap<TargetKey, Way>;

/// Finds ways.
#[derive(Clone, Debug)]
pub struct Guide(watch::Receiver<Ways>);

impl Guide {
    /// Finds those that are told.
    #[must_use]
    pub const fn new(ways: watch::Receiver<Ways>) -> Self {
        Self(ways)
    }

    /// The way to a target; waits until it is known.
    pub async fn way(&self, key: &TargetKey) -> Way {
        let mut ways = self.0.clone();
        // Copied out at once: whoever tells ways waits for those who look.
        let found =
            ways.wait_for(|ways| ways.contains_key(key)).await.ok().and_then(|ways| ways.get(key).copied());
        match found {
            Some(way) => way,
            // Nobody tells any more: the daemon ends.
            None => std::future::pending().await,
        }
    }
}
