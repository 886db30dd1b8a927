//! What can be asked for: one module per subject, each of which gives a router with its part of the `OpenAPI` document.
//!
//! A new subject is a file here with `router()`, and a line in the one of the three functions that says who may use it.

mod capture;
mod dashboard;
mod edits;
mod envoy;
mod explain;
mod openapi;
mod order;
mod parts;
mod plan;
mod ready;
mod refusals;
mod rollout;
mod services;
mod stats;
mod status;
mod verify;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware::from_fn,
};
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
        .merge(services::router())
        .merge(status::router())
        .merge(stats::router())
        .merge(envoy::router())
        .merge(explain::router())
        .merge(verify::reading())
}

/// What only an operator may do.
fn changing() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new()
        .merge(edits::router())
        .merge(order::router())
        .merge(rollout::router())
        .merge(plan::router())
        .merge(capture::router())
        .merge(verify::changing())
}

/// All of it, with the document that describes it.
fn all() -> OpenApiRouter<Daemon> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(refusals::of_open(open()))
        .merge(refusals::of_reading(reading()).route_layer(from_fn(may_read)))
        .merge(refusals::of_changing(changing()).route_layer(from_fn(may_change)))
}

/// What answers requests.
pub(super) fn router() -> Router<Daemon> {
    openapi::with_document(all()).fallback(unknown).method_not_allowed_fallback(not_so)
}

async fn not_so(method: Method, uri: Uri) -> Failure {
    let error = format!("{} is not there to {method}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, error)
        .remedy("the header `Allow` tells what may be done with it")
}

async fn unknown(uri: Uri) -> Failure {
    Failure::absent(format!("there is no {}", uri.path())).remedy("GET /openapi.json tells what there is")
}
