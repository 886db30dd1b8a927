//! How requests may be refused whatever they ask for, in the document: every operation has these beside its own.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header::WWW_AUTHENTICATE};
use utoipa::{
    PartialSchema as _,
    openapi::{
        ContentBuilder, HeaderBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::admin::ask::Daemon;

/// A refusal with its name among the components.
struct Refusal {
    name: &'static str,
    status: StatusCode,
    description: &'static str,
}

const fn refusal(name: &'static str, status: StatusCode, description: &'static str) -> Refusal {
    Refusal { name, status, description }
}

/// Of everybody.
const ALWAYS: [Refusal; 3] = [
    refusal("Senseless", StatusCode::BAD_REQUEST, "It makes no sense"),
    refusal("Misdirected", StatusCode::MISDIRECTED_REQUEST, "This host has another name"),
    refusal("Ending", StatusCode::SERVICE_UNAVAILABLE, "The daemon is about to end"),
];

/// Of whoever may not even read.
const UNKNOWN: [Refusal; 1] = [refusal(
    "Unknown",
    StatusCode::UNAUTHORIZED,
    "Nobody has said who he is, or somebody whom nobody knows",
)];

/// Of whoever wants to change something.
const CHANGING: [Refusal; 3] = [
    refusal(
        "Forbidden",
        StatusCode::FORBIDDEN,
        "Whoever asks may only read, or another web page has sent it",
    ),
    refusal("Late", StatusCode::REQUEST_TIMEOUT, "The body took too long"),
    refusal("Large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large, or has broken off"),
];

const TOKEN: &str = "token";
const CERTIFICATE: &str = "certificate";

/// Puts what the others refer to among the components.
pub(super) fn describe(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    for refusal in ALWAYS.iter().chain(&UNKNOWN).chain(&CHANGING) {
        components.responses.insert(refusal.name.to_owned(), refusal.response().into());
    }
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let token = token.description(Some("A token of `balancer.api.tokens`")).build();
    let certificate = SecurityScheme::MutualTls {
        description: Some("A certificate of `balancer.api.client_ca`".to_owned()),
        deprecated: None,
        extensions: None,
    };
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
    components.add_security_scheme(CERTIFICATE, certificate);
}

/// Operations that everybody may have.
pub(super) fn of_open(mut router: OpenApiRouter<Daemon>) -> OpenApiRouter<Daemon> {
    operations(&mut router).for_each(|operation| add(operation, &ALWAYS));
    router
}

/// Operations of whoever may read.
pub(super) fn of_reading(mut router: OpenApiRouter<Daemon>) -> OpenApiRouter<Daemon> {
    for operation in operations(&mut router) {
        add(operation, &ALWAYS);
        add(operation, &UNKNOWN);
        operation.security = Some(ways_in());
    }
    router
}

/// Operations of whoever may change something.
pub(super) fn of_changing(router: OpenApiRouter<Daemon>) -> OpenApiRouter<Daemon> {
    let mut router = of_reading(router);
    operations(&mut router).for_each(|operation| add(operation, &CHANGING));
    router
}

/// On the Unix socket, nobody has to say who he is.
fn ways_in() -> Vec<SecurityRequirement> {
    let nothing: [&str; 0] = [];
    let by = |name: &str| SecurityRequirement::new(name, nothing);
    vec![by(TOKEN), by(CERTIFICATE), SecurityRequirement::default()]
}

fn operations(router: &mut OpenApiRouter<Daemon>) -> impl Iterator<Item = &mut Operation> {
    router.get_openapi_mut().paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, put, post, delete, patch, .. } = item;
        [get, put, post, delete, patch].into_iter().flatten()
    })
}

/// What an operation says of a status itself stays.
fn add(operation: &mut Operation, refusals: &[Refusal]) {
    let responses: &mut BTreeMap<String, RefOr<Response>> = &mut operation.responses.responses;
    for refusal in refusals {
        let reference = || Ref::from_response_name(refusal.name).into();
        responses.entry(refusal.status.as_str().to_owned()).or_insert_with(reference);
    }
}

impl Refusal {
    fn response(&self) -> Response {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Refused"))).build();
        let response =
            ResponseBuilder::new().description(self.description).content("application/json", content);
        let asks = HeaderBuilder::new().schema(Some(String::schema())).build();
        match self.status {
            StatusCode::UNAUTHORIZED => response.header(WWW_AUTHENTICATE.as_str(), asks).build(),
            _ => response.build(),
        }
    }
}
