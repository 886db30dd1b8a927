//! `/v1/services` and below: the services and backends that are to be, in the keys of the file; and `/v1/changes`.

use std::{ops::RangeInclusive, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{ETAG, IF_MATCH},
    },
};
use humantime::{format_duration, parse_duration};
use serde::Deserialize;
use serde_json::Value;
use toml::Table;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::{Daemon, json},
        change::{Change, Changed, Changes, Keys, Services},
        refused::{Failure, Refused},
    },
    changes::{self, Edit, EditError, Said},
    daemon::{EditEvent, EditRefused, Event, now},
    health::TargetKey,
};

/// How long a lease may last.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(30 * 24);

/// What may be read.
pub(super) fn reading() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new()
        .routes(routes!(services))
        .routes(routes!(service))
        .routes(routes!(backend))
        .routes(routes!(changes))
}

/// What may be changed.
pub(super) fn changing() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(put_service, delete_service)).routes(routes!(
        put_backend,
        patch_backend,
        delete_backend
    ))
}

/// An answer with the version of the configuration.
type Versioned<T> = ([(HeaderName, String); 1], Json<T>);

fn versioned<T>(version: &str, answer: T) -> Versioned<T> {
    ([(ETAG, format!("\"{version}\""))], Json(answer))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct How {
    /// Whether only to tell what would change
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HowLong {
    /// Whether only to tell what would change
    #[serde(default)]
    dry_run: bool,
    /// How long it holds unless it is said again, such as `30s`; without it, until somebody says otherwise
    ttl: Option<String>,
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
async fn services(State(daemon): State<Daemon>) -> Result<Versioned<Services>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let version = said.document().version();
    let services = said.document().services().map(keys).collect();
    Ok(versioned(&version.clone(), Services { version, services }))
}

/// A service that is to be
#[utoipa::path(
    get,
    path = "/v1/services/{service}",
    tag = "services",
    params(("service" = String, Path, description = "Its name")),
    responses(
        (status = OK, body = Object, description = "The keys of its `[[service]]`", headers(("etag" = String))),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
    )
)]
async fn service(State(daemon): State<Daemon>, Path(name): Path<String>) -> Result<Versioned<Keys>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let service =
        said.document().service(&name).ok_or_else(|| refused(&EditError::NoService(name).into()))?;
    Ok(versioned(&said.document().version(), keys(service)))
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
        (status = OK, body = Object, description = "The keys of its `[[service.backend]]`", headers(("etag" = String))),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
    )
)]
async fn backend(
    State(daemon): State<Daemon>,
    Path((service, backend)): Path<(String, String)>,
) -> Result<Versioned<Keys>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let key = TargetKey { service, backend };
    let backend =
        said.document().backend(&key).ok_or_else(|| refused(&EditError::NoBackend(key.clone()).into()))?;
    Ok(versioned(&said.document().version(), keys(backend)))
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
async fn changes(State(daemon): State<Daemon>) -> Result<Versioned<Changes>, Failure> {
    let said = daemon.ask(Event::Said).await?;
    let version = said.document().version();
    Ok(versioned(&version.clone(), Changes { version, changes: listed(&said) }))
}

fn listed(said: &Said) -> Vec<Change> {
    let told = |service: &str, backend: Option<&str>, change: &changes::Change| Change {
        service: service.to_owned(),
        backend: backend.map(str::to_owned),
        is: change.is.as_ref().map(keys),
        file: change.over.as_ref().map(keys),
        lease_left: change.lease.map(|lease| lease.until.saturating_sub(now()).as_secs_f64()),
    };
    let services = said.changes().services().iter().map(|(name, change)| told(name, None, change));
    let backends = said.changes().backends().iter();
    services.chain(backends.map(|(key, change)| told(&key.service, Some(&key.backend), change))).collect()
}

/// Adds or replaces a service
///
/// The body has the keys of `[[service]]`. Backends that are not in its `backend` go, and keep their flows until those end;
/// without `backend`, all stay. It holds over restarts, until the file says something else of the service.
#[utoipa::path(
    put,
    path = "/v1/services/{service}",
    tag = "services",
    params(
        ("service" = String, Path, description = "Its name"),
        How,
        ("if-match" = Option<String>, Header, description = "The version that is meant, as `ETag` has told it"),
    ),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        (status = BAD_REQUEST, body = Refused, description = "It makes no sense"),
        (status = CONFLICT, body = Refused, description = "It cannot run"),
        (status = PRECONDITION_FAILED, body = Refused, description = "The version is another one by now"),
    )
)]
async fn put_service(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let table = named(&body, &name)?;
    edit(&daemon, &headers, dry_run, Edit::PutService(name, table)).await
}

/// Removes a service
#[utoipa::path(
    delete,
    path = "/v1/services/{service}",
    tag = "services",
    params(
        ("service" = String, Path, description = "Its name"),
        How,
        ("if-match" = Option<String>, Header, description = "The version that is meant, as `ETag` has told it"),
    ),
    responses(
        (status = OK, body = Changed, description = "It is gone", headers(("etag" = String))),
        (status = BAD_REQUEST, body = Refused, description = "It makes no sense"),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
        (status = CONFLICT, body = Refused, description = "It cannot go"),
        (status = PRECONDITION_FAILED, body = Refused, description = "The version is another one by now"),
    )
)]
async fn delete_service(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
) -> Result<Versioned<Changed>, Failure> {
    edit(&daemon, &headers, dry_run, Edit::DeleteService(name)).await
}

/// Adds or replaces a backend
///
/// The body has the keys of `[[service.backend]]`. With a `ttl` it is there for that long, and for as long as this is said
/// again in time; then it goes as one that was removed, and what the file says of it holds.
#[utoipa::path(
    put,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(
        ("service" = String, Path, description = "Name of the service"),
        ("backend" = String, Path, description = "Name of the backend"),
        HowLong,
        ("if-match" = Option<String>, Header, description = "The version that is meant, as `ETag` has told it"),
    ),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        (status = BAD_REQUEST, body = Refused, description = "It makes no sense"),
        (status = NOT_FOUND, body = Refused, description = "There is no such service"),
        (status = CONFLICT, body = Refused, description = "It cannot run"),
        (status = PRECONDITION_FAILED, body = Refused, description = "The version is another one by now"),
    )
)]
async fn put_backend(
    State(daemon): State<Daemon>,
    Path((service, backend)): Path<(String, String)>,
    Query(HowLong { dry_run, ttl }): Query<HowLong>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let table = named(&body, &backend)?;
    let ttl = ttl.as_deref().map(lifetime).transpose()?;
    edit(&daemon, &headers, dry_run, Edit::PutBackend(TargetKey { service, backend }, table, ttl)).await
}

/// Changes single keys of a backend
///
/// A merge patch (RFC 7396): what is null goes, what is left out stays.
#[utoipa::path(
    patch,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(
        ("service" = String, Path, description = "Name of the service"),
        ("backend" = String, Path, description = "Name of the backend"),
        How,
        ("if-match" = Option<String>, Header, description = "The version that is meant, as `ETag` has told it"),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        (status = BAD_REQUEST, body = Refused, description = "It makes no sense"),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
        (status = CONFLICT, body = Refused, description = "It cannot run"),
        (status = PRECONDITION_FAILED, body = Refused, description = "The version is another one by now"),
    )
)]
async fn patch_backend(
    State(daemon): State<Daemon>,
    Path((service, backend)): Path<(String, String)>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let patch: Value = json(&body)?;
    if patch.get("name").is_some_and(|name| *name != backend.as_str()) {
        return Err(another_name(&backend));
    }
    edit(&daemon, &headers, dry_run, Edit::PatchBackend(TargetKey { service, backend }, patch)).await
}

/// Removes a backend
///
/// It keeps its flows until they end, unless the service says otherwise (`on_remove`).
#[utoipa::path(
    delete,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(
        ("service" = String, Path, description = "Name of the service"),
        ("backend" = String, Path, description = "Name of the backend"),
        How,
        ("if-match" = Option<String>, Header, description = "The version that is meant, as `ETag` has told it"),
    ),
    responses(
        (status = OK, body = Changed, description = "It takes no new flows", headers(("etag" = String))),
        (status = BAD_REQUEST, body = Refused, description = "It makes no sense"),
        (status = NOT_FOUND, body = Refused, description = "There is none"),
        (status = CONFLICT, body = Refused, description = "It cannot go"),
        (status = PRECONDITION_FAILED, body = Refused, description = "The version is another one by now"),
    )
)]
async fn delete_backend(
    State(daemon): State<Daemon>,
    Path((service, backend)): Path<(String, String)>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
) -> Result<Versioned<Changed>, Failure> {
    edit(&daemon, &headers, dry_run, Edit::DeleteBackend(TargetKey { service, backend })).await
}

async fn edit(
    daemon: &Daemon,
    headers: &HeaderMap,
    dry_run: bool,
    edit: Edit,
) -> Result<Versioned<Changed>, Failure> {
    let expected =
        headers.get(IF_MATCH).map(|expected| String::from_utf8_lossy(expected.as_bytes()).into_owned());
    let edited = daemon.ask(|answer| Event::Edit(EditEvent { edit, expected, dry_run, answer })).await?;
    let changed = edited.map_err(|error| refused(&error))?;
    Ok(versioned(&changed.version.clone(), changed))
}

fn refused(error: &EditRefused) -> Failure {
    match error {
        EditRefused::Stale { .. } => Failure::new(StatusCode::PRECONDITION_FAILED, error.to_string())
            .remedy("look again at what there is, and send the `ETag` of that as `If-Match`"),
        EditRefused::Edit(EditError::NoService(_) | EditError::NoBackend(_)) => {
            Failure::absent(error.to_string()).remedy("GET /v1/services tells what there is")
        }
        EditRefused::Edit(_) => Failure::bad(error.to_string()),
        EditRefused::Broken { error, key, remedy } => {
            let failure = Failure::bad(error);
            let failure = key.iter().fold(failure, Failure::key);
            remedy.iter().fold(failure, Failure::remedy)
        }
        EditRefused::Refused(_) => Failure::new(StatusCode::CONFLICT, error.to_string()),
    }
}

/// The body as a table with this name.
fn named(body: &Bytes, name: &str) -> Result<Table, Failure> {
    let mut table: Table = json(body)?;
    let own = table.entry("name").or_insert_with(|| name.into());
    if own.as_str() == Some(name) { Ok(table) } else { Err(another_name(name)) }
}

fn another_name(name: &str) -> Failure {
    Failure::bad(format!("the name in the body is not {name}, as in the path"))
        .key("name")
        .remedy("leave it out: what has another name is another one")
}

fn lifetime(text: &str) -> Result<Duration, Failure> {
    let ttl =
        parse_duration(text).map_err(|error| Failure::bad(format!("ttl: {text:?} is no duration: {error}")));
    let ttl = ttl.map_err(|failure| failure.remedy("write it as 30s or 5m"))?;
    if TTLS.contains(&ttl) {
        return Ok(ttl);
    }
    let (least, most) = (format_duration(*TTLS.start()), format_duration(*TTLS.end()));
    Err(Failure::bad(format!("ttl: {text} is no time for a lease"))
        .remedy(format!("write {least} to {most}")))
}

/// A table in JSON. Dates and what is no number have no place in a configuration.
fn keys(table: &Table) -> Keys {
    match serde_json::to_value(table) {
        Ok(Value::Object(keys)) => keys,
        _ => Keys::new(),
    }
}
