//! One client's place: it opens a connection, uses it as its role says, and opens another one when it has ended.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    board::{Board, Cause, Loss},
    wire::{Answer, GO_ON, Identity, Request},
};
use crate::random::Random;

/// How long an answer may take, retransmissions included: under a flood the machine's queues are full, and several in a
/// row are lost.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_mins(1);

/// How long opening a connection may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// Mean pause before another attempt to open a connection.
const RETRY: Duration = Duration::from_millis(250);

/// Most requests of a connection that is closed by its client.
const SHORT_LIFE: usize = 12;

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Sends a request about once in a pause, for ever.
    Talker,
    /// The same, but closes the connection after some requests.
    Passer,
    /// Is silent but for the rounds in which its cohort is woken.
    Sleeper {
        /// Number of the cohort.
        cohort: usize,
    },
    /// Closes its direction at once and listens: all that it sends from then on are acknowledgements.
    Listener,
}

/// Who is to speak that is silent otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Awake {
    #[default]
    Nobody,
    Cohort(usize),
    Everybody,
}

/// What the script tells all lines. Each round has a number above the last one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) round: u64,
    pub(super) awake: Awake,
}

/// What is different between lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) target: SocketAddr,
    pub(super) role: Role,
}

/// What a line lives by.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) place: Place,
    pub(super) board: Arc<Board>,
    pub(super) orders: watch::Receiver<Orders>,
    /// Bounds how many connections are being opened at a time.
    pub(super) opening: Arc<Semaphore>,
    pub(super) random: Random,
    /// Mean pause between two requests.
    pub(super) pause: Duration,
}

/// An established connection.
struct Connection {
    stream: TcpStream,
    /// Its number, which no other has.
    number: u64,
    sequence: u64,
    server: Option<Identity>,
    deaths: u64,
}

impl Role {
    pub(super) fn is_woken_by(self, awake: Awake) -> bool {
        match self {
            Self::Sleeper { cohort } => awake == Awake::Everybody || awake == Awake::Cohort(cohort),
            _ => true,
        }
    }
}

impl Client {
    /// Never ends by itself.
    pub(super) async fn live(mut self) {
        for life in 0.. {
            // Before it is opened: the server that takes it may be dying by then.
            let deaths = self.board.deaths();
            let Some(stream) = self.open().await else {
                self.board.count(|tally| tally.refused += 1);
                sleep(self.random.around(RETRY)).await;
                continue;
            };
            let number = (self.number as u64) << 32 | life;
            let mut connection = Connection { stream, number, sequence: 0, server: None, deaths };
            self.board.count(|tally| tally.opened += 1);
            let ended = self.converse(&mut connection).await;
            self.board.lines[self.number].open.store(false, Ordering::Relaxed);
            self.account(&connection, ended);
        }
    }

    async fn open(&self) -> Option<TcpStream> {
        let _permit = self.opening.acquire().await.ok()?;
        let stream = timeout(OPEN_DEADLINE, TcpStream::connect(self.place.target)).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(stream)
    }

    fn account(&self, connection: &Connection, ended: Result<(), Cause>) {
        let Err(cause) = ended else {
            return self.board.count(|tally| tally.closed += 1);
        };
        let Connection { server, deaths, .. } = *connection;
        self.board.lose(&Loss { cause, server, deaths, who: self.say(connection) });
    }

    /// Uses a connection until it is closed by this side, or breaks.
    async fn converse(&mut self, connection: &mut Connection) -> Result<(), Cause> {
        let board = Arc::clone(&self.board);
        let line = &board.lines[self.number];
        let round = self.orders.borrow_and_update().round;
        self.exchange(connection).await?;
        line.seen.store(round, Ordering::Relaxed);
        line.open.store(true, Ordering::Relaxed);
        match self.place.role {
            Role::Talker => self.talk(connection, usize::MAX).await,
            Role::Passer => {
                let requests = 1 + self.random.below(SHORT_LIFE);
                self.talk(connection, requests).await
            }
            Role::Sleeper { .. } => self.sleep(connection).await,
            Role::Listener => self.listen(connection).await,
        }
    }

    async fn talk(&mut self, connection: &mut Connection, requests: usize) -> Result<(), Cause> {
        for _ in 0..requests {
            let pause = self.random.around(self.pause);
            tokio::select! {
                () = sleep(pause) => {}
                cause = connection.interrupted() => return Err(cause),
            }
            self.speak(connection).await?;
        }
        self.board.lines[self.number].open.store(false, Ordering::Relaxed);
        connection.close().await
    }

    async fn sleep(&mut self, connection: &mut Connection) -> Result<(), Cause> {
        loop {
            tokio::select! {
                // An error is the end of the run.
                _ = self.orders.changed() => {}
                cause = connection.interrupted() => return Err(cause),
            }
            let awake = self.orders.borrow_and_update().awake;
            if self.place.role.is_woken_by(awake) {
                self.speak(connection).await?;
            }
        }
    }

    /// One round trip, and a note of the round that had begun before it.
    async fn speak(&mut self, connection: &mut Connection) -> Result<(), Cause> {
        let round = self.orders.borrow().round;
        self.exchange(connection).await?;
        self.board.lines[self.number].seen.store(round, Ordering::Relaxed);
        Ok(())
    }

    async fn exchange(&self, connection: &mut Connection) -> Result<(), Cause> {
        let start = Instant::now();
        timeout(ANSWER_DEADLINE, connection.exchange()).await.unwrap_or(Err(Cause::Timeout))?;
        self.board.count(|tally| tally.answer(start.elapsed(), || self.say(connection)));
        Ok(())
    }

    /// Who speaks to whom.
    fn say(&self, connection: &Connection) -> String {
        let Place { target, role } = self.place;
        let server = connection.server.map_or("an unknown backend".to_owned(), |server| server.to_string());
        let port = connection.stream.local_addr().map_or(0, |address| address.port());
        format!("client {}, a {role:?}, port {port}, to {server} by {target}", self.number)
    }

    /// Two answers within a round tell that the acknowledgement of the first has arrived where it belongs.
    async fn listen(&mut self, connection: &mut Connection) -> Result<(), Cause> {
        connection.ask_to_go_on().await?;
        let (mut heard, mut round) = (0, 0);
        for sequence in 0.. {
            timeout(ANSWER_DEADLINE, connection.hear(sequence)).await.unwrap_or(Err(Cause::Timeout))?;
            self.board.count(|tally| tally.answers += 1);
            let present = self.orders.borrow().round;
            heard = if present == round { heard + 1 } else { 1 };
            round = present;
            if heard >= 2 {
                self.board.lines[self.number].seen.store(round, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl Connection {
    async fn exchange(&mut self) -> Result<(), Cause> {
        self.sequence += 1;
        let request = Request { connection: self.number, sequence: self.sequence };
        request.write(&mut self.stream).await.map_err(|error| Cause::of(&error))?;
        let answer = Answer::read(&mut self.stream).await.map_err(|error| Cause::of(&error))?;
        self.check(answer, request, self.sequence)
    }

    fn check(&mut self, answer: Answer, expected: Request, requests: u64) -> Result<(), Cause> {
        if *self.server.get_or_insert(answer.from) != answer.from {
            return Err(Cause::WrongBackend);
        }
        if answer.to != expected || answer.requests != requests {
            return Err(Cause::WrongData);
        }
        Ok(())
    }

    async fn ask_to_go_on(&mut self) -> Result<(), Cause> {
        let request = Request { connection: self.number, sequence: GO_ON };
        let asked = async {
            request.write(&mut self.stream).await?;
            self.stream.shutdown().await
        };
        asked.await.map_err(|error| Cause::of(&error))
    }

    async fn hear(&mut self, sequence: u64) -> Result<(), Cause> {
        let answer = Answer::read(&mut self.stream).await.map_err(|error| Cause::of(&error))?;
        let expected = Request { connection: self.number, sequence };
        self.check(answer, expected, self.sequence + 1)
    }

    /// Ends when something comes that was not asked for, which can only be the connection's end.
    async fn interrupted(&self) -> Cause {
        loop {
            if let Err(error) = self.stream.readable().await {
                return Cause::of(&error);
            }
            match self.stream.try_read(&mut [0; 1]) {
                Ok(0) => return Cause::Eof,
                Ok(_) => return Cause::WrongData,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Cause::of(&error),
            }
        }
    }

    /// Closes this direction and waits until the server has closed the other.
    async fn close(&mut self) -> Result<(), Cause> {
        let closed = async {
            self.stream.shutdown().await?;
            self.stream.read(&mut [0; 1]).await
        };
        match timeout(ANSWER_DEADLINE, closed).await {
            Err(_) => Err(Cause::Timeout),
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(_)) => Err(Cause::WrongData),
            Ok(Err(error)) => Err(Cause::of(&error)),
        }
    }
}
