//! What `sluice rollout` asks for: `POST /v1/services/{service}/rollout`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::Rollout;
use crate::{
    config::{Canary, PreferVersion},
    wishes::{Go, RolloutOrder},
};

/// The word for the newest version, and for nothing that is set apart.
const NEWEST: &str = "newest";
const NONE: &str = "none";

/// The request's body. What it leaves out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutRequest)]
pub struct Request {
    /// The line that is to run: `newest`, or a version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<String>,
    /// Whether what was said by `go` does not hold any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// Which versions new flows go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<PreferVersion>,
    /// What another one gets of them, such as `5%`, or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
}

/// The answer: how the roll-out stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RolloutObeyed)]
pub struct Obeyed {
    /// The service.
    pub service: String,
    /// Its roll-out.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// What went wrong nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Request {
    /// What is asked for.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with what it may be.
    pub fn order(&self) -> Result<RolloutOrder, String> {
        let go = match (&self.go, self.hold) {
            (Some(_), true) => return Err("go and hold contradict each other; say one of them".to_owned()),
            (Some(version), false) if version == NEWEST => Some(Go::Newest),
            (Some(version), false) => Some(Go::To(version.parse().map_err(|error| format!("{error}"))?)),
            (None, true) => Some(Go::Hold),
            (None, false) => None,
        };
        let canary = self.canary.as_deref().map(canary).transpose()?;
        Ok(RolloutOrder { go, prefer: self.prefer, canary })
    }

    /// One that says go to `version`, or to the newest.
    #[must_use]
    pub fn go(version: Option<&str>) -> Self {
        Self { go: Some(version.unwrap_or(NEWEST).to_owned()), ..Self::default() }
    }
}

/// A canary as it is written on a command line.
///
/// # Errors
///
/// What it may be.
pub fn canary(text: &str) -> Result<Option<Canary>, String> {
    if text == NONE {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| format!("{error}, or \"{NONE}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Result<RolloutOrder, String> {
        serde_json::from_str::<Request>(text).map_err(|error| error.to_string())?.order()
    }

    #[test]
    fn request_is_an_order_or_says_what_is_wrong() {
        let nothing = RolloutOrder::default();
        let go = |go| Ok(RolloutOrder { go: Some(go), ..nothing.clone() });
        assert_eq!(order("{}"), Ok(nothing.clone()));
        assert_eq!(order(r#"{"go": "newest"}"#), go(Go::Newest));
        assert_eq!(order(r#"{"go": "2.5"}"#), go(Go::To("2.5".parse().unwrap())));
        assert_eq!(order(r#"{"hold": true}"#), go(Go::Hold));
        let both =
            RolloutOrder { go: None, prefer: Some(PreferVersion::Oldest), canary: Some("5%".parse().ok()) };
        assert_eq!(order(r#"{"prefer": "oldest", "canary": "5%"}"#), Ok(both));
        assert_eq!(
            order(r#"{"canary": "none"}"#),
            Ok(RolloutOrder { canary: Some(None), ..nothing.clone() })
        );
        for (text, said) in [
            (r#"{"go": "newest", "hold": true}"#, "contradict each other"),
            (r#"{"go": "latest"}"#, "\"latest\" is not a version"),
            (r#"{"canary": "5"}"#, "\"5\" is no share of new flows"),
            (r#"{"canaries": "5%"}"#, "unknown field"),
            (r#"{"prefer": "latest"}"#, "unknown variant"),
        ] {
            let error = order(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
