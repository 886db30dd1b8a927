//! The admin API: HTTP on a Unix socket. Who may use it is the socket's file mode.
//!
//! | module | what |
//! | --- | --- |
//! | `listen` | the socket |
//! | `routes` | what can be asked for, by subject and by role |
//! | `ask` | how a handler asks the daemon's one task |
//! | `refused` | the shape of every refusal |
//! | `status`, `order`, `rollout`, `explain`, `capture` | what travels, as types that the command line reads too |
//! | `client` | the other end |

mod ask;
pub mod capture;
pub mod client;
pub mod explain;
mod listen;
pub mod order;
mod refused;
pub mod rollout;
mod routes;
pub mod status;

use tokio::{net::UnixListener, sync::mpsc};
use tracing::error;

use crate::daemon::Event;
use ask::Daemon;
pub use listen::{ListenError, listen};
pub use refused::{Failure, Refused};

/// The status with the histories of all backends, which take several times the room of everything else.
pub const WITH_HISTORIES: &str = "/v1/status?histories=true";

/// Answers requests until the daemon ends.
pub async fn serve(listener: UnixListener, events: mpsc::Sender<Event>) {
    if let Err(error) = axum::serve(listener, routes::router().with_state(Daemon::new(events))).await {
        error!("the admin API has ended: {error}");
    }
}
