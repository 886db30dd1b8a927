//! What can be asked for: one module per subject, each of which gives a router with its part of the `OpenAPI` document.
//!
//! A new subject is a file here with `router()`, and a line in the one of the three functions that says who may use it.

mod capture;
mod dashboard;
mod envoy;
mod explain;
mod openapi;
mod order;
mod plan;
mod ready;
mod rollout;
mod services;
mod stats;
mod status;
mod verify;

use axum::{Router, http::Uri, middleware::from_fn};
use utoipa_axum::router::OpenApiRouter;

use super::{
    ask::Daemon,
    caller::{may_change, may_read},
    refused::Failure,
};

/// What everybody may have who reaches the daemon: nothing in it tells of the configuration, or of clients.
fn open() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().merge(dashboard::router()).merge(ready::router())
}

/// What may be read by every role.
fn reading() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new()
        .merge(services::reading())
        .merge(status::router())
        .merge(stats::router())
        .merge(envoy::router())
        .merge(explain::router())
        .merge(verify::reading())
}

/// What only an operator may do.
fn changing() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new()
        .merge(services::changing())
        .merge(order::router())
        .merge(rollout::router())
        .merge(plan::router())
        .merge(capture::router())
        .merge(verify::changing())
}

/// All of it, with the document that describes it.
fn all() -> OpenApiRouter<Daemon> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(open())
        .merge(reading().route_layer(from_fn(may_read)))
        .merge(changing().route_layer(from_fn(may_change)))
}

/// What answers requests.
pub(super) fn router() -> Router<Daemon> {
    openapi::with_document(all()).fallback(unknown)
}

async fn unknown(uri: Uri) -> Failure {
    Failure::absent(format!("there is no {}", uri.path())).remedy("GET /openapi.json tells what there is")
}
