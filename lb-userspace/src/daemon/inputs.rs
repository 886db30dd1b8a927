//! The tasks that look at the world, and what they are told to look at.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use anyhow::Result;
use tokio::{
    sync::{mpsc, watch},
    task, time,
};
use tracing::{error, warn};

use super::{
    Event, QUEUE,
    truth::{Truth, key},
};
use crate::{
    causes::with_causes,
    config::{Config, Service},
    health::{Metered, Scheduler, Target, Targets, check::Network, way::Guide},
    neighbours::Neighbours,
    path_mtu::Listener,
};

/// What the other tasks are to look at.
pub(super) struct Inputs {
    addresses: watch::Sender<BTreeSet<IpAddr>>,
    targets: watch::Sender<Targets>,
    neighbours: task::JoinHandle<()>,
}

impl Inputs {
    /// Starts the tasks that resolve next hops and probe backends.
    pub(super) fn start(truth: &Truth, events: &mpsc::Sender<Event>) -> Result<Self> {
        let (addresses, wanted) = watch::channel(addresses(truth));
        let (next_hops, found) = mpsc::channel(QUEUE);
        let neighbours = Neighbours::open()?;
        let neighbours = task::spawn(async move {
            if let Err(error) = neighbours.run(wanted, next_hops).await {
                let causes = with_causes(&error);
                error!("next hops are no longer kept up to date: {causes}; restart sluice");
            }
        });
        listen_for_path_mtus(events);
        let (targets, probed) = watch::channel(targets(truth));
        let (verdicts, judged) = mpsc::channel(QUEUE);
        let network = Network::new(Guide::new(truth.roads().ways()));
        let (scheduler, _) = Scheduler::new(Metered::new(network, truth.meters()), verdicts);
        task::spawn(scheduler.run(probed));
        task::spawn(forward(found, events.clone(), |(address, resolution)| {
            Event::NextHop(address, resolution)
        }));
        task::spawn(forward(judged, events.clone(), Event::Health));
        Ok(Self { addresses, targets, neighbours })
    }

    /// Has the tasks look at what is there now. Nothing is sent to one that goes on looking at the same.
    pub(super) fn update(&self, truth: &Truth) {
        replace(&self.addresses, addresses(truth));
        replace(&self.targets, targets(truth));
    }

    /// The same after another configuration took the place of `before`, which mostly changes little.
    pub(super) fn follow(&self, before: &Config, truth: &Truth) {
        let mut changes = before.changes(truth.config());
        if !changes.all(|(before, after)| before.zip(after).is_some_and(|(a, b)| are_looked_at_alike(a, b))) {
            self.update(truth);
        }
    }

    /// Ends the task that has neighbours under management, and waits until it has released them.
    pub(super) async fn stop(self) {
        drop(self.addresses);
        let _ = time::timeout(Duration::from_secs(1), self.neighbours).await;
    }
}

/// Starts to hear of packets that were too big for the ways to backends. It is no reason not to balance if that fails.
fn listen_for_path_mtus(events: &mpsc::Sender<Event>) {
    let failed = |error: io::Error| {
        warn!("what routers say of too large packets is not heard, clients may have to guess: {error}");
    };
    let listener = match Listener::open() {
        Ok(listener) => listener,
        Err(error) => return failed(error),
    };
    let (told, heard) = mpsc::channel(QUEUE);
    task::spawn(async move { listener.run(told).await.map_err(failed) });
    task::spawn(forward(heard, events.clone(), Event::TooBig));
}

fn are_looked_at_alike(one: &Service, other: &Service) -> bool {
    fn looks(service: &Service) -> impl Iterator<Item = impl PartialEq> {
        service.backends.iter().map(|backend| {
            let target = service.probe_target(backend);
            (&backend.name, backend.address, target, service.is_probed_by_path(backend))
        })
    }
    one.probe == other.probe && looks(one).eq(looks(other))
}

/// Tells whoever listens, if it is something else than before.
pub(super) fn replace<T: PartialEq>(told: &watch::Sender<T>, now: T) {
    told.send_if_modified(|told| {
        let differs = *told != now;
        *told = now;
        differs
    });
}

/// Passes everything from one channel on as events.
pub(super) async fn forward<T>(
    mut from: mpsc::Receiver<T>,
    to: mpsc::Sender<Event>,
    event: impl Fn(T) -> Event,
) {
    while let Some(item) = from.recv().await {
        if to.send(event(item)).await.is_err() {
            return;
        }
    }
}

/// The addresses whose next hops are needed.
fn addresses(truth: &Truth) -> BTreeSet<IpAddr> {
    let configured = truth.config().services.iter().flat_map(|service| &service.backends);
    let leaving = truth.wishes().leaving().iter().map(|leaving| &leaving.backend);
    configured.chain(leaving).map(|backend| backend.address).collect()
}

/// What is to be probed. A backend that is leaving is probed under the name that it had: nothing of its health is lost.
fn targets(truth: &Truth) -> Targets {
    let mut targets = Targets::new();
    for service in &truth.config().services {
        let Some(probe) = &service.probe else { continue };
        let leaving = truth.wishes().leaving_of(service.key()).map(|leaving| &leaving.backend);
        for backend in service.backends.iter().chain(leaving) {
            let key = key(service, &backend.name);
            let Some(address) = service.probe_target(backend) else { continue };
            let known = truth.known_health(&key, address);
            let by_path = service.is_probed_by_path(backend);
            targets.insert(key, Target { address, probe: probe.clone(), by_path, known });
        }
    }
    targets
}
