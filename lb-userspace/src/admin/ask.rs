//! How a handler asks the task that owns the truth.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
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
}

/// The body as JSON, whatever its content type says.
///
/// # Errors
///
/// Where it is not what is expected, with what and where.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad(error.to_string()))
}
