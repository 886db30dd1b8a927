//! `POST /v1/plan` and `POST /v1/apply`: what another configuration would change, and that it becomes the running one.

use std::path::PathBuf;

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::Daemon,
        plan::{Outcome, Preview},
        read::Query,
        refused::{Failure, Refused},
    },
    daemon::{ApplyEvent, CandidateError, Event, PlanEvent},
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(plan)).routes(routes!(apply))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Origin {
    /// The file that the text is from, beside which its lists are; that of the running one where it is not said
    #[param(value_type = Option<String>)]
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Agreed {
    /// The digest of the plan that is agreed to: another one is refused
    digest: Option<String>,
}

/// Tells what a configuration would change
///
/// Nothing changes by it. The body is the text of the file.
#[utoipa::path(
    post,
    path = "/v1/plan",
    tag = "configuration",
    params(Origin),
    request_body(content = String, content_type = "application/toml"),
    responses(
        (status = OK, body = Preview, description = "What would change"),
        (status = BAD_REQUEST, body = Refused, description = "The configuration is wrong"),
    )
)]
async fn plan(
    State(daemon): State<Daemon>,
    Query(Origin { path }): Query<Origin>,
    body: Bytes,
) -> Result<Json<Preview>, Failure> {
    let text = text(&body)?;
    daemon.answer(|answer| Event::Plan(PlanEvent { text, path, answer })).await
}

/// Makes a configuration the running one
///
/// All of it, or nothing. It replaces the daemon's file, and the one before stays beside it.
#[utoipa::path(
    post,
    path = "/v1/apply",
    tag = "configuration",
    params(Agreed),
    request_body(content = String, content_type = "application/toml"),
    responses(
        (status = OK, body = Outcome, description = "It runs"),
        (status = BAD_REQUEST, body = Refused, description = "The configuration is wrong"),
        (status = CONFLICT, body = Refused, description = "It would change something else by now, or cannot run"),
        (status = INTERNAL_SERVER_ERROR, body = Refused, description = "The file cannot be written"),
    )
)]
async fn apply(
    State(daemon): State<Daemon>,
    Query(Agreed { digest }): Query<Agreed>,
    body: Bytes,
) -> Result<Json<Outcome>, Failure> {
    let text = text(&body)?;
    daemon.answer(|answer| Event::Apply(ApplyEvent { text, digest, answer })).await
}

fn text(body: &Bytes) -> Result<String, Failure> {
    let text =
        std::str::from_utf8(body).map_err(|error| Failure::bad(format!("the body is no text: {error}")))?;
    Ok(text.to_owned())
}

impl From<CandidateError> for Failure {
    fn from(error: CandidateError) -> Self {
        match &error {
            // Who prints it has a word of its own for how grave it is.
            CandidateError::Broken(diagnostics) => Self::bad(diagnostics.unnamed()),
            CandidateError::Stale { .. } => Self::new(StatusCode::CONFLICT, error.to_string())
                .remedy("look at the plan again, with `sluice plan FILE`"),
            CandidateError::Refused(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            CandidateError::File { .. } | CandidateError::NotKept { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}
