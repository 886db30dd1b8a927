//! Balancers of a fleet that tell each other where flows are. No leader, no consensus: each tells what it knows.
//!
//! Every balancer connects to every other one and asks; what is told flows the other way only. So there are two
//! connections between two balancers, each with one purpose.
//!
//! | task | what | how many |
//! | --- | --- | --- |
//! | `run` | finds out which of the peers this host is, starts the others | one |
//! | `post` | hands out flows at a bounded rate | one |
//! | `telling` | answers who asks, then tells what comes | one for each connection |
//! | `hearing` | connects, asks, and hears what is told | one for each other balancer |
//!
//! They know nothing of tables: what is heard and asked goes to the owner of the truth as an [`Event`].

mod backoff;
mod hearing;
mod message;
mod own;
mod post;
mod secure;
mod telling;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    task::{self, JoinSet},
    time::{sleep, timeout},
};

use crate::reconcile::fleet::{History, Published, Sighting};
use hearing::Hearing;
use message::Message;
use own::Own;
use post::{Letter, Parcel};
pub use secure::Key;
use secure::{Reader, SecureError, Writer};
use telling::Telling;

/// How often something is said where there is nothing to tell.
const ALIVE: Duration = Duration::from_secs(5);

/// How long nothing may be heard.
const SILENCE: Duration = Duration::from_secs(15);

/// How long to wait for an address of this host's own to appear.
const OWN_AGAIN: Duration = Duration::from_secs(2);

/// What the configuration says of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// One address of every balancer.
    pub peers: Vec<IpAddr>,
    /// TCP port of all of them.
    pub port: u16,
    /// What they know each other by.
    pub key: Key,
}

/// What peers are to know of this balancer without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The published tables.
    pub tables: Vec<Published>,
    /// Whether it forwards nothing yet, and so can be told histories.
    pub is_new: bool,
}

/// What the owner of the truth has to know or to do.
#[derive(Debug)]
pub enum Event {
    /// Which of the peers this host is, or why that is not known.
    Own(Result<IpAddr, String>),
    /// Whether a peer is heard, or why not. Told again after each attempt.
    Hears(IpAddr, Result<(), String>),
    /// Tables that a peer has published.
    Tables(IpAddr, Vec<Published>),
    /// Where flows are that the peer does not remember.
    History(IpAddr, History, Done),
    /// Flows that the peer remembers.
    Flows(IpAddr, Vec<Sighting>, Done),
    /// The peer has told all that it knew when it was asked.
    Complete(IpAddr),
    /// A peer asks.
    Ask(Question, oneshot::Sender<Answer>),
}

/// Lets the sender go on, when it is dropped: a peer tells the next thing when this one is done.
pub type Done = oneshot::Sender<()>;

/// What a peer wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Histories, for one that has published these tables and knows nothing else; and all flows.
    All(Vec<Published>),
    /// All flows.
    Flows,
}

/// What a peer is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Where flows are that are not remembered.
    pub histories: Vec<History>,
    /// Flows that are.
    pub flows: Vec<Sighting>,
}

/// What was told to one peer.
#[derive(Debug, Default)]
pub(crate) struct Told {
    flows: AtomicU64,
    dropped: AtomicU64,
    listening: AtomicU32,
    /// It has come to listen, so there is no need to wait any longer before it is asked.
    came: Notify,
}

/// What was told to each peer.
type Ledger = Arc<BTreeMap<IpAddr, Told>>;

/// What was told to a peer, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldCount {
    /// Flows.
    pub flows: u64,
    /// Flows that came faster than it took them. They are told again later.
    pub dropped: u64,
    /// Whether it listens.
    pub listening: bool,
}

/// The daemon's end.
#[derive(Debug)]
pub struct Fleet {
    run: watch::Sender<Run>,
    here: watch::Sender<Here>,
    letters: mpsc::Sender<Letter>,
}

/// A configuration that is in force.
#[derive(Clone, Debug)]
struct Run {
    settings: Settings,
    ledger: Ledger,
}

/// What all tasks share.
#[derive(Clone, Debug)]
struct Shared {
    settings: Settings,
    ledger: Ledger,
    here: watch::Receiver<Here>,
    parcels: broadcast::Sender<Arc<Parcel>>,
    events: mpsc::Sender<Event>,
}

impl Fleet {
    /// Starts to talk.
    #[must_use]
    pub fn start(settings: Settings, here: Here, events: mpsc::Sender<Event>) -> Self {
        let (here, known) = watch::channel(here);
        let (run, runs) = watch::channel(Run::of(settings));
        let (letters, inbox) = mpsc::channel(post::LETTERS);
        let (parcels, _) = broadcast::channel(post::PARCELS);
        task::spawn(post::deliver(inbox, parcels.clone()));
        task::spawn(run_all(runs, known, parcels, events));
        Self { run, here, letters }
    }

    /// Talks to others from now on, where `settings` are others.
    pub fn configure(&self, settings: Settings) {
        self.run.send_if_modified(|run| {
            let changed = run.settings != settings;
            if changed {
                *run = Run::of(settings);
            }
            changed
        });
    }

    /// Makes known what this balancer has published.
    pub fn publish(&self, here: Here) {
        self.here.send_if_modified(|known| {
            let changed = *known != here;
            *known = here;
            changed
        });
    }

    /// Tells of flows that are news. What does not fit is left out.
    pub fn tell(&self, flows: Vec<Sighting>) {
        self.send(Letter::News(flows));
    }

    /// Tells once more of flows that were told before, after all news.
    pub fn tell_again(&self, flows: Vec<Sighting>) {
        self.send(Letter::Again(flows));
    }

    fn send(&self, letter: Letter) {
        if self.has_listeners() {
            let _ = self.letters.try_send(letter);
        }
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.run.borrow().ledger.values().any(|told| told.listening.load(Relaxed) > 0)
    }

    /// What was told to a peer.
    #[must_use]
    pub fn told(&self, peer: IpAddr) -> ToldCount {
        self.run.borrow().ledger.get(&peer).map_or_else(ToldCount::default, |told| ToldCount {
            flows: told.flows.load(Relaxed),
            dropped: told.dropped.load(Relaxed),
            listening: told.listening.load(Relaxed) > 0,
        })
    }
}

impl Run {
    fn of(settings: Settings) -> Self {
        let ledger = settings.peers.iter().map(|peer| (*peer, Told::default())).collect();
        Self { settings, ledger: Arc::new(ledger) }
    }
}

/// Talks as one configuration says until there is another. Ends with the daemon's end.
async fn run_all(
    mut runs: watch::Receiver<Run>,
    here: watch::Receiver<Here>,
    parcels: broadcast::Sender<Arc<Parcel>>,
    events: mpsc::Sender<Event>,
) {
    loop {
        let Run { settings, ledger } = runs.borrow_and_update().clone();
        let shared =
            Shared { settings, ledger, here: here.clone(), parcels: parcels.clone(), events: events.clone() };
        let mut tasks = JoinSet::new();
        let changed = tokio::select! {
            never = talk(shared, &mut tasks) => match never {},
            changed = runs.changed() => changed,
        };
        // Waits for their end, so that the port is free again.
        tasks.shutdown().await;
        if changed.is_err() {
            return;
        }
    }
}

/// Finds out who this host is, and talks.
async fn talk(shared: Shared, tasks: &mut JoinSet<()>) -> Infallible {
    if shared.settings.peers.is_empty() {
        return pending().await;
    }
    let own = loop {
        match own::find(&shared.settings.peers, shared.settings.port) {
            Ok(own) => break own,
            Err(reason) => shared.event(Event::Own(Err(reason))).await,
        }
        sleep(OWN_AGAIN).await;
    };
    talk_as(shared, own, tasks).await
}

/// Listens to and asks all peers.
async fn talk_as(shared: Shared, own: Own, tasks: &mut JoinSet<()>) -> Infallible {
    let Own { address, listener } = own;
    shared.event(Event::Own(Ok(address))).await;
    for &peer in shared.settings.peers.iter().filter(|&&peer| peer != address) {
        tasks.spawn(Hearing::new(shared.clone(), address, peer).run());
    }
    tasks.spawn(Telling::new(shared).listen(listener));
    pending().await
}

impl Shared {
    async fn event(&self, event: Event) {
        // Nobody is there any more where this fails.
        let _ = self.events.send(event).await;
    }
}

async fn say(writer: &mut Writer, message: &Message) -> Result<(), SecureError> {
    writer.write(&message.encode(crate::daemon::now())).await
}

/// The next message, within the time that nothing may be heard.
async fn hear(reader: &mut Reader) -> Result<Message, SecureError> {
    let bytes = timeout(SILENCE, reader.read()).await.map_err(|_| SecureError::Slow)??;
    Message::decode(bytes, crate::daemon::now()).map_err(|_| SecureError::Garbled)
}
