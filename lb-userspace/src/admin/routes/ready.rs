//! `GET /ready`: whether packets are forwarded.

use axum::{extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::Daemon,
        refused::{Failure, Refused},
    },
    daemon::Event,
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(ready))
}

/// Whether packets are forwarded
///
/// It asks the one task that decides everything, so an answer also says that this task is well.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "status",
    responses(
        (status = OK, body = String, content_type = "text/plain", description = "They are"),
        (status = SERVICE_UNAVAILABLE, body = Refused, description = "Not yet, or not any more: with the reason"),
    )
)]
async fn ready(State(daemon): State<Daemon>) -> Result<&'static str, Failure> {
    if daemon.ask(Event::Ready).await? {
        return Ok("LIVE\n");
    }
    let early = "the daemon is starting: it waits for next hops and first probes, and for its peers";
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, early))
}
