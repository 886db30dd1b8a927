//! The task that keeps next hops resolved: waits, collects what changed, asks, tells.

use std::{collections::BTreeSet, net::IpAddr, pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant, MissedTickBehavior},
};
use tracing::{debug, warn};

use super::{
    NeighboursError, Resolution,
    netlink::{Announcement, Announcements, Questions},
    resolver::{RETRY, Resolver},
};
use crate::causes::with_causes;

/// How long announcements are collected before they are acted on: a link that fails or a routing daemon that starts
/// makes thousands of them.
const BURST: Duration = Duration::from_millis(50);

/// Questions that wait for their answers at a time. The kernel answers at once, so all answers together have to fit into the
/// socket's buffer.
const AT_ONCE: usize = 32;

/// How often everything is read anew, in ticks of [`RETRY`]: 30 s. What an announcement does not tell (a route's
/// path MTU expired, a next-hop object was replaced) is found by then.
const TICKS_PER_RESYNC: u32 = 6;

/// Keeps the next hops of wanted addresses resolved.
pub struct Neighbours {
    questions: Questions,
    announcements: Announcements,
    resolver: Resolver,
}

/// Why the task woke up.
enum Cause {
    Wanted,
    Announced(Announcement),
    Tick,
    Stop,
}

impl Neighbours {
    /// Opens netlink sockets in the network namespace of the calling thread. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`NeighboursError::Open`].
    pub fn open() -> Result<Self, NeighboursError> {
        let announcements = Announcements::open().map_err(NeighboursError::Open)?;
        let questions = Questions::open().map_err(NeighboursError::Open)?;
        Ok(Self { questions, announcements, resolver: Resolver::default() })
    }

    /// Resolves the addresses in `wanted`, as it changes, and sends each address's resolution to `events` whenever it
    /// became different. The first event of an address comes within milliseconds. One that stays wanted is told again
    /// only after a change; one that was dropped and is wanted again is told anew.
    ///
    /// A next hop that was resolved once may be worth keeping while its neighbour is [`Resolution::Pending`] or silent:
    /// that is for the receiver to decide.
    ///
    /// Ends when `wanted`'s sender or `events`' receiver is dropped, and then leaves no neighbour under management. If
    /// the task is aborted, the entries stay managed until the next one starts.
    ///
    /// # Errors
    /// [`NeighboursError::Dump`] and [`NeighboursError::Closed`]; the state of the kernel is then as it is.
    pub async fn run(
        mut self,
        mut wanted: watch::Receiver<BTreeSet<IpAddr>>,
        events: mpsc::Sender<(IpAddr, Resolution)>,
    ) -> Result<(), NeighboursError> {
        let mut ticker = time::interval_at(Instant::now() + RETRY, RETRY);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ticks, mut overdue) = (0, false);
        self.resolver.want(&wanted.borrow_and_update());
        self.resync().await?;
        while self.act(&events).await {
            let cause = tokio::select! {
                changed = wanted.changed() => changed.map_or(Cause::Stop, |()| Cause::Wanted),
                () = events.closed() => Cause::Stop,
                announced = self.announcements.next() => {
                    Cause::Announced(announced.ok_or(NeighboursError::Closed)?)
                }
                _ = ticker.tick() => Cause::Tick,
            };
            match cause {
                Cause::Wanted => self.resolver.want(&wanted.borrow_and_update()),
                Cause::Announced(announcement) => overdue |= self.collect(announcement).await,
                Cause::Tick => {
                    ticks += 1;
                    overdue |= ticks % TICKS_PER_RESYNC == 0;
                }
                Cause::Stop => break,
            }
            if overdue {
                overdue = !self.resynced().await;
            }
        }
        self.release_all().await;
        Ok(())
    }

    /// Brings routes up to date, tells what changed, asks for what is missing. False once nobody listens.
    async fn act(&mut self, events: &mpsc::Sender<(IpAddr, Resolution)>) -> bool {
        if !self.ask_routes(events).await {
            return false;
        }
        for (address, resolution) in self.resolver.take_changes() {
            if !tell(events, address, resolution).await {
                return false;
            }
        }
        self.request().await;
        true
    }

    /// Brings routes up to date, and tells what that changes at once: of a million addresses, the last answer is long in
    /// coming. False once nobody listens.
    async fn ask_routes(&mut self, events: &mpsc::Sender<(IpAddr, Resolution)>) -> bool {
        let questions = &self.questions;
        let ask = async |address| (address, questions.route(address).await);
        let mut routes = pin!(stream::iter(self.resolver.take_stale()).map(ask).buffer_unordered(AT_ONCE));
        while let Some((address, route)) = routes.next().await {
            self.resolver.set_route(address, route);
            if let Some(change) = self.resolver.take_change_of(address)
                && !tell(events, address, change).await
            {
                return false;
            }
        }
        true
    }

    /// Reads everything again; whether that went well. The kernel may be short of memory for a moment.
    async fn resynced(&mut self) -> bool {
        match self.resync().await {
            Ok(()) => true,
            Err(error) => {
                warn!("links and neighbours are read again in a moment: {}", with_causes(&error));
                false
            }
        }
    }

    /// Follows a burst of announcements; true if some were lost.
    async fn collect(&mut self, first: Announcement) -> bool {
        let mut overrun = self.note(&first);
        time::sleep(BURST).await;
        while let Some(announcement) = self.announcements.queued() {
            overrun |= self.note(&announcement);
        }
        overrun
    }

    /// Follows an announcement; true if some were lost before it.
    fn note(&mut self, announcement: &Announcement) -> bool {
        match announcement {
            Announcement::Message(message) => self.resolver.note(message),
            Announcement::Overrun => return true,
        }
        false
    }

    async fn resync(&mut self) -> Result<(), NeighboursError> {
        self.resolver.replace_tables(self.questions.tables().await?);
        Ok(())
    }

    async fn request(&mut self) {
        let requests = self.resolver.take_requests(Instant::now());
        let mut failed = Vec::new();
        for &request in &requests {
            if let Err(error) = self.questions.send(request).await {
                failed.push((request, error));
            }
        }
        if let Some((request, error)) = failed.first() {
            warn!(count = failed.len(), ?request, %error, "cannot have neighbours resolved");
        }
    }

    async fn release_all(&mut self) {
        // Entries of which the announcement is still to come are ours as well.
        if let Err(error) = self.resync().await {
            warn!(%error, "neighbours stay under management");
        }
        self.resolver.want(&BTreeSet::new());
        self.request().await;
    }
}

/// False once nobody listens.
async fn tell(events: &mpsc::Sender<(IpAddr, Resolution)>, address: IpAddr, resolution: Resolution) -> bool {
    debug!(%address, ?resolution, "next hop");
    events.send((address, resolution)).await.is_ok()
}
