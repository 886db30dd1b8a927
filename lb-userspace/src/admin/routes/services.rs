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

use crate::{
    admin::{
        ask::Daemon,
        caller::{Caller, Role},
        change::{Change, Changes, Keys, Services},
        read::Path,
        refused::{Failure, Refused},
    },
    changes::{self, EditError, Said},
    config::{BackendKeys, ServiceKeys, redact},
    daemon::{EditRefused, Event, now},
    health::TargetKey,
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
    let said = daemon.ask(Event::Said).await?;
    let version = said.document().version();
    let services = said.document().services().map(|service| keys(service, &caller)).collect();
    Ok(versioned(&version.clone(), Services { version, services }))
}

/// A service that is to be
#[utoipa::path(
    get,
    path = "/v1/services/{service}",
    tag = "services",
    params(("service" = String, Path, description = "Its name")),
    responses(
        (status = OK, body = ServiceKeys, description = "Its keys", headers(("etag" = String))),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
    )
)]
async fn service(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Versioned<Keys>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let service = said.document().service(&name);
    let service = service.ok_or_else(|| EditRefused::from(EditError::NoService(name)))?;
    Ok(versioned(&said.document().version(), keys(service, &caller)))
}

/// A backend that is to be
#[utoipa::path(
    get,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(
        ("service" = String, Path, description = "Name of the service"),
        ("backend" = String, Path, description = "Name of the backend"),
    ),
    responses(
        (status = OK, body = BackendKeys, description = "Its keys", headers(("etag" = String))),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
    )
)]
async fn backend(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path((service, backend)): Path<(String, String)>,
) -> Result<Versioned<Keys>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let key = TargetKey { service, backend };
    let backend = said.document().backend(&key);
    let backend = backend.ok_or_else(|| EditRefused::from(EditError::NoBackend(key.clone())))?;
    Ok(versioned(&said.document().version(), keys(backend, &caller)))
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
    let said = daemon.ask(Event::Said).await?;
    let version = said.document().version();
    Ok(versioned(&version.clone(), Changes { version, changes: listed(&said, &caller) }))
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
