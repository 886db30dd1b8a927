//! `POST /v1/services/{service}/rollout`: which versions get new flows.

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::parts::OfService;
use crate::{
    admin::{
        ask::Daemon,
        read::{Path, json},
        refused::{Failure, Refused},
        rollout::{Obeyed, Request},
    },
    daemon::{Event, RolloutEvent},
    wishes::RolloutError,
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(roll_out))
}

/// Says which versions get new flows
///
/// What the body leaves out stays as it is.
#[utoipa::path(
    post,
    path = "/v1/services/{service}/rollout",
    tag = "services",
    params(OfService),
    request_body = Request,
    responses(
        (status = OK, body = Obeyed, description = "How the roll-out stands now"),
        (status = NOT_FOUND, body = Refused, description = "There is no such service"),
        (status = CONFLICT, body = Refused, description = "The service has no roll-out"),
    )
)]
async fn roll_out(
    State(daemon): State<Daemon>,
    Path(OfService { service }): Path<OfService>,
    body: Bytes,
) -> Result<Json<Obeyed>, Failure> {
    let order = json::<Request>(&body)?.order().map_err(Failure::bad)?;
    daemon.answer(|answer| Event::Rollout(RolloutEvent { service, order, answer })).await
}

impl From<RolloutError> for Failure {
    fn from(error: RolloutError) -> Self {
        let status = match error {
            RolloutError::NoService(_) => StatusCode::NOT_FOUND,
            RolloutError::NoRollout(_) => StatusCode::CONFLICT,
            RolloutError::NoSuchVersion { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
