//! The `http` and `https` probes: a backend passes when its answer has the status and the body that are asked for.

use std::{fmt::Write as _, ops::RangeInclusive};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, body::Incoming};

use super::{
    super::{Job, Outcome},
    client::{Client, broken, request},
    holds,
    trust::Trusts,
};
use crate::config::HttpCheck;

/// How much of a body is looked at: an answer to a probe is short, and one that is not is not read to its end.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Sends the request and judges the answer.
pub(super) async fn check(job: &Job, check: &HttpCheck, trusts: &Trusts) -> Result<(), Outcome> {
    let request = asked(job, check)?;
    let mut client = Client::open(job, check.version, check.tls.as_ref(), trusts).await?;
    let answer = client.send(request).await?;
    let status = answer.status().as_u16();
    if !check.status.iter().any(|range| range.contains(&status)) {
        let message = format!("status {status}, expected {}", statuses(&check.status));
        return Err(Outcome::Failed(message));
    }
    match &check.body {
        Some(text) => judge_body(job, answer.into_body(), text).await,
        None => Ok(()),
    }
}

fn asked(job: &Job, check: &HttpCheck) -> Result<Request<Full<Bytes>>, Outcome> {
    let host = check.host.clone().unwrap_or_else(|| job.destination().to_string());
    let scheme = if check.tls.is_some() { "https" } else { "http" };
    let mut builder = request(check.version, scheme, &host, &check.path).method(check.method.clone());
    if let Some(headers) = builder.headers_mut() {
        headers.extend(check.headers.clone());
    }
    let request = builder.body(Full::default());
    request.map_err(|error| Outcome::Inconclusive(format!("cannot make the request: {error}")))
}

async fn judge_body(job: &Job, mut body: Incoming, text: &str) -> Result<(), Outcome> {
    job.stage.waits_for("the rest of the answer");
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        seen.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if holds(&seen, text.as_bytes()) {
            return Ok(());
        }
        if seen.len() > MAX_BODY_BYTES {
            break;
        }
    }
    Err(Outcome::Failed(format!("the body does not hold {text:?}")))
}

fn statuses(ranges: &[RangeInclusive<u16>]) -> String {
    let mut said = String::new();
    for range in ranges {
        let comma = if said.is_empty() { "" } else { ", " };
        // Writing into a string does not fail.
        let _ = match (range.start(), range.end()) {
            (from, to) if from == to => write!(said, "{comma}{from}"),
            (from, to) => write!(said, "{comma}{from}-{to}"),
        };
    }
    said
}
