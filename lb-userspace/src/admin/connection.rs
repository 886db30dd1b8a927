//! One connection of a client, on the socket or over TCP.

use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    pin,
    sync::watch,
};
use tracing::debug;

use super::caller::Peer;

/// How long a request's head may take to arrive, and how long a connection may stay without one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers the requests of `peer` until one side has enough, or `ends` changes: then the one under way is the last.
pub(super) async fn serve<IO>(stream: IO, peer: Peer, router: Router, mut ends: watch::Receiver<()>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = ends.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!("a connection of the admin API broke off: {error}");
    }
}
