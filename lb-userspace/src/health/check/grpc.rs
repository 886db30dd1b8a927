//! The `grpc` probe: a backend passes when its `grpc.health.v1.Health` says SERVING.
//!
//! The two messages of that protocol have one field each, so they are written and read here by hand
//! (<https://protobuf.dev/programming-guides/encoding/>, <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{CONTENT_TYPE, TE},
    http::uri::PathAndQuery,
};

use super::{
    super::{Job, Outcome},
    client::{Client, request},
    shown,
    trust::Trusts,
};
use crate::config::{GrpcCheck, HttpVersion};

/// An answer has seven bytes.
const MAX_ANSWER_BYTES: usize = 4096;

/// Asks and judges the answer.
pub(super) async fn check(job: &Job, check: &GrpcCheck, trusts: &Trusts) -> Result<(), Outcome> {
    let request = asked(job, check)?;
    let mut client = Client::open(job, HttpVersion::Two, check.tls.as_ref(), trusts).await?;
    let answer = client.send(request).await?;
    if answer.status() != 200 {
        return Err(Outcome::Failed(format!("status {}, expected 200", answer.status().as_u16())));
    }
    // Where there is no message, the status is among the headers.
    judge_status(answer.headers())?;
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| Outcome::Failed(format!("no answer: {error}")))?;
    judge_status(body.trailers().unwrap_or(&HeaderMap::new()))?;
    judge_message(&body.to_bytes())
}

fn asked(job: &Job, check: &GrpcCheck) -> Result<Request<Full<Bytes>>, Outcome> {
    const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let scheme = if check.tls.is_some() { "https" } else { "http" };
    let host = job.destination().to_string();
    request(HttpVersion::Two, scheme, &host, &PATH)
        .method(Method::POST)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::from(framed(&question(&check.service))))
        .map_err(|error| Outcome::Inconclusive(format!("cannot make the request: {error}")))
}

/// `HealthCheckRequest { string service = 1; }`
fn question(service: &str) -> Vec<u8> {
    if service.is_empty() {
        return Vec::new();
    }
    let mut message = vec![1 << 3 | 2];
    let mut length = service.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(service.as_bytes());
    message
}

/// A message as gRPC sends it: not compressed, its length, itself.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = message.len() as u32;
    [&[0][..], &length.to_be_bytes(), message].concat()
}

fn judge_status(headers: &HeaderMap) -> Result<(), Outcome> {
    let Some(status) = headers.get("grpc-status") else {
        return Ok(());
    };
    let name = match status.as_bytes() {
        b"0" => return Ok(()),
        b"5" => "NOT_FOUND, it does not know that service".to_owned(),
        b"12" => "UNIMPLEMENTED, it has no health service".to_owned(),
        other => shown(other),
    };
    let message = headers.get("grpc-message").map(|message| format!(": {}", shown(message.as_bytes())));
    Err(Outcome::Failed(format!("grpc-status {name}{}", message.unwrap_or_default())))
}

fn judge_message(body: &[u8]) -> Result<(), Outcome> {
    let said = match status_of(body) {
        Some(1) => return Ok(()),
        Some(0) => "UNKNOWN",
        Some(2) => "NOT_SERVING",
        Some(3) => "SERVICE_UNKNOWN",
        _ => return Err(Outcome::Failed("the answer is no HealthCheckResponse".to_owned())),
    };
    Err(Outcome::Failed(format!("health is {said}, expected SERVING")))
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, an enumeration whose 0 is left out.
fn status_of(body: &[u8]) -> Option<u8> {
    let (header, message) = body.split_first_chunk::<5>()?;
    let [0, length @ ..] = *header else { return None };
    match *message {
        _ if u32::from_be_bytes(length) as usize != message.len() => None,
        [] => Some(0),
        [0x08, status @ 0..=0x7f] => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::failed, *};

    #[test]
    fn question_names_the_service() {
        assert_eq!(framed(&question("")), [0, 0, 0, 0, 0]);
        assert_eq!(framed(&question("a.B")), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = question(&"x".repeat(300));
        assert_eq!((long.len(), &long[..3]), (303, &[0x0a, 0xac, 0x02][..]));
    }

    #[test]
    fn answer_is_judged_by_its_word() {
        assert_eq!(judge_message(&framed(&[8, 1])), Ok(()));
        assert_eq!(judge_message(&framed(&[8, 2])), Err(failed("health is NOT_SERVING, expected SERVING")));
        assert_eq!(judge_message(&framed(&[])), Err(failed("health is UNKNOWN, expected SERVING")));
        for broken in [&[][..], &[0, 0, 0, 0, 9, 8, 1], &[1, 0, 0, 0, 2, 8, 1], &framed(&[16, 1])] {
            assert_eq!(
                judge_message(broken),
                Err(failed("the answer is no HealthCheckResponse")),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn status_of_the_call_comes_first() {
        let headers = |status: &'static str| {
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
        };
        assert_eq!(judge_status(&headers("0")), Ok(()));
        assert_eq!(judge_status(&HeaderMap::new()), Ok(()));
        let said = "grpc-status NOT_FOUND, it does not know that service";
        assert_eq!(judge_status(&headers("5")), Err(failed(said)));
        assert_eq!(judge_status(&headers("14")), Err(failed("grpc-status 14")));
    }
}
