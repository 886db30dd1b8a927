//! Answering peers that ask, and telling them what comes.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::{debug, warn};

use super::{
    ALIVE, Answer, Event, Here, Question, SILENCE, Shared, Told, hear,
    message::{self, Message},
    post::Parcel,
    say,
    secure::{self, Reader, SecureError, Writer},
};
use crate::reconcile::fleet::Published;

/// Connections of one peer at a time: one that it uses, and those that it has given up and that are not gone yet.
const CONNECTIONS: usize = 4;

/// Tables that a peer may say it has.
const MOST_TABLES: usize = 1 << 20;

/// How long the same trouble with the same peer is not told again.
const QUIET: Duration = Duration::from_mins(1);

/// How long to wait where the kernel accepts no connection: it has no room for one.
const NO_ROOM: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Debug)]
pub(super) struct Telling {
    shared: Arc<Shared>,
    /// Room for connections, by peer.
    room: HashMap<IpAddr, Arc<Semaphore>>,
    troubles: Troubles,
}

impl Telling {
    pub(super) fn new(shared: Shared) -> Self {
        let peers = shared.settings.peers.iter();
        let room = peers.map(|peer| (*peer, Arc::new(Semaphore::new(CONNECTIONS)))).collect();
        Self { shared: Arc::new(shared), room, troubles: Troubles::default() }
    }

    /// Accepts peers until it is dropped, and their connections with it.
    pub(super) async fn listen(mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => match self.admit(from.ip()) {
                        Some(room) => {
                            connections.spawn(serve(Arc::clone(&self.shared), stream, from.ip(), room));
                        }
                        None => drop(stream),
                    },
                    Err(error) => {
                        debug!("cannot accept a peer: {error}");
                        sleep(NO_ROOM).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Ok((peer, error)) = ended {
                        self.ended(peer, &error);
                    }
                }
            }
        }
    }

    /// A peer that is gone comes back, and is told of where it is asked; anything else is somebody's mistake.
    fn ended(&mut self, peer: IpAddr, error: &SecureError) {
        match error {
            SecureError::Io(_) | SecureError::Closed | SecureError::Over => {
                debug!(%peer, "a peer listens no longer: {error}");
            }
            _ => self.troubles.tell(Some(peer), error),
        }
    }

    /// Room for a connection, if that comes from a peer.
    fn admit(&mut self, from: IpAddr) -> Option<OwnedSemaphorePermit> {
        let Some(room) = self.room.get(&from) else {
            self.troubles.tell(None, &format_args!("{from} is not among fleet.peers, and was not answered"));
            return None;
        };
        let permit = Arc::clone(room).try_acquire_owned().ok();
        if permit.is_none() {
            self.troubles.tell(Some(from), &"it has too many connections");
        }
        permit
    }
}

/// Troubles, each of which is told once in a while: anybody can cause as many as they like.
#[derive(Debug, Default)]
struct Troubles {
    told: HashMap<Option<IpAddr>, Instant>,
}

impl Troubles {
    fn tell(&mut self, peer: Option<IpAddr>, what: &dyn std::fmt::Display) {
        let now = Instant::now();
        if self.told.get(&peer).is_some_and(|told| now - *told < QUIET) {
            return;
        }
        self.told.insert(peer, now);
        if let Some(peer) = peer {
            warn!(%peer, "a peer was not answered: {what}");
        } else {
            warn!("somebody connects to the fleet's port: {what}");
        }
    }
}

/// Serves one connection until it ends, and says why.
async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: IpAddr,
    _room: OwnedSemaphorePermit,
) -> (IpAddr, SecureError) {
    let Some(told) = shared.ledger.get(&peer) else { return (peer, SecureError::Stranger) };
    let Err(error) = tell_all(&shared, stream, told).await;
    (peer, error)
}

async fn tell_all(shared: &Shared, stream: TcpStream, told: &Told) -> Result<Infallible, SecureError> {
    set_options(&stream)?;
    let (mut reader, writer) = secure::accept(stream, shared.settings.key).await?;
    let question = question(&mut reader).await?;
    // Before the answer is made, so that nothing is missed in between: flows are told only where somebody listens.
    let parcels = shared.parcels.subscribe();
    let _listening = Listening::new(told);
    let (answer, answered) = oneshot::channel();
    shared.event(Event::Ask(question, answer)).await;
    let answer = answered.await.map_err(|_| SecureError::Over)?;
    let mut voice = Voice { writer, told, next: None };
    voice.answer(&answer).await?;
    drop(answer);
    voice.go_on(&mut reader, parcels, shared.here.clone()).await
}

/// A dead peer is noticed by what it does not acknowledge.
fn set_options(stream: &TcpStream) -> Result<(), SecureError> {
    stream.set_nodelay(true)?;
    let silence = SILENCE.as_millis() as u32;
    rustix::net::sockopt::set_tcp_user_timeout(stream, silence).map_err(std::io::Error::from)?;
    Ok(())
}

async fn question(reader: &mut Reader) -> Result<Question, SecureError> {
    let mut tables: Vec<Published> = Vec::new();
    loop {
        match hear(reader).await? {
            Message::Tables(more) if tables.len() + more.len() <= MOST_TABLES => tables.extend(more),
            Message::AskAll => return Ok(Question::All(tables)),
            Message::AskFlows => return Ok(Question::Flows),
            _ => return Err(SecureError::Garbled),
        }
    }
}

/// Counts a peer as listening for as long as it is there.
struct Listening<'a>(&'a Told);

impl<'a> Listening<'a> {
    fn new(told: &'a Told) -> Self {
        told.listening.fetch_add(1, Relaxed);
        told.came.notify_one();
        Self(told)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.listening.fetch_sub(1, Relaxed);
    }
}

/// Speaks to one peer.
struct Voice<'a> {
    writer: Writer,
    told: &'a Told,
    /// Flows of the parcels until now, of which it has missed some where the next one begins later.
    next: Option<u64>,
}

impl Voice<'_> {
    async fn answer(&mut self, answer: &Answer) -> Result<(), SecureError> {
        for piece in answer.histories.iter().flat_map(message::pieces) {
            say(&mut self.writer, &piece).await?;
        }
        for flows in message::flows(&answer.flows) {
            say(&mut self.writer, &flows).await?;
        }
        self.told.flows.fetch_add(answer.flows.len() as u64, Relaxed);
        say(&mut self.writer, &Message::Complete).await
    }

    async fn go_on(
        &mut self,
        reader: &mut Reader,
        mut parcels: broadcast::Receiver<Arc<Parcel>>,
        mut here: watch::Receiver<Here>,
    ) -> Result<Infallible, SecureError> {
        here.mark_changed();
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                parcel = parcels.recv() => match parcel {
                    Ok(parcel) => self.deliver(&parcel).await?,
                    // What was missed is counted by the next one.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(SecureError::Over),
                },
                changed = here.changed() => {
                    changed.map_err(|_| SecureError::Over)?;
                    let tables = here.borrow_and_update().tables.clone();
                    for tables in message::tables(&tables) {
                        say(&mut self.writer, &tables).await?;
                    }
                }
                _ = alive.tick() => say(&mut self.writer, &Message::Alive).await?,
                () = reader.ended() => return Err(SecureError::Closed),
            }
        }
    }

    async fn deliver(&mut self, parcel: &Parcel) -> Result<(), SecureError> {
        let missed = self.next.map_or(0, |next| parcel.before.saturating_sub(next));
        self.next = Some(parcel.before + parcel.flows.len() as u64);
        self.told.dropped.fetch_add(missed, Relaxed);
        for flows in message::flows(&parcel.flows) {
            say(&mut self.writer, &flows).await?;
        }
        self.told.flows.fetch_add(parcel.flows.len() as u64, Relaxed);
        Ok(())
    }
}
