//! The other balancers of the fleet: who they are, and how it stands with them.

mod hear;
mod tell;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use lb_common::service::ServiceKey;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Truth;
use crate::{
    admin::status,
    config::Config,
    daemon::now,
    fleet::{Event, Fleet, Here, Key, Settings},
    reconcile::fleet::{Published, published},
};

/// The other balancers of the fleet.
#[derive(Debug)]
pub(super) struct Peers {
    fleet: Fleet,
    /// Addresses of all balancers.
    addresses: Vec<IpAddr>,
    own: Option<Result<IpAddr, String>>,
    others: BTreeMap<IpAddr, Peer>,
    /// Whether packets are forwarded.
    serves: bool,
    next_telling: Duration,
    next_again: Duration,
    told: HashMap<ServiceKey, Told>,
}

/// What is known of another balancer.
#[derive(Debug, Default)]
struct Peer {
    state: Option<Result<(), String>>,
    /// Whether it has told all that it knew.
    complete: bool,
    heard: u64,
    remembered: u64,
    tables: HashMap<ServiceKey, Published>,
}

/// When the flows of a service were told, and what its table was then.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Duration,
    generation: u32,
}

fn settings(config: &Config) -> Settings {
    let fleet = &config.fleet;
    Settings { peers: fleet.peers.clone(), port: fleet.port, key: Key::of(&fleet.seed) }
}

impl Truth {
    /// Begins to talk to the other balancers, now that there are tables.
    pub(in crate::daemon) fn join_fleet(&mut self, events: mpsc::Sender<Event>) {
        let settings = settings(&self.config);
        let here = Here { tables: published(&self.applied), is_new: self.is_new };
        self.peers = Some(Peers {
            addresses: settings.peers.clone(),
            fleet: Fleet::start(settings, here, events),
            own: None,
            others: BTreeMap::new(),
            serves: false,
            next_telling: now(),
            next_again: now(),
            told: HashMap::new(),
        });
    }

    /// Talks to those that the configuration names by now.
    pub(in crate::daemon) fn configure_fleet(&mut self) {
        let Some(peers) = &mut self.peers else { return };
        let settings = settings(&self.config);
        if settings.peers != peers.addresses {
            peers.addresses.clone_from(&settings.peers);
            peers.own = None;
            peers.others.clear();
        }
        peers.fleet.configure(settings);
    }

    /// Whether all peers have told what they know, or will not.
    pub(in crate::daemon) fn has_heard_peers(&self) -> bool {
        let Some(peers) = &self.peers else { return true };
        let heard = |peer: &Peer| peer.complete || matches!(peer.state, Some(Err(_)));
        match &peers.own {
            None => peers.addresses.is_empty(),
            Some(Ok(_)) => peers.others.values().all(heard),
            Some(Err(_)) => true,
        }
    }

    /// From now on flows are forwarded of which nothing is remembered, so that nobody else's history is any good.
    pub(in crate::daemon) fn open_to_peers(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.serves = true;
        }
        self.publish_to_peers();
    }

    /// Makes the published tables known, and looks for news from now on, since slots may have moved.
    pub(super) fn publish_to_peers(&mut self) {
        self.tell_soon();
        let Some(peers) = &mut self.peers else { return };
        let is_new = self.is_new && !peers.serves;
        peers.fleet.publish(Here { tables: published(&self.applied), is_new });
    }

    pub(super) fn fleet_status(&self) -> Option<status::Fleet> {
        let peers = self.peers.as_ref().filter(|peers| !peers.addresses.is_empty())?;
        let tables = published(&self.applied);
        let reports = peers.others.iter().map(|(address, peer)| {
            let told = peers.fleet.told(*address);
            let (same, other): (Vec<Published>, Vec<Published>) =
                tables.iter().partition(|table| peer.tables.get(&table.key) == Some(*table));
            status::Peer {
                address: *address,
                heard: peer.state == Some(Ok(())),
                problem: peer.state.clone().and_then(Result::err),
                listens: told.listening,
                flows_told: told.flows,
                flows_dropped: told.dropped,
                flows_heard: peer.heard,
                flows_remembered: peer.remembered,
                same_tables: same.len() as u32,
                other_tables: other.iter().filter_map(|table| self.service_name(&table.key)).collect(),
            }
        });
        Some(status::Fleet {
            own: peers.own.clone().and_then(Result::ok),
            problem: peers.own.clone().and_then(Result::err),
            peers: reports.collect(),
        })
    }

    fn service_name(&self, key: &ServiceKey) -> Option<String> {
        self.applied.service(key).map(|service| service.name.clone())
    }
}

impl Peers {
    /// Takes in what concerns the peers themselves.
    fn note(&mut self, event: Event) {
        match event {
            Event::Own(own) => self.note_own(own),
            Event::Hears(address, state) => self.note_state(address, state),
            Event::Tables(address, tables) => {
                if let Some(peer) = self.others.get_mut(&address) {
                    peer.tables.extend(tables.into_iter().map(|table| (table.key, table)));
                }
            }
            Event::Complete(address) => {
                if let Some(peer) = self.others.get_mut(&address) {
                    peer.complete = true;
                }
            }
            Event::History(..) | Event::Flows(..) | Event::Ask(..) => {}
        }
    }

    fn note_own(&mut self, own: Result<IpAddr, String>) {
        if self.own.as_ref() == Some(&own) {
            return;
        }
        match &own {
            Ok(own) => {
                info!(%own, others = self.addresses.len() - 1, "talking to the fleet");
                let others = self.addresses.iter().filter(|address| *address != own);
                self.others = others.map(|address| (*address, Peer::default())).collect();
            }
            Err(problem) => warn!("not talking to the fleet: {problem}"),
        }
        self.own = Some(own);
    }

    fn note_state(&mut self, address: IpAddr, state: Result<(), String>) {
        let Some(peer) = self.others.get_mut(&address) else { return };
        if peer.state.as_ref() == Some(&state) {
            return;
        }
        match &state {
            Ok(()) => info!(peer = %address, "peer is heard"),
            Err(problem) => {
                warn!(peer = %address, "peer is not heard: {problem}");
                peer.tables.clear();
            }
        }
        peer.state = Some(state);
    }
}
