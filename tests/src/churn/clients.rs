//! The clients: one thread in the client's namespace that holds all connections.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::Builder,
    sync::{Semaphore, oneshot, watch},
};

use super::{
    board::{Board, Tally},
    line::{ANSWER_DEADLINE, Awake, Client, Orders, Place, Role},
};
use crate::{netns::Netns, process::wait_until, random::Random};

/// Connections that are opened at a time. Each backend's queue of a listening socket has room for more.
const OPENING: usize = 64;

/// How long it may take until all connections are there at first.
const OPEN_DEADLINE: Duration = Duration::from_mins(2);

/// The clients, running. Dropping them ends all connections.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) board: Arc<Board>,
    places: Vec<Place>,
    orders: watch::Sender<Orders>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
}

/// How clients speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Mean pause between two requests.
    pub(super) pause: Duration,
    pub(super) seed: u64,
}

impl Clients {
    /// Starts one in `netns` for each of `places`, and waits until all have a connection.
    pub(super) fn start(netns: &Netns, places: Vec<Place>, backends: usize, manner: Manner) -> Result<Self> {
        let board = Arc::new(Board::new(places.len(), backends));
        let orders = watch::Sender::new(Orders::default());
        let (stop, stopped) = oneshot::channel();
        let opening = Arc::new(Semaphore::new(OPENING));
        let mut random = Random::new(manner.seed);
        let client = |(number, place): (usize, &Place)| Client {
            number,
            place: *place,
            board: Arc::clone(&board),
            orders: orders.subscribe(),
            opening: Arc::clone(&opening),
            random: Random::new(random.next()),
            pause: manner.pause,
        };
        let lines: Vec<_> = places.iter().enumerate().map(client).collect();
        let thread = netns.spawn_thread("clients", move || run(lines, stopped))?;
        let clients = Self { board, places, orders, stop: Some(stop), thread: Some(thread) };
        let all = clients.places.len();
        wait_until(OPEN_DEADLINE, "all clients to be connected", || clients.board.alive() == all)
            .with_context(|| format!("{} of {all} are", clients.board.alive()))?;
        // What it took to get here is part of no event.
        clients.take();
        Ok(clients)
    }

    /// Established connections.
    pub(super) fn alive(&self) -> usize {
        self.board.alive()
    }

    /// Clients of the services on this port.
    pub(super) fn of_port(&self, port: u16) -> usize {
        self.places.iter().filter(|place| place.target.port() == port).count()
    }

    /// Gives what was counted since the last call.
    pub(super) fn take(&self) -> Tally {
        self.board.take()
    }

    /// Waits until every connection has made a round trip that began after this call, or has broken. Of those that
    /// are silent otherwise, only the ones that are `awake`.
    pub(super) fn round(&self, awake: Awake) -> Result<()> {
        let mut round = 0;
        self.orders.send_modify(|orders| {
            *orders = Orders { round: orders.round + 1, awake };
            round = orders.round;
        });
        let what = "every connection to make a round trip or break";
        wait_until(2 * ANSWER_DEADLINE, what, || self.behind(round, awake) == 0)
            .with_context(|| format!("{} have not", self.behind(round, awake)))
    }

    fn behind(&self, round: u64, awake: Awake) -> usize {
        let lines = self.places.iter().zip(&self.board.lines);
        let is_behind = |(place, line): &(&Place, &super::board::Line)| {
            let is_silent = matches!(place.role, Role::Sleeper { .. }) && !place.role.is_woken_by(awake);
            !is_silent && line.open.load(Ordering::Relaxed) && line.seen.load(Ordering::Relaxed) < round
        };
        lines.filter(is_behind).count()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Ok(Ok(Err(error)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the clients failed: {error}");
        }
    }
}

/// Ends when `stopped` does; the runtime takes all connections with it.
fn run(lines: Vec<Client>, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for line in lines {
            tokio::spawn(line.live());
        }
        // Ends by an error, when the sender is dropped.
        let _ = stopped.await;
    });
    Ok(())
}
