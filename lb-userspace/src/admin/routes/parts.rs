//! What routes of several subjects have alike, in the document too: the names in their paths, and that there is none of it.

use serde::Deserialize;
use utoipa::{IntoParams, IntoResponses};

use crate::{admin::refused::Refused, health::TargetKey};

/// The path of a service.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfService {
    /// Name of the service
    pub(super) service: String,
}

/// The path of a backend.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfBackend {
    /// Name of the service
    pub(super) service: String,
    /// Name of the backend
    pub(super) backend: String,
}

impl From<OfBackend> for TargetKey {
    fn from(OfBackend { service, backend }: OfBackend) -> Self {
        Self { service, backend }
    }
}

/// There is none
#[derive(IntoResponses)]
#[response(status = NOT_FOUND)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct Absent(Refused);
