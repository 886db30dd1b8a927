//! What becomes of what peers tell.

use std::net::IpAddr;

use lb_common::service::ServiceKey;
use tokio::task::block_in_place;
use tracing::info;

use super::super::Truth;
use crate::{
    daemon::now,
    dataplane::DataPlane as _,
    fleet::Event,
    reconcile::fleet::{History, Host, Sighting, Taken, strangers, take_flows, take_history},
};

impl Truth {
    /// Takes in what a peer asks or tells. Whether other backends are to be looked after.
    pub(in crate::daemon) fn hear(&mut self, event: Event) -> bool {
        match event {
            // What is told next waits until `_done` is dropped.
            Event::History(_, history, _done) => return self.take_history(&history),
            Event::Flows(peer, flows, _done) => return self.take_flows(peer, &flows),
            Event::Ask(question, answer) => {
                // It does not wait any more where this fails.
                drop(answer.send(self.answer_to(&question)));
                self.tell_soon();
            }
            event => {
                if let Some(peers) = &mut self.peers {
                    peers.note(event);
                }
            }
        }
        false
    }

    fn take_history(&mut self, told: &History) -> bool {
        let serves = self.peers.as_ref().is_none_or(|peers| peers.serves);
        if serves || !self.is_new {
            return false;
        }
        let took_in = self.take_in(strangers(&self.applied, told));
        block_in_place(|| {
            let ops = take_history(&mut self.applied, told, &self.dataplane, now());
            self.dataplane.apply(&ops);
        });
        took_in
    }

    fn take_flows(&mut self, peer: IpAddr, told: &[Sighting]) -> bool {
        let mut taken = self.remember(told);
        let took_in = self.take_in(std::mem::take(&mut taken.strangers));
        if took_in {
            taken.remembered += self.remember(told).remembered;
        }
        if let Some(peer) = self.peers.as_mut().and_then(|peers| peers.others.get_mut(&peer)) {
            peer.heard += told.len() as u64;
            peer.remembered += taken.remembered;
        }
        took_in
    }

    fn remember(&mut self, told: &[Sighting]) -> Taken {
        block_in_place(|| {
            let flow_key = self.config.fleet.seed.flow_key();
            let taken = take_flows(&mut self.applied, told, &self.dataplane, &flow_key, now());
            self.dataplane.apply(&taken.ops);
            taken
        })
    }

    /// Looks after backends that only other balancers have had. Whether there are new ones.
    fn take_in(&mut self, strangers: Vec<(ServiceKey, Host)>) -> bool {
        let mut took_in = false;
        for (service, Host { address, forwarding }) in strangers {
            let Some(forwarding) = forwarding else { continue };
            let address = IpAddr::from(address);
            if self.view.wishes.take_in(service, address, forwarding, now()) {
                info!(%address, "a peer has flows with a backend that is not in the file: it is kept for them");
                took_in = true;
            }
        }
        if took_in {
            self.stale.everything();
            self.converge_or_log();
            self.keep_or_log();
        }
        took_in
    }
}
