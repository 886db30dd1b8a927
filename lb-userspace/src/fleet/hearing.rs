//! Asking one peer, and hearing what it tells, over and over.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    Done, Event, Shared,
    backoff::{Backoff, chance},
    hear,
    message::{self, Message},
    say,
    secure::{self, SecureError},
};
use crate::reconcile::fleet::History;

/// How long a peer may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Hears one peer.
#[derive(Debug)]
pub(super) struct Hearing {
    shared: Shared,
    own: IpAddr,
    peer: IpAddr,
    backoff: Backoff,
    /// The pieces of a history that have come.
    history: Option<History>,
}

impl Hearing {
    pub(super) fn new(shared: Shared, own: IpAddr, peer: IpAddr) -> Self {
        Self { shared, own, peer, backoff: Backoff::default(), history: None }
    }

    /// Hears until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let Err(error) = self.hear_all().await;
            self.history = None;
            self.shared.event(Event::Hears(self.peer, Err(error.to_string()))).await;
            self.rest().await;
        }
    }

    /// Waits before the next attempt, but not longer than until the peer comes by itself.
    async fn rest(&mut self) {
        let longest = sleep(self.backoff.wait(chance()));
        match self.shared.ledger.get(&self.peer) {
            Some(told) => tokio::select! {
                () = longest => {}
                () = told.came.notified() => {}
            },
            None => longest.await,
        }
    }

    /// Connects and hears for as long as the connection lasts.
    async fn hear_all(&mut self) -> Result<Infallible, SecureError> {
        let stream = timeout(CONNECT, self.connect()).await.map_err(|_| SecureError::Slow)??;
        let (mut reader, mut writer) = secure::connect(stream, self.shared.settings.key).await?;
        let here = self.shared.here.borrow().clone();
        if here.is_new {
            for tables in message::tables(&here.tables) {
                say(&mut writer, &tables).await?;
            }
        }
        say(&mut writer, if here.is_new { &Message::AskAll } else { &Message::AskFlows }).await?;
        self.tell(Event::Hears(self.peer, Ok(()))).await?;
        loop {
            let message = hear(&mut reader).await?;
            self.take(message).await?;
        }
    }

    /// Connects from the own address, which is what the peer knows this balancer by.
    async fn connect(&self) -> Result<TcpStream, SecureError> {
        let socket = if self.own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(self.own, 0))?;
        let stream = socket.connect(SocketAddr::new(self.peer, self.shared.settings.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Takes one message, and waits until it is taken in: what is told too fast waits at the peer.
    async fn take(&mut self, message: Message) -> Result<(), SecureError> {
        let peer = self.peer;
        if let Message::History(piece) = message {
            return self.take_piece(piece).await;
        }
        self.tell_history().await?;
        match message {
            Message::Flows(flows) => self.wait(|done| Event::Flows(peer, flows, done)).await,
            Message::Tables(tables) => self.tell(Event::Tables(peer, tables)).await,
            Message::Complete => {
                self.backoff.reset();
                self.tell(Event::Complete(peer)).await
            }
            Message::Alive => Ok(()),
            Message::AskAll | Message::AskFlows | Message::History(_) => Err(SecureError::Garbled),
        }
    }

    /// Puts a piece to those of the same history; one of another history ends it.
    async fn take_piece(&mut self, piece: History) -> Result<(), SecureError> {
        if let Some(history) = &mut self.history
            && (history.key, history.length, history.source_bits)
                == (piece.key, piece.length, piece.source_bits)
        {
            let slots = |history: &History| history.pasts.iter().map(|past| past.slots.len()).sum::<usize>();
            if slots(history) + slots(&piece) > history.length as usize {
                return Err(SecureError::Garbled);
            }
            history.pasts.extend(piece.pasts);
            return Ok(());
        }
        self.tell_history().await?;
        self.history = Some(piece);
        Ok(())
    }

    async fn tell_history(&mut self) -> Result<(), SecureError> {
        let Some(history) = self.history.take() else { return Ok(()) };
        let peer = self.peer;
        self.wait(|done| Event::History(peer, history, done)).await
    }

    async fn wait(&self, event: impl FnOnce(Done) -> Event) -> Result<(), SecureError> {
        let (done, finished) = oneshot::channel();
        self.tell(event(done)).await?;
        // An error says that it was dropped, which is how it is said to be done.
        let _ = finished.await;
        Ok(())
    }

    async fn tell(&self, event: Event) -> Result<(), SecureError> {
        self.shared.events.send(event).await.map_err(|_| SecureError::Over)
    }
}
