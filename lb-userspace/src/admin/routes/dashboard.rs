//! `GET /`: the dashboard. A page that knows nothing, is open to all, and asks [`/v1/status`](super::status) as its reader.
//!
//! It is no part of the `OpenAPI` document, which is for programs.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::Path,
    http::{
        HeaderName, HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};
use lb_common::counter::{Fate, Reason};
use utoipa_axum::router::OpenApiRouter;

use crate::admin::{ask::Daemon, refused::Failure};

/// What the page may do: load its own parts, and ask its own host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A part of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $kind:expr) => {
        Asset { name: $name, kind: $kind, text: include_str!(concat!("../dashboard/", $name)) }
    };
}

const PAGE: Asset = asset!("index.html", HTML);

const ASSETS: [Asset; 13] = [
    asset!("style.css", CSS),
    asset!("icon.svg", SVG),
    asset!("main.js", JS),
    asset!("source.js", JS),
    asset!("rates.js", JS),
    asset!("state.js", JS),
    asset!("view.js", JS),
    asset!("charts.js", JS),
    asset!("orders.js", JS),
    asset!("configuration.js", JS),
    asset!("toml.js", JS),
    asset!("dom.js", JS),
    asset!("format.js", JS),
];

pub(super) fn router() -> OpenApiRouter<Daemon> {
    OpenApiRouter::new()
        .route("/", get(async || PAGE))
        .route("/dashboard/reasons.json", get(reasons))
        .route("/dashboard/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Result<Asset, Failure> {
    let asset = ASSETS.into_iter().find(|asset| asset.name == name);
    asset.ok_or_else(|| Failure::absent(format!("the dashboard has no part {name}")))
}

/// What becomes of packets, by reason: the page cannot know it otherwise.
#[derive(serde::Serialize)]
struct About {
    fate: &'static str,
}

async fn reasons() -> Json<BTreeMap<&'static str, About>> {
    let about = |reason: Reason| (reason.name(), About { fate: fate(reason.fate()) });
    Json(Reason::ALL.into_iter().map(about).collect())
}

const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Pass => "pass",
        Fate::Forward => "forward",
        Fate::Answer => "answer",
        Fate::Drop => "drop",
    }
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let header = |name: HeaderName, value| (name, HeaderValue::from_static(value));
        let headers = [
            header(CONTENT_TYPE, self.kind),
            // Another daemon may have another page.
            header(CACHE_CONTROL, "no-cache"),
            header(CONTENT_SECURITY_POLICY, POLICY),
            header(X_CONTENT_TYPE_OPTIONS, "nosniff"),
            header(REFERRER_POLICY, "no-referrer"),
        ];
        (headers, self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
        ASSETS.into_iter().chain([PAGE]).map(|asset| (asset.name, asset.text))
    }

    #[test]
    fn every_part_that_the_page_names_is_there() {
        for (name, text) in texts() {
            for part in text.split("\"/dashboard/").skip(1) {
                let part = part.split('"').next().unwrap();
                let known = ASSETS.iter().any(|asset| asset.name == part) || part == "reasons.json";
                assert!(known, "{name} names {part}");
            }
        }
    }

    #[test]
    fn every_file_is_embedded() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/dashboard");
        let files =
            fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        for file in files {
            assert!(texts().any(|(name, _)| name == file), "{file}");
        }
    }

    #[test]
    fn nothing_needs_more_than_the_policy_grants() {
        for (name, text) in texts() {
            for word in ["style=\"", "onclick=", "<style", "eval(", "innerHTML", "setAttribute(\"style"] {
                assert!(!text.contains(word), "{name} has {word}");
            }
            let elsewhere = text
                .match_indices("://")
                .filter(|(at, _)| !text[at + 3..].starts_with("www.w3.org/2000/svg"));
            assert_eq!(elsewhere.count(), 0, "{name} names another host");
        }
        assert_eq!(
            PAGE.text.matches("<script").count(),
            PAGE.text.matches("<script type=\"module\" src=").count()
        );
    }
}
