//! `GET` of `/v1/services` and below: the services and backends that are to be, in the keys of the file; and of
//! `/v1/changes`.
//!
//! Keys may hold secrets, as the headers of a probe do. Whoever may change them sees them; others see that they are there.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderName, header::ETAG},
};
use serde_json::Value;
use toml::Table;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::parts::{Absent, OfBackend, OfService};
use crate::{
    admin::{
        ask::Daemon,
        caller::{Caller, Role},
        change::{Change, Changes, Keys, Services},
        read::Path,
        refused::Failure,
    },
    changes::{self, EditError, Said},
    config::{BackendKeys, ServiceKeys, redact},
    daemon::{EditRefused, Event, now},
};

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new()
        .routes(routes!(services))
        .routes(routes!(service))
        .routes(routes!(backend))
        .routes(routes!(changes))
}

/// An answer with the version of the configuration.
pub(super) type Versioned<T> = ([(HeaderName, String); 1], Json<T>);

pub(super) fn versioned<T>(version: &str, answer: T) -> Versioned<T> {
    ([(ETAG, format!("\"{version}\""))], Json(answer))
}

/// The services that are to be
///
/// As the file has them, with what was changed at run time. What becomes of them is in `/v1/status`.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "services",
    responses((status = OK, body = Services, description = "All of them", headers(("etag" = String))))
)]
async fn services(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
) -> Result<Versioned<Services>, Failure> {
    told(&daemon, |said| {
        let services = said.document().services().map(|service| keys(service, &caller)).collect();
        Ok(Services { version: said.document().version(), services })
    })
    .await
}

/// A service that is to be
#[utoipa::path(
    get,
    path = "/v1/services/{service}",
    tag = "services",
    params(OfService),
    responses(
        (status = OK, body = ServiceKeys, description = "Its keys", headers(("etag" = String))),
        Absent,
    )
)]
async fn service(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(OfService { service }): Path<OfService>,
) -> Result<Versioned<Keys>, Failure> {
    told(&daemon, |said| {
        let table = said.document().service(&service);
        table.map(|table| keys(table, &caller)).ok_or(EditError::NoService(service))
    })
    .await
}

/// A backend that is to be
#[utoipa::path(
    get,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(OfBackend),
    responses(
        (status = OK, body = BackendKeys, description = "Its keys", headers(("etag" = String))),
        Absent,
    )
)]
async fn backend(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(key): Path<OfBackend>,
) -> Result<Versioned<Keys>, Failure> {
    let key = key.into();
    told(&daemon, |said| {
        let table = said.document().backend(&key);
        table.map(|table| keys(table, &caller)).ok_or(EditError::NoBackend(key))
    })
    .await
}

/// What was changed over the file
///
/// Each of these holds until the file itself says something else of that service or backend.
#[utoipa::path(
    get,
    path = "/v1/changes",
    tag = "configuration",
    responses((status = OK, body = Changes, description = "All of it", headers(("etag" = String))))
)]
async fn changes(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
) -> Result<Versioned<Changes>, Failure> {
    told(&daemon, |said| Ok(Changes { version: said.document().version(), changes: listed(said, &caller) }))
        .await
}

/// What `tell` tells of what is said, with the version of that.
async fn told<T>(
    daemon: &Daemon,
    tell: impl FnOnce(&Said) -> Result<T, EditError>,
) -> Result<Versioned<T>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let told = tell(&said).map_err(EditRefused::from)?;
    Ok(versioned(&said.document().version(), told))
}

fn listed(said: &Said, caller: &Caller) -> Vec<Change> {
    let told = |service: &str, backend: Option<&str>, change: &changes::Change| Change {
        service: service.to_owned(),
        backend: backend.map(str::to_owned),
        is: change.is.as_ref().map(|table| keys(table, caller)),
        file: change.over.as_ref().map(|table| keys(table, caller)),
        lease_left: change.lease.map(|lease| lease.until.saturating_sub(now()).as_secs_f64()),
    };
    let services = said.changes().services().iter().map(|(name, change)| told(name, None, change));
    let backends = said.changes().backends().iter();
    services.chain(backends.map(|(key, change)| told(&key.service, Some(&key.backend), change))).collect()
}

/// A table in JSON. Dates and what is no number have no place in a configuration.
fn keys(table: &Table, caller: &Caller) -> Keys {
    let mut value = serde_json::to_value(table).unwrap_or_default();
    if caller.role < Some(Role::Operator) {
        redact(&mut value);
    }
    match value {
        Value::Object(keys) => keys,
        _ => Keys::new(),
    }
}
