//! The admin API: HTTP on a Unix socket. Who may use it is the socket's file mode.

pub mod client;
pub mod order;
pub mod rollout;
pub mod status;

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as PathOf, RawQuery, State},
    http::StatusCode,
    routing::{get, post},
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};
use tracing::error;

use crate::{
    daemon::{Event, OrderEvent, RolloutEvent, StatusEvent},
    health::TargetKey,
    wishes::{OrderError, RolloutError},
};
use order::{Obeyed, Refused, Request};

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A daemon answers there.
    #[error("another sluice answers on {}; stop it, or set another balancer.socket", .0.display())]
    InUse(PathBuf),
    /// The socket could not be made.
    #[error("cannot listen on {}; set balancer.socket to a path that can be written", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// Makes the socket, readable and writable by its owner and group. One that nobody answers on is replaced.
///
/// # Errors
///
/// [`ListenError`].
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::InUse(path.to_owned()));
    }
    bind(path).map_err(|source| ListenError::Socket { path: path.to_owned(), source })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Answers requests until the daemon ends.
pub async fn serve(listener: UnixListener, events: mpsc::Sender<Event>) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services/{service}/backends/{backend}/admin", post(order))
        .route("/v1/services/{service}/rollout", post(roll_out))
        .with_state(events);
    if let Err(error) = axum::serve(listener, router).await {
        error!("the admin API has ended: {error}");
    }
}

/// The status with the histories of all backends, which take several times the room of everything else.
pub const WITH_HISTORIES: &str = "/v1/status?histories=true";

async fn status(
    State(events): State<mpsc::Sender<Event>>,
    RawQuery(query): RawQuery,
) -> Result<Json<status::Status>, StatusCode> {
    let histories = query.as_deref() == Some("histories=true");
    let (answer, status) = oneshot::channel();
    events
        .send(Event::Status(StatusEvent { histories, answer }))
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    status.await.map(Json).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// What a request that fails is answered with.
type Failure = (StatusCode, Json<Refused>);

fn failure(status: StatusCode, error: impl Into<String>) -> Failure {
    (status, Json(Refused { error: error.into() }))
}

async fn order(
    State(events): State<mpsc::Sender<Event>>,
    PathOf((service, backend)): PathOf<(String, String)>,
    body: Bytes,
) -> Result<Json<Obeyed>, Failure> {
    let bad = |error: String| failure(StatusCode::BAD_REQUEST, error);
    let request: Request = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let order = request.order().map_err(bad)?;
    let target = TargetKey { service, backend };
    let ends = || failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon is about to end");
    let (answer, obeyed) = oneshot::channel();
    let event = Event::Order(OrderEvent { target, order, answer });
    events.send(event).await.map_err(|_| ends())?;
    match obeyed.await.map_err(|_| ends())? {
        Ok(obeyed) => Ok(Json(obeyed)),
        Err(error) => Err(failure(status_of(&error), error.to_string())),
    }
}

async fn roll_out(
    State(events): State<mpsc::Sender<Event>>,
    PathOf(service): PathOf<String>,
    body: Bytes,
) -> Result<Json<rollout::Obeyed>, Failure> {
    let bad = |error: String| failure(StatusCode::BAD_REQUEST, error);
    let request: rollout::Request = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let order = request.order().map_err(bad)?;
    let ends = || failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon is about to end");
    let (answer, obeyed) = oneshot::channel();
    let event = Event::Rollout(RolloutEvent { service, order, answer });
    events.send(event).await.map_err(|_| ends())?;
    obeyed.await.map_err(|_| ends())?.map(Json).map_err(|error| {
        let status = match error {
            RolloutError::NoService(_) => StatusCode::NOT_FOUND,
            RolloutError::NoRollout(_) => StatusCode::CONFLICT,
            RolloutError::NoSuchVersion { .. } => StatusCode::BAD_REQUEST,
        };
        failure(status, error.to_string())
    })
}

const fn status_of(error: &OrderError) -> StatusCode {
    match error {
        OrderError::NoService(_) | OrderError::NoBackend { .. } => StatusCode::NOT_FOUND,
        OrderError::Leaves(_) => StatusCode::CONFLICT,
        OrderError::Deadline(_) | OrderError::Reset(_) => StatusCode::BAD_REQUEST,
    }
}
