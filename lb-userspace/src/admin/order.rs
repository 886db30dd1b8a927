//! What `sluice drain`, `ready` and `maintenance` ask for: `POST /v1/services/{service}/backends/{backend}/admin`.

use std::time::Duration;

use humantime::{format_duration, parse_duration};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::Backend;
use crate::{
    config::{AdminState, DRAIN_DEADLINES, OnDeadline},
    wishes::Order,
};

/// The request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdminRequest)]
pub struct Request {
    /// The state that the backend is to have.
    pub state: AdminState,
    /// How long a drain may last from now on, such as `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// What becomes of the flows that are left then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deadline: Option<OnDeadline>,
}

/// The answer: how the backend is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AdminObeyed)]
pub struct Obeyed {
    /// The service.
    pub service: String,
    /// The backend.
    #[serde(flatten)]
    pub backend: Backend,
    /// What went wrong nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Request {
    /// What is asked for.
    ///
    /// # Errors
    ///
    /// Where the deadline is none, with what it may be.
    pub fn order(&self) -> Result<Order, String> {
        let deadline = self.deadline.as_deref().map(deadline).transpose()?;
        Ok(Order { state: self.state, deadline, on_deadline: self.on_deadline })
    }
}

/// A deadline as it is written on a command line.
///
/// # Errors
///
/// What it may be.
pub fn deadline(text: &str) -> Result<Duration, String> {
    let deadline = parse_duration(text).map_err(|error| format!("{text:?} is no duration: {error}"))?;
    if DRAIN_DEADLINES.contains(&deadline) {
        return Ok(deadline);
    }
    Err(format!(
        "{text} is too long for a drain; expected at most {}",
        format_duration(*DRAIN_DEADLINES.end())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_an_order_or_says_what_is_wrong() {
        let request = |text: &str| serde_json::from_str::<Request>(text).unwrap().order();
        let order = Order { state: AdminState::Drain, deadline: None, on_deadline: None };
        assert_eq!(request(r#"{"state": "drain"}"#), Ok(order));
        let (deadline, on_deadline) = (Some(Duration::from_mins(10)), Some(OnDeadline::Reset));
        assert_eq!(
            request(r#"{"state": "drain", "deadline": "10m", "on_deadline": "reset"}"#),
            Ok(Order { deadline, on_deadline, ..order })
        );
        assert!(
            request(r#"{"state": "drain", "deadline": "soon"}"#)
                .unwrap_err()
                .contains("\"soon\" is no duration")
        );
        assert!(request(r#"{"state": "drain", "deadline": "31d"}"#).unwrap_err().contains("at most 30days"));
    }

    #[test]
    fn request_with_a_misspelt_key_is_refused() {
        assert!(serde_json::from_str::<Request>(r#"{"state": "drain", "dedline": "10m"}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"state": "drained"}"#).is_err());
    }
}
