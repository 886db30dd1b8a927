//! `PUT`, `PATCH` and `DELETE` of services and backends, over what the file says of them.

use std::{ops::RangeInclusive, time::Duration};

use axum::{
    body::Bytes,
    extract::State,
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{IF_MATCH, IF_NONE_MATCH},
    },
};
use humantime::{format_duration, parse_duration};
use serde::Deserialize;
use toml::Table;
use utoipa::{IntoParams, IntoResponses};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    parts::{Absent, OfBackend, OfService},
    services::{Versioned, versioned},
};
use crate::{
    admin::{
        ask::Daemon,
        change::Changed,
        read::{Path, Query, json},
        refused::{Failure, Refused},
    },
    changes::{Condition, Edit, EditError, Patch, Unmet},
    config::{BackendKeys, ServiceKeys},
    daemon::{EditEvent, EditRefused, Event},
};

/// How long a lease may last.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(30 * 24);

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new().routes(routes!(put_service, patch_service, delete_service)).routes(routes!(
        put_backend,
        patch_backend,
        delete_backend
    ))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct How {
    /// Whether only to tell what would change
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct HowLong {
    /// Whether only to tell what would change
    #[serde(default)]
    dry_run: bool,
    /// How long it holds unless it is said again, such as `30s`; without it, until somebody says otherwise
    ttl: Option<String>,
}

/// On what condition, in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "headers are read where all of them are at hand")]
struct Conditions {
    /// The version that is meant, as `ETag` has told it, or `*` for what there is already
    #[param(rename = "if-match", nullable = false)]
    if_match: Option<String>,
    /// `*` for what is not there yet
    #[param(rename = "if-none-match", nullable = false)]
    if_none_match: Option<String>,
}

/// Why a change is not made, in the document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes")]
enum Unwritten {
    /// It cannot run
    #[response(status = CONFLICT)]
    Impossible(Refused),
    /// The version is another one by now, or its condition does not hold
    #[response(status = PRECONDITION_FAILED)]
    Unmet(Refused),
}

/// Why something is not removed, in the document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes")]
enum Unremoved {
    /// It cannot go
    #[response(status = CONFLICT)]
    Impossible(Refused),
    /// The version is another one by now, or its condition does not hold
    #[response(status = PRECONDITION_FAILED)]
    Unmet(Refused),
}

/// Adds or replaces a service
///
/// The body has the keys of `[[service]]`. Backends that are not in its `backend` go, and keep their flows until those end;
/// without `backend`, all stay. It holds over restarts, until the file says something else of the service.
#[utoipa::path(
    put,
    path = "/v1/services/{service}",
    tag = "services",
    params(OfService, How, Conditions),
    request_body(content = ServiceKeys, content_type = "application/json"),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        Unwritten,
    )
)]
async fn put_service(
    State(daemon): State<Daemon>,
    Path(OfService { service }): Path<OfService>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let table = named(&body, &service)?;
    edit(&daemon, &headers, dry_run, Edit::PutService(service, table)).await
}

/// Changes single keys of a service
///
/// A merge patch (RFC 7396): what is null goes, what is left out stays, and lists are replaced as a whole, `backend` too.
#[utoipa::path(
    patch,
    path = "/v1/services/{service}",
    tag = "services",
    params(OfService, How, Conditions),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        Unwritten,
        Absent,
    )
)]
async fn patch_service(
    State(daemon): State<Daemon>,
    Path(OfService { service }): Path<OfService>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let patch = patch_of(&body, &service)?;
    edit(&daemon, &headers, dry_run, Edit::PatchService(service, patch)).await
}

/// Removes a service
#[utoipa::path(
    delete,
    path = "/v1/services/{service}",
    tag = "services",
    params(OfService, How, Conditions),
    responses(
        (status = OK, body = Changed, description = "It is gone", headers(("etag" = String))),
        Unremoved,
        Absent,
    )
)]
async fn delete_service(
    State(daemon): State<Daemon>,
    Path(OfService { service }): Path<OfService>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
) -> Result<Versioned<Changed>, Failure> {
    edit(&daemon, &headers, dry_run, Edit::DeleteService(service)).await
}

/// Adds or replaces a backend
///
/// The body has the keys of `[[service.backend]]`. With a `ttl` it is there for that long, and for as long as this is said
/// again in time; then it goes as one that was removed, and what the file says of it holds.
#[utoipa::path(
    put,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(OfBackend, HowLong, Conditions),
    request_body(content = BackendKeys, content_type = "application/json"),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        Unwritten,
        (status = NOT_FOUND, body = Refused, description = "There is no such service"),
    )
)]
async fn put_backend(
    State(daemon): State<Daemon>,
    Path(key): Path<OfBackend>,
    Query(HowLong { dry_run, ttl }): Query<HowLong>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let table = named(&body, &key.backend)?;
    let ttl = ttl.as_deref().map(lifetime).transpose()?;
    edit(&daemon, &headers, dry_run, Edit::PutBackend(key.into(), table, ttl)).await
}

/// Changes single keys of a backend
///
/// A merge patch (RFC 7396): what is null goes, what is left out stays.
#[utoipa::path(
    patch,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(OfBackend, How, Conditions),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = OK, body = Changed, description = "It is so", headers(("etag" = String))),
        Unwritten,
        Absent,
    )
)]
async fn patch_backend(
    State(daemon): State<Daemon>,
    Path(key): Path<OfBackend>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Versioned<Changed>, Failure> {
    let patch = patch_of(&body, &key.backend)?;
    edit(&daemon, &headers, dry_run, Edit::PatchBackend(key.into(), patch)).await
}

/// Removes a backend
///
/// It keeps its flows until they end, unless the service says otherwise (`on_remove`).
#[utoipa::path(
    delete,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(OfBackend, How, Conditions),
    responses(
        (status = OK, body = Changed, description = "It takes no new flows", headers(("etag" = String))),
        Unremoved,
        Absent,
    )
)]
async fn delete_backend(
    State(daemon): State<Daemon>,
    Path(key): Path<OfBackend>,
    Query(How { dry_run }): Query<How>,
    headers: HeaderMap,
) -> Result<Versioned<Changed>, Failure> {
    edit(&daemon, &headers, dry_run, Edit::DeleteBackend(key.into())).await
}

async fn edit(
    daemon: &Daemon,
    headers: &HeaderMap,
    dry_run: bool,
    edit: Edit,
) -> Result<Versioned<Changed>, Failure> {
    let said = |name: HeaderName| {
        headers.get(name).map(|said| String::from_utf8_lossy(said.as_bytes()).into_owned())
    };
    let condition = Condition { matches: said(IF_MATCH), none_matches: said(IF_NONE_MATCH) };
    let event = |answer| Event::Edit(EditEvent { edit, condition, dry_run, answer });
    let changed = daemon.demand(event).await?;
    Ok(versioned(&changed.version.clone(), changed))
}

impl From<EditRefused> for Failure {
    fn from(refused: EditRefused) -> Self {
        let error = refused.to_string();
        match refused {
            EditRefused::Unmet(unmet) => {
                Self::new(StatusCode::PRECONDITION_FAILED, error).remedy(match unmet {
                    Unmet::Stale { .. } => {
                        "look again at what there is, and send the `ETag` of that as `If-Match`"
                    }
                    Unmet::Absent => "leave `If-Match` out to have it be there",
                    Unmet::Present => "leave `If-None-Match` out to have it be another one",
                })
            }
            EditRefused::Edit(EditError::NoService(_) | EditError::NoBackend(_)) => {
                Self::absent(error).remedy("GET /v1/services tells what there is")
            }
            EditRefused::Edit(_) => Self::bad(error),
            EditRefused::Broken { key, remedy, .. } => {
                let failure = key.into_iter().fold(Self::bad(error), Self::key);
                remedy.into_iter().fold(failure, Self::remedy)
            }
            EditRefused::Refused(_) => Self::new(StatusCode::CONFLICT, error),
        }
    }
}

/// The body as a table with this name.
fn named(body: &Bytes, name: &str) -> Result<Table, Failure> {
    let mut table: Table = json(body)?;
    let own = table.entry("name").or_insert_with(|| name.into());
    if own.as_str() == Some(name) { Ok(table) } else { Err(another_name(name)) }
}

/// The body as a patch, which gives nothing another name.
fn patch_of(body: &Bytes, name: &str) -> Result<Patch, Failure> {
    let patch: Patch = json(body)?;
    let keeps_name = patch.get("name").is_none_or(|own| *own == name);
    if keeps_name { Ok(patch) } else { Err(another_name(name)) }
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
