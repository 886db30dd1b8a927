//! What peers are told: what they ask for, then news as they come, then all flows again now and then.

use std::{collections::HashSet, time::Duration};

use lb_common::{
    connection::Connection,
    flow::Flow,
    service::{ServiceKey, Track},
};
use tokio::task::block_in_place;
use tracing::warn;

use super::{super::Truth, Told};
use crate::{
    causes::with_causes,
    daemon::now,
    dataplane::DataPlane as _,
    fleet::{Answer, Question},
    reconcile::{
        AppliedService,
        fleet::{Sighting, history, sightings},
    },
};

/// How often news are fetched while there may be some: a connection that another balancer gets sooner than this, before
/// it was told of it, may break.
const NEWS_EVERY: Duration = Duration::from_millis(1);

/// How often it is looked whether somebody listens, and whether a slot has moved.
const NO_NEWS_EVERY: Duration = Duration::from_millis(500);

/// News that are told at once.
const MOST_NEWS: usize = 4_096;

/// How often it is looked for flows that are to be told again.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

/// The walks through the table of flows take no more than this part of the time.
const MOST_OF_THE_TIME: u32 = 20;

/// How often a flow is told of within the time that it may be silent.
const TIMES_TOLD: u32 = 3;

impl Truth {
    /// The answer to what a peer asks.
    pub(super) fn answer_to(&self, question: &Question) -> Answer {
        block_in_place(|| {
            let histories = match question {
                Question::All(tables) => history(&self.applied, &self.dataplane, tables),
                Question::Flows => Vec::new(),
            };
            Answer { histories, flows: self.sightings(&self.remembered(|_| true)) }
        })
    }

    /// The flows of services that are remembered as having gone on.
    fn remembered(&self, of: impl Fn(u32) -> bool) -> Vec<(Flow, Connection)> {
        match self.dataplane.remembered() {
            Ok(flows) => flows.into_iter().filter(|(_, connection)| of(connection.service)).collect(),
            Err(error) => {
                warn!("peers are not told of all flows: {}", with_causes(&error));
                Vec::new()
            }
        }
    }

    /// Those that peers have to be told of.
    fn sightings(&self, flows: &[(Flow, Connection)]) -> Vec<Sighting> {
        let flow_key = self.config.fleet.seed.flow_key();
        sightings(&self.applied, flows, &self.dataplane, &flow_key, now())
    }

    /// When peers are to be told something.
    pub(in crate::daemon) fn next_telling(&self) -> Option<Duration> {
        self.peers.as_ref().filter(|peers| !peers.addresses.is_empty()).map(|peers| peers.next_telling)
    }

    /// Looks for news at once, and as often as there is a listener from then on: without one that is rare.
    pub(super) fn tell_soon(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.next_telling = now();
        }
    }

    /// Tells peers of flows that went on in moved slots since the last time, and of all others now and then.
    pub(in crate::daemon) fn tell_peers(&mut self) {
        let news = self.dataplane.news(MOST_NEWS).into_iter().map(|news| (news.flow, news.connection));
        let news = self.sightings(&news.collect::<Vec<_>>());
        let Some(peers) = &mut self.peers else { return };
        let listened_to = peers.fleet.has_listeners();
        let moved = self.applied.services().any(|(_, service)| service.moved_slots > 0);
        peers.next_telling = now() + if listened_to && moved { NEWS_EVERY } else { NO_NEWS_EVERY };
        if !news.is_empty() {
            peers.fleet.tell(news);
        }
        if listened_to && peers.next_again <= now() {
            block_in_place(|| self.tell_again());
        }
    }

    /// Tells of all flows of services of which that was long ago, or which have another table by now: what was dropped
    /// on its way is made good, and what is silent there is known to be alive.
    fn tell_again(&mut self) {
        let began = now();
        let Some(peers) = &self.peers else { return };
        let due: Vec<(ServiceKey, u32, Told)> = self
            .applied
            .services()
            .filter(|(key, service)| is_due(service, peers.told.get(key), began))
            .map(|(key, service)| {
                (*key, service.id, Told { at: began, generation: service.entry.generation })
            })
            .collect();
        let flows = if due.is_empty() {
            Vec::new()
        } else {
            let ids: HashSet<u32> = due.iter().map(|(_, id, _)| *id).collect();
            self.sightings(&self.remembered(|service| ids.contains(&service)))
        };
        let Some(peers) = &mut self.peers else { return };
        peers.told.retain(|key, _| self.applied.service(key).is_some());
        peers.told.extend(due.into_iter().map(|(key, _, told)| (key, told)));
        peers.next_again = now() + AGAIN_EVERY.max(now().saturating_sub(began) * MOST_OF_THE_TIME);
        if !flows.is_empty() {
            peers.fleet.tell_again(flows);
        }
    }
}

/// Whether a service has flows that no table places, and they were told long ago or under another table.
fn is_due(service: &AppliedService, told: Option<&Told>, now: Duration) -> bool {
    let tracks = service.moved_slots > 0 || service.entry.track == Track::Always as u8;
    let again = service.idle_timeout / TIMES_TOLD;
    let fresh = |told: &Told| told.generation == service.entry.generation && now < told.at + again;
    tracks && !told.is_some_and(fresh)
}
