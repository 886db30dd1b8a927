//! The other end of the admin API: what the command line asks of a running daemon.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::handshake,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task};

use super::refused::Refused;

/// Asks the daemon that listens on `socket` for `path`.
///
/// # Errors
///
/// Where no daemon answers, with what to check; or what it answers instead.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    ask(socket, Method::GET, path, Bytes::new()).await
}

/// Sends `body` to `path` of the daemon that listens on `socket`.
///
/// # Errors
///
/// As for [`get`].
pub async fn post<B: Serialize, T: DeserializeOwned>(socket: &Path, path: &str, body: &B) -> Result<T> {
    let body = serde_json::to_vec(body).context("cannot write the request")?;
    ask(socket, Method::POST, path, body.into()).await
}

/// Changes what `body` has of what is at `path` of the daemon that listens on `socket`.
///
/// # Errors
///
/// As for [`get`].
pub async fn patch<B: Serialize, T: DeserializeOwned>(socket: &Path, path: &str, body: &B) -> Result<T> {
    let body = serde_json::to_vec(body).context("cannot write the request")?;
    ask(socket, Method::PATCH, path, body.into()).await
}

/// Sends `text` as it is to `path` of the daemon that listens on `socket`.
///
/// # Errors
///
/// As for [`get`].
pub async fn post_text<T: DeserializeOwned>(socket: &Path, path: &str, text: String) -> Result<T> {
    ask(socket, Method::POST, path, text.into()).await
}

/// Sends `body` to `path` of the daemon that listens on `socket`, and gives each piece of an answer that goes on to `take`,
/// until that gives `false` or the answer ends.
///
/// # Errors
///
/// As for [`get`]; what `take` gives.
pub async fn stream<B: Serialize>(
    socket: &Path,
    path: &str,
    body: &B,
    mut take: impl FnMut(&[u8]) -> Result<bool>,
) -> Result<()> {
    let body = serde_json::to_vec(body).context("cannot write the request")?;
    let mut response = send(socket, Method::POST, path, body.into()).await?;
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

async fn ask<T: DeserializeOwned>(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<T> {
    let response = send(socket, method, path, body).await?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the daemon's answer broke off")?.to_bytes();
    if status != StatusCode::OK {
        return Err(refusal(status, &body));
    }
    serde_json::from_slice(&body)
        .context("the daemon's answer is of another version; restart it, or use its own sluice")
}

async fn send(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!("no sluice answers on {}; is it running, and is this its balancer.socket?", socket.display())
    })?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.context("cannot speak HTTP to the daemon")?;
    task::spawn(connection);
    let request =
        Request::builder().method(method).uri(path).header("host", "sluice").body(Full::new(body))?;
    sender.send_request(request).await.context("the daemon did not answer")
}

fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { error, remedy: Some(remedy), .. }) => anyhow!("{error}; {remedy}"),
        Ok(refused) => anyhow!("{}", refused.error),
        Err(_) => anyhow!("the daemon answered {status}: {}", String::from_utf8_lossy(body)),
    }
}
