//! What a handler reads of a request. What makes no sense is refused in the shape of every refusal.

use axum::{
    body::Bytes,
    extract::{self, FromRequestParts},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::refused::Failure;

/// Parts of the path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// What is behind the question mark.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = extract::Path::from_request_parts(parts, state).await;
        read.map(|extract::Path(path)| Self(path)).map_err(|wrong| Failure::bad(wrong.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = extract::Query::from_request_parts(parts, state).await;
        read.map(|extract::Query(query)| Self(query)).map_err(|wrong| Failure::bad(wrong.body_text()))
    }
}

/// The body as JSON, whatever its content type says.
///
/// # Errors
///
/// Where it is not what is expected, with what and where.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad(error.to_string()))
}
