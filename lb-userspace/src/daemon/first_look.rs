//! What a daemon looks at before it fills the maps for the first time: the world, and what its peers know.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{self, Instant};
use tracing::info;

use super::{Event, Owner, reload::Reload, truth::Truth};

/// How long the first table waits for next hops and first probes. What comes later is a change like any other.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How long it waits for more where they keep coming, as they do of a million backends: a table that is published before
/// gives slots away that move back a moment later, and each of them has to be remembered for long.
const LONG_LOOK: Duration = Duration::from_secs(30);

/// They keep coming while the last one is not longer ago.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a new balancer waits for what its peers know.
const HEAR_PEERS: Duration = Duration::from_secs(2);

impl Owner<'_> {
    /// Fills the maps with what is known about the world, after a while to learn of it, and with what peers know. A
    /// reload that comes meanwhile has to wait.
    pub(super) async fn first_look(&mut self) -> Result<Option<Reload>> {
        let mut known = 0;
        let knows_everything = move |truth: &Truth| {
            known = truth.known_services(known);
            known == truth.config().services.len()
        };
        let (known, early) = self.collect(FIRST_LOOK, LONG_LOOK, knows_everything).await;
        if !known {
            info!("not every backend is known yet; starting with what is");
        }
        self.truth.converge().context("cannot fill the maps")?;
        self.truth.join_fleet(self.peers.clone());
        let (heard, later) = self.collect(HEAR_PEERS, HEAR_PEERS, Truth::has_heard_peers).await;
        if !heard {
            info!("not every peer has told what it knows; starting without");
        }
        self.truth.converge().context("cannot fill the maps")?;
        Ok(early.or(later))
    }

    /// Takes in events until `enough` is known, or for as long as there is patience: up to the longer one while backends
    /// are heard of. Whether enough is known, and a reload.
    async fn collect(
        &mut self,
        patience: Duration,
        longest: Duration,
        mut enough: impl FnMut(&Truth) -> bool,
    ) -> (bool, Option<Reload>) {
        let began = Instant::now();
        let (mut heard, mut early) = (began, None);
        loop {
            // Not after every event, since many come at once.
            if self.inbox.is_empty() {
                // Probes wait for it.
                self.truth.follow_roads();
                if enough(&self.truth) {
                    return (true, early);
                }
            }
            let end = (began + patience).max((heard + PAUSE).min(began + longest));
            if end <= Instant::now() {
                return (enough(&self.truth), early);
            }
            match time::timeout_at(end, self.inbox.recv()).await {
                Ok(Some(Event::Reload(reload))) => early = Some(reload),
                Ok(Some(event)) => {
                    if matches!(event, Event::NextHop(..) | Event::Health(_)) {
                        heard = Instant::now();
                    }
                    self.note(event);
                }
                Ok(None) => return (enough(&self.truth), early),
                Err(_) => {}
            }
        }
    }
}
