//! The other end of the admin API: what the command line asks a running daemon.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, task};

/// Asks the daemon that listens on `socket` for `path`.
///
/// # Errors
///
/// Where no daemon answers, with what to check.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!("no sluice answers on {}; is it running, and is this its balancer.socket?", socket.display())
    })?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.context("cannot speak HTTP to the daemon")?;
    task::spawn(connection);
    let request = Request::get(path).header("host", "sluice").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("the daemon did not answer")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the daemon's answer broke off")?.to_bytes();
    if status != StatusCode::OK {
        bail!("the daemon answered {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body)
        .context("the daemon's answer is of another version; restart it, or use its own sluice")
}
