//! `GET /v1/status`: everything that the daemon knows of itself.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{ask::Daemon, read::Query, refused::Failure, status::Status},
    daemon::{Event, StatusEvent},
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(status))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Whether the histories of backends are wanted too, which take several times the room of everything else.
    #[serde(default)]
    histories: bool,
}

/// How everything is
///
/// Services, backends, flows, counters, interfaces and peers, as of now.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "status",
    params(Wanted),
    responses(
        (status = OK, body = Status, description = "All of it"),
    )
)]
async fn status(
    State(daemon): State<Daemon>,
    Query(Wanted { histories }): Query<Wanted>,
) -> Result<Json<Status>, Failure> {
    daemon.ask(|answer| Event::Status(StatusEvent { histories, answer })).await.map(Json)
}
