//! How a handler asks the task that owns the truth.

use axum::Json;
use tokio::sync::{mpsc, oneshot};

use super::refused::Failure;
use crate::daemon::Event;

/// The state of every handler: a way to the one task that knows and changes everything.
#[derive(Clone, Debug)]
pub struct Daemon(mpsc::Sender<Event>);

impl Daemon {
    /// The daemon whose task takes in `events`.
    #[must_use]
    pub const fn new(events: mpsc::Sender<Event>) -> Self {
        Self(events)
    }

    /// Events that wait for the daemon's task.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// Sends the event that `event` makes of where the answer goes, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Failure::ending`] where there is none.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        self.0.send(event(answer)).await.map_err(|_| Failure::ending())?;
        answered.await.map_err(|_| Failure::ending())
    }

    /// The same for what may be refused: the refusal as the answer to the request.
    ///
    /// # Errors
    ///
    /// What the daemon refuses, and [`Failure::ending`].
    pub async fn demand<T, E: Into<Failure>>(
        &self,
        event: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Event,
    ) -> Result<T, Failure> {
        self.ask(event).await?.map_err(Into::into)
    }

    /// The same, with what is answered as JSON.
    ///
    /// # Errors
    ///
    /// Those of [`Self::demand`].
    pub async fn answer<T, E: Into<Failure>>(
        &self,
        event: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Event,
    ) -> Result<Json<T>, Failure> {
        self.demand(event).await.map(Json)
    }
}
