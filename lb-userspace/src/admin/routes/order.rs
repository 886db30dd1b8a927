//! `POST /v1/services/{service}/backends/{backend}/admin`: drain, ready, maintenance.

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::parts::OfBackend;
use crate::{
    admin::{
        ask::Daemon,
        order::{Obeyed, Request},
        read::{Path, json},
        refused::{Failure, Refused},
    },
    daemon::{Event, OrderEvent},
    wishes::OrderError,
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(order))
}

/// Says what is wanted of a backend
///
/// It holds until the file says something else of that backend, also over restarts.
#[utoipa::path(
    post,
    path = "/v1/services/{service}/backends/{backend}/admin",
    tag = "backends",
    params(OfBackend),
    request_body = Request,
    responses(
        (status = OK, body = Obeyed, description = "How the backend is now"),
        (status = NOT_FOUND, body = Refused, description = "There is no such service or backend"),
        (status = CONFLICT, body = Refused, description = "The backend is gone from the file"),
    )
)]
async fn order(
    State(daemon): State<Daemon>,
    Path(key): Path<OfBackend>,
    body: Bytes,
) -> Result<Json<Obeyed>, Failure> {
    let order = json::<Request>(&body)?.order().map_err(Failure::bad)?;
    daemon.answer(|answer| Event::Order(OrderEvent { target: key.into(), order, answer })).await
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        let status = match error {
            OrderError::NoService(_) | OrderError::NoBackend { .. } => StatusCode::NOT_FOUND,
            OrderError::Leaves(_) => StatusCode::CONFLICT,
            OrderError::Deadline(_) | OrderError::Reset(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
