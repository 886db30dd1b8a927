//! What travels where services and backends are read and changed: `/v1/services` and below, and `/v1/changes`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::plan::Preview;
use crate::config::ServiceKeys;

/// What came of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The version of the configuration that runs now: what `ETag` has too.
    pub version: String,
    /// What is allowed and probably not meant, and what went wrong nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What would change, where only that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// Keys and values, as the file has them.
pub type Keys = Map<String, Value>;

/// The services that there are to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Services {
    /// The version of the configuration that runs.
    pub version: String,
    /// Each with the keys of its `[[service]]`, and its backends in `backend`.
    #[schema(value_type = Vec<ServiceKeys>)]
    pub services: Vec<Keys>,
}

/// What was changed at run time over the file, and holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// The version of the configuration that runs.
    pub version: String,
    /// Change by change, those of services first.
    pub changes: Vec<Change>,
}

/// A change over the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ChangeOverFile)]
pub struct Change {
    /// The service.
    pub service: String,
    /// The backend, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What holds; none: it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub is: Option<Keys>,
    /// What the file says; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub file: Option<Keys>,
    /// Seconds until it lapses, where it is by lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_left: Option<f64>,
}
