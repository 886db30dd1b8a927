//! The other end of the admin API: what the command line asks of a running daemon.

use anyhow::{Context as _, Result, anyhow};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::handshake,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::task;

use super::{endpoint::Endpoint, refused::Refused};

/// Asks the daemon at `to` for `path`.
///
/// # Errors
///
/// Where no daemon answers, with what to check; or what it answers instead.
pub async fn get<T: DeserializeOwned>(to: &Endpoint, path: &str) -> Result<T> {
    ask(to, Method::GET, path, Bytes::new()).await
}

/// Sends `body` to `path` of the daemon at `to`.
///
/// # Errors
///
/// As for [`get`].
pub async fn post<B: Serialize, T: DeserializeOwned>(to: &Endpoint, path: &str, body: &B) -> Result<T> {
    let body = serde_json::to_vec(body).context("cannot write the request")?;
    ask(to, Method::POST, path, body.into()).await
}

/// Changes what `body` has of what is at `path` of the daemon at `to`.
///
/// # Errors
///
/// As for [`get`].
pub async fn patch<B: Serialize, T: DeserializeOwned>(to: &Endpoint, path: &str, body: &B) -> Result<T> {
    let body = serde_json::to_vec(body).context("cannot write the request")?;
    ask(to, Method::PATCH, path, body.into()).await
}

/// Sends `text` as it is to `path` of the daemon at `to`.
///
/// # Errors
///
/// As for [`get`].
pub async fn post_text<T: DeserializeOwned>(to: &Endpoint, path: &str, text: String) -> Result<T> {
    ask(to, Method::POST, path, text.into()).await
}

/// Sends `body` to `path` of the daemon at `to`, and gives each piece of an answer that goes on to `take`,
/// until that gives `false` or the answer ends.
///
/// # Errors
///
/// As for [`get`]; what `take` gives.
pub async fn stream<B: Serialize>(
    to: &Endpoint,
    path: &str,
    body: &B,
    mut take: impl FnMut(&[u8]) -> Result<bool>,
) -> Result<()> {
    let body = serde_json::to_vec(body).context("cannot write the request")?;
    let mut response = send(to, Method::POST, path, body.into()).await?;
    if response.status() != StatusCode::OK {
        let status = response.status();
        let body = response.into_body().collect().await.context("the daemon's answer broke off")?.to_bytes();
        return Err(refusal(status, &body));
    }
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.context("the daemon's answer broke off")?;
        if let Some(bytes) = frame.data_ref()
            && !take(bytes)?
        {
            break;
        }
    }
    Ok(())
}

async fn ask<T: DeserializeOwned>(to: &Endpoint, method: Method, path: &str, body: Bytes) -> Result<T> {
    let response = send(to, method, path, body).await?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the daemon's answer broke off")?.to_bytes();
    if status != StatusCode::OK {
        return Err(refusal(status, &body));
    }
    serde_json::from_slice(&body)
        .context("the daemon's answer is of another version; restart it, or use its own sluice")
}

async fn send(to: &Endpoint, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
    let stream = to.connect().await?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.context("cannot speak HTTP to the daemon")?;
    task::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, to.host());
    if let Some(token) = to.token()? {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(body))?;
    sender.send_request(request).await.context("the daemon did not answer")
}

fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { error, remedy: Some(remedy), .. }) => anyhow!("{error}; {remedy}"),
        Ok(refused) => anyhow!("{}", refused.error),
        Err(_) => anyhow!("the daemon answered {status}: {}", String::from_utf8_lossy(body)),
    }
}
