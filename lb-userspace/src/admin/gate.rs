//! What every request passes: who sends it is found out, its body is bounded, and changes are written down.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Extension, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;

use super::{
    audit::{Audit, Line, Shown},
    caller::{Caller, Peer},
    refused::{Failure, Refused},
};

/// The largest body over TCP: a service with ten thousand backends takes less.
const MOST_BYTES: usize = 4 << 20;

/// The same on the socket: as large as a file may be.
const MOST_BYTES_OF_SOCKET: usize = 256 << 20;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes a request on to its handler.
pub(super) async fn pass(
    State(audit): State<Audit>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let method = request.method().clone();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let caller = peer.caller(&request);
    let who = caller.as_ref().map_or_else(|_| "nobody".to_owned(), |caller| caller.name.clone());
    let (response, body) = match caller {
        Ok(caller) if only_reads => (forward(caller, request, Body::empty(), next).await, Bytes::new()),
        Ok(caller) => change(caller, most_bytes(&peer), request, next).await,
        Err(failure) => (failure.into_response(), Bytes::new()),
    };
    let status = response.status();
    if !only_reads || is_refusal_of_somebody(status) {
        let shown = Shown::of(&body);
        let refused = response.extensions().get::<Refused>().map(|refused| shown.reason(refused));
        let error =
            refused.or_else(|| (!status.is_success()).then(|| status.canonical_reason().unwrap_or("")));
        let from = peer.to_string();
        audit.write(&Line {
            who: &who,
            from: &from,
            method: method.as_str(),
            path: &path,
            body: &shown.text,
            status: status.as_u16(),
            error,
        });
    }
    response
}

fn is_refusal_of_somebody(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::MISDIRECTED_REQUEST].contains(&status)
}

/// Passes on what may change something, with its body, which is given too.
async fn change(caller: Caller, most_bytes: usize, request: Request, next: Next) -> (Response, Bytes) {
    let (head, body) = request.into_parts();
    // Of somebody unknown it is not even read: he will be refused.
    let body = if caller.role.is_some() { bounded(body, most_bytes).await } else { Ok(Bytes::new()) };
    match body {
        Ok(body) => {
            let request = Request::from_parts(head, Body::empty());
            (forward(caller, request, Body::from(body.clone()), next).await, body)
        }
        Err(failure) => (failure.into_response(), Bytes::new()),
    }
}

async fn forward(caller: Caller, mut request: Request, body: Body, next: Next) -> Response {
    request.extensions_mut().insert(caller);
    next.run(request.map(|_| body)).await
}

const fn most_bytes(peer: &Peer) -> usize {
    match peer {
        Peer::Unix { .. } => MOST_BYTES_OF_SOCKET,
        Peer::Tcp { .. } => MOST_BYTES,
    }
}

async fn bounded(body: Body, most_bytes: usize) -> Result<Bytes, Failure> {
    let late =
        |_| Failure::new(StatusCode::REQUEST_TIMEOUT, format!("the body took longer than {PATIENCE:?}"));
    let read = timeout(PATIENCE, to_bytes(body, most_bytes)).await.map_err(late)?;
    read.map_err(|_| {
        let error = format!("the body broke off, or is larger than {most_bytes} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    })
}
