//! The thread that asks the daemon for its status at every interval, and passes orders on.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Event,
    state::{News, Order, Wish},
};
use crate::{
    admin::{
        Endpoint, WITH_HISTORIES,
        change::Changed,
        client,
        order::{Obeyed, Request},
        status::Status,
    },
    causes::with_causes,
    cli::state::sentence,
};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the thread.
pub(super) struct Source {
    orders: mpsc::UnboundedSender<Order>,
    histories: Arc<AtomicBool>,
}

/// What the thread knows.
struct Asker {
    endpoint: Endpoint,
    events: Sender<Event>,
    histories: Arc<AtomicBool>,
    started: Instant,
}

impl Source {
    /// Starts the thread. What it hears becomes events; a request that this process end is one too.
    pub(super) fn start(endpoint: Endpoint, every: Duration, events: Sender<Event>) -> Result<Self> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let histories = Arc::new(AtomicBool::new(false));
        let asker = Asker { endpoint, events, histories: Arc::clone(&histories), started: Instant::now() };
        let runtime = crate::cli::runtime()?;
        thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || runtime.block_on(asker.run(every, ordered)))
            .context("cannot start a thread")?;
        Ok(Self { orders, histories })
    }

    /// Passes an order on. What becomes of it is told as news.
    pub(super) fn send(&self, order: Order) {
        // Without the thread there are no events either, and the caller ends by that.
        let _ = self.orders.send(order);
    }

    /// Whether histories are wanted, which take several times the room of everything else.
    pub(super) fn want_histories(&self, wanted: bool) {
        self.histories.store(wanted, Ordering::Relaxed);
    }
}

impl Asker {
    /// Until nobody listens any more.
    async fn run(self, every: Duration, mut ordered: mpsc::UnboundedReceiver<Order>) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        loop {
            let event = tokio::select! {
                _ = ticks.tick() => Event::Daemon(self.look().await),
                order = ordered.recv() => match order {
                    Some(order) => Event::Daemon(self.pass_on(&order).await),
                    None => return,
                },
                _ = term.recv() => Event::End,
                _ = int.recv() => Event::End,
            };
            if self.events.send(event).is_err() {
                return;
            }
        }
    }

    async fn look(&self) -> News {
        let path = if self.histories.load(Ordering::Relaxed) { WITH_HISTORIES } else { "/v1/status" };
        match patiently(client::get::<Status>(&self.endpoint, path)).await {
            Ok(status) => News::Status { at: self.started.elapsed(), status: Box::new(status) },
            Err(error) => News::Lost(with_causes(error.as_ref())),
        }
    }

    async fn pass_on(&self, order: &Order) -> News {
        match patiently(obey(&self.endpoint, order)).await {
            Ok(sentence) => News::Obeyed(sentence),
            Err(error) => News::Refused(format!("{order}: {}", with_causes(error.as_ref()))),
        }
    }
}

async fn patiently<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, answer)
        .await
        .with_context(|| format!("the daemon has not answered for {PATIENCE:?}"))?
}

/// How the backend is after that, in a sentence.
async fn obey(endpoint: &Endpoint, Order { service, backend, wish }: &Order) -> Result<String> {
    let path = format!("/v1/services/{service}/backends/{backend}");
    let (said, warnings) = match *wish {
        Wish::Admin(state) => {
            let request = Request { state, deadline: None, on_deadline: None };
            let obeyed: Obeyed = client::post(endpoint, &format!("{path}/admin"), &request).await?;
            (sentence(&obeyed.service, &obeyed.backend), Vec::from_iter(obeyed.warning))
        }
        Wish::Weight(weight) => {
            let changed: Changed = client::patch(endpoint, &path, &json!({ "weight": weight })).await?;
            (format!("{service}/{backend} has weight {weight}"), changed.warnings)
        }
    };
    Ok(iter::once(said).chain(warnings).collect::<Vec<_>>().join("; "))
}
