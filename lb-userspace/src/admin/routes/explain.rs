//! `POST /v1/explain`: where a packet goes, and why.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{Extension, State},
    http::StatusCode,
};
use tokio::{
    task::{spawn, spawn_blocking},
    time::sleep,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin::{
        ask::Daemon,
        explain::{Explanation, Request},
        read::json,
        refused::{Failure, Refused},
    },
    causes::with_causes,
    daemon::Event,
    explain::{Arrival, Explainer},
    interface::index_of,
};

/// How long the program for questions is kept for another one.
const KEEP: Duration = Duration::from_mins(1);

/// One question at a time: each has the maps of the program for questions to itself.
type Shared = Extension<Arc<Mutex<Explainer>>>;

pub(super) fn router() -> OpenApiRouter<Daemon> {
    let explainer = Arc::new(Mutex::new(Explainer::default()));
    OpenApiRouter::new().routes(routes!(explain)).layer(Extension(explainer))
}

/// Says where a packet goes, and why
///
/// By the program that balances, on the maps that it reads and on copies of those that it writes: nothing is counted or
/// remembered by the question.
#[utoipa::path(
    post,
    path = "/v1/explain",
    tag = "packets",
    request_body = Request,
    responses(
        (status = OK, body = Explanation, description = "Where it goes"),
        (status = INTERNAL_SERVER_ERROR, body = Refused, description = "The kernel does not run the program"),
    )
)]
async fn explain(
    State(daemon): State<Daemon>,
    Extension(explainer): Shared,
    body: Bytes,
) -> Result<Json<Explanation>, Failure> {
    let request = json::<Request>(&body)?;
    let frame = request.frame().map_err(|(key, error)| Failure::bad(error).key(key))?;
    let scene = daemon.ask(Event::Scene).await?;
    let interfaces = &scene.config.balancer.interfaces;
    let interface = request.interface.or_else(|| interfaces.first().cloned()).unwrap_or_default();
    let ifindex = index_of(&interface).map_err(|error| {
        Failure::bad(format!("there is no interface {interface:?}: {error}"))
            .key("interface")
            .remedy(format!("the program is attached to {}", interfaces.join(", ")))
    })?;
    let arrival = Arrival { frame, interface, ifindex };
    // Loading takes the verifier its time, and the daemon's one task has better to do.
    let answered = spawn_blocking({
        let explainer = Arc::clone(&explainer);
        move || explainer.lock().unwrap_or_else(PoisonError::into_inner).explain(&scene, &arrival)
    });
    spawn(forget_later(explainer));
    match answered.await {
        Ok(Ok(explanation)) => Ok(Json(explanation)),
        Ok(Err(error)) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, with_causes(&error))),
        Err(_) => Err(Failure::ending()),
    }
}

/// Gives back the program for questions, unless another one comes.
async fn forget_later(explainer: Arc<Mutex<Explainer>>) {
    sleep(KEEP).await;
    explainer.lock().unwrap_or_else(PoisonError::into_inner).forget_if_unused(KEEP);
}
