//! `GET /openapi.json`: what can be asked for, for programs.

use std::sync::Arc;

use axum::{
    http::header::CONTENT_TYPE,
    routing::{MethodRouter, get},
};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::refusals;

/// The document without the parts that the subjects add.
pub(super) fn frame() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0"));
    let info = InfoBuilder::new()
        .title("Sluice")
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(license.build()))
        .description(Some("The admin API of a Sluice daemon."));
    let mut document = OpenApiBuilder::new().info(info).build();
    refusals::describe(&mut document);
    document
}

/// `router` with a way to its own document.
pub(super) fn with_document<S: Clone + Send + Sync + 'static>(router: OpenApiRouter<S>) -> axum::Router<S> {
    let (router, document) = router.split_for_parts();
    router.route("/openapi.json", served(written(&document)))
}

fn served<S: Clone + Send + Sync + 'static>(text: String) -> MethodRouter<S> {
    let text: Arc<str> = text.into();
    get(async move || ([(CONTENT_TYPE, "application/json")], text.to_string()))
}

/// The document as a file has it.
fn written(document: &OpenApi) -> String {
    let text = document.to_pretty_json().expect("names, texts and lists are all JSON has to hold");
    text + "\n"
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    /// `INSTA_UPDATE=always` has it written anew.
    #[test]
    fn document_in_docs_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        let is = super::written(&super::super::all().into_openapi());
        if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            fs::write(&path, &is).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(is == written, "docs/openapi.json is old: run this test with INSTA_UPDATE=always");
    }
}
