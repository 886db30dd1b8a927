//! `GET /v1/verify` and `POST /v1/verify/repair`: whether the kernel holds what the daemon has applied.

use axum::{Json, extract::State, http::StatusCode};
use tokio::sync::oneshot;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::Daemon,
        refused::{Failure, Refused},
        verify::{Repair, Verification},
    },
    daemon::Event,
};

pub(super) fn reading() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(verify))
}

pub(super) fn changing() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(repair))
}

/// Compares what the kernel holds with what the daemon has applied
///
/// Maps, pins, and the program on every interface. Nothing changes by it; but for prefixes of lists, the daemon does nothing else
/// while it looks.
#[utoipa::path(
    get,
    path = "/v1/verify",
    tag = "status",
    responses(
        (status = OK, body = Verification, description = "What is otherwise"),
        (status = INTERNAL_SERVER_ERROR, body = Refused, description = "The kernel cannot be asked"),
    )
)]
async fn verify(State(daemon): State<Daemon>) -> Result<Json<Verification>, Failure> {
    looked(&daemon, Event::Verify).await
}

/// Writes anew what the kernel does not hold
///
/// In an order that is safe for packets in flight. Then it is compared once more.
#[utoipa::path(
    post,
    path = "/v1/verify/repair",
    tag = "status",
    responses(
        (status = OK, body = Repair, description = "What was otherwise, and what still is"),
        (status = INTERNAL_SERVER_ERROR, body = Refused, description = "The kernel cannot be asked"),
    )
)]
async fn repair(State(daemon): State<Daemon>) -> Result<Json<Repair>, Failure> {
    looked(&daemon, Event::Repair).await
}

/// What the daemon answers to what only the kernel can fail.
async fn looked<T>(
    daemon: &Daemon,
    event: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Event,
) -> Result<Json<T>, Failure> {
    let looked = daemon.ask(event).await?;
    looked.map(Json).map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error))
}
