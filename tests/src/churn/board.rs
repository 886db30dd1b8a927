//! What the script of events and the clients' thread both look at: how each connection stands, and what became of
//! those that broke.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;

use super::wire::Identity;

/// How many broken connections of one event are told one by one.
const EXAMPLES: usize = 5;

/// Above the time that it takes to make up for one lost packet (200 ms on Linux) or two.
pub const SLOW: Duration = Duration::from_secs(1);

/// By what a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A reset came, or the kernel had to give the connection up.
    Reset,
    /// No answer within the deadline, retransmissions included.
    Timeout,
    /// Another server answered than at first.
    WrongBackend,
    /// An answer with a sequence number or a count that is not the next.
    WrongData,
    /// The other side ended it, which no server does before its client.
    Eof,
}

/// Broken connections, by what broke them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// See `Cause::Reset`.
    pub reset: u64,
    /// See `Cause::Timeout`.
    pub timeout: u64,
    /// See `Cause::WrongBackend`.
    pub wrong_backend: u64,
    /// See `Cause::WrongData`.
    pub wrong_data: u64,
    /// See `Cause::Eof`.
    pub eof: u64,
}

/// What happened to connections during one event.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Connections opened.
    pub opened: u64,
    /// Attempts to open one that failed. The client tries again; nothing was there to be lost.
    pub refused: u64,
    /// Connections that ended as the client wanted.
    pub closed: u64,
    /// Round trips, and answers that came unasked.
    pub answers: u64,
    /// Answers that took longer than `SLOW`: packets of theirs were lost, and more than once.
    pub slow: u64,
    /// How long the slowest answer took, in seconds.
    pub slowest: f64,
    /// Some of the slow answers, in words.
    pub slow_examples: Vec<String>,
    /// Connections that broke although their backend lived.
    pub broken: Broken,
    /// Connections that ended with their backend's server.
    pub died: u64,
    /// Some of the broken ones, in words.
    pub examples: Vec<String>,
}

/// One client's place: a connection at a time, a new one after each that ends.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Whether a connection is established.
    pub(super) open: AtomicBool,
    /// The last round in which the server was seen to answer.
    pub(super) seen: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) lines: Vec<Line>,
    /// How often each backend's server has died.
    lives: Vec<AtomicU64>,
    tally: Mutex<Tally>,
}

/// A connection that broke, for a tally.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) cause: Cause,
    /// The server, where it had answered.
    pub(super) server: Option<Identity>,
    /// Deaths of servers when the connection was opened.
    pub(super) deaths: u64,
    /// Who lost it, in words.
    pub(super) who: String,
}

impl Cause {
    /// What an error of a connection's read or write means.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Eof,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Reset,
        }
    }
}

impl Broken {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.reset + self.timeout + self.wrong_backend + self.wrong_data + self.eof
    }

    const fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Reset => self.reset += 1,
            Cause::Timeout => self.timeout += 1,
            Cause::WrongBackend => self.wrong_backend += 1,
            Cause::WrongData => self.wrong_data += 1,
            Cause::Eof => self.eof += 1,
        }
    }
}

impl Tally {
    /// Counts an answer that took so long.
    pub(super) fn answer(&mut self, taken: Duration, who: impl FnOnce() -> String) {
        self.answers += 1;
        self.slowest = self.slowest.max(taken.as_secs_f64());
        if taken <= SLOW {
            return;
        }
        self.slow += 1;
        if self.slow_examples.len() < EXAMPLES {
            self.slow_examples.push(format!("{}: {:.2} s", who(), taken.as_secs_f64()));
        }
    }
}

impl Board {
    pub(super) fn new(lines: usize, backends: usize) -> Self {
        Self {
            lines: (0..lines).map(|_| Line::default()).collect(),
            lives: (0..backends).map(|_| AtomicU64::default()).collect(),
            tally: Mutex::default(),
        }
    }

    /// Connections that are established.
    pub(super) fn alive(&self) -> usize {
        self.lines.iter().filter(|line| line.open.load(Ordering::Relaxed)).count()
    }

    /// Changes the present tally.
    pub(super) fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Gives what was counted since the last call.
    pub(super) fn take(&self) -> Tally {
        let mut taken = Tally::default();
        self.count(|tally| std::mem::swap(tally, &mut taken));
        taken
    }

    /// Notes that the server of a backend is about to die.
    pub(super) fn bury(&self, backend: usize) {
        self.lives[backend].fetch_add(1, Ordering::Relaxed);
    }

    /// How often the server of a backend has died.
    pub(super) fn life(&self, backend: usize) -> u64 {
        self.lives[backend].load(Ordering::Relaxed)
    }

    /// How many servers have died.
    pub(super) fn deaths(&self) -> u64 {
        self.lives.iter().map(|life| life.load(Ordering::Relaxed)).sum()
    }

    /// Counts a connection that ended otherwise than its client wanted.
    pub(super) fn lose(&self, loss: &Loss) {
        let excused = self.is_excused(loss);
        self.count(|tally| {
            if excused {
                tally.died += 1;
                return;
            }
            tally.broken.count(loss.cause);
            if tally.examples.len() < EXAMPLES {
                let server = loss
                    .server
                    .map_or("an unknown backend".to_owned(), |server| format!("b{}", server.backend + 1));
                tally.examples.push(format!("{} to {server}: {:?}", loss.who, loss.cause));
            }
        });
    }

    /// Whether its server has died. One that broke before its server had said its name is excused if any has.
    fn is_excused(&self, loss: &Loss) -> bool {
        loss.server.map_or(self.deaths() > loss.deaths, |server| {
            self.lives[server.backend as usize].load(Ordering::Relaxed) > server.life
        })
    }
}
