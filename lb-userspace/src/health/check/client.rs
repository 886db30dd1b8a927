//! One HTTP request over a connection of its own, of either version, over TLS or not.

use std::error::Error as _;

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header::USER_AGENT,
    http::{HeaderValue, Uri, request::Builder, uri::PathAndQuery},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{
    super::{Job, Outcome},
    connect::{connect, fault},
    tls::secure,
    trust::Trusts,
};
use crate::{
    causes::with_causes,
    config::{HttpVersion, TlsCheck},
};

/// What backends call us in their logs.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION")));

/// Bytes, whatever carries them.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An HTTP connection.
pub(super) struct Client {
    sender: Sender,
    /// Moves bytes for as long as the client lives.
    _driver: JoinSet<()>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connects to the backend.
    pub(super) async fn open(
        job: &Job,
        version: HttpVersion,
        tls: Option<&TlsCheck>,
        trusts: &Trusts,
    ) -> Result<Self, Outcome> {
        let stream = connect(job).await?;
        let stream: Box<dyn Stream> = match tls {
            Some(tls) => Box::new(secure(stream, job, tls, (Some(alpn(version)), trusts)).await?),
            None => Box::new(stream),
        };
        job.stage.waits_for("the answer");
        Self::begin(stream, version).await.map_err(|error| broken(&error))
    }

    async fn begin(stream: Box<dyn Stream>, version: HttpVersion) -> hyper::Result<Self> {
        let (mut driver, io) = (JoinSet::new(), TokioIo::new(stream));
        let sender = match version {
            HttpVersion::One => {
                let (sender, connection) = http1::handshake(io).await?;
                driver.spawn(async { drop(connection.await) });
                Sender::One(sender)
            }
            HttpVersion::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                driver.spawn(async { drop(connection.await) });
                Sender::Two(sender)
            }
        };
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request, and gives the answer as soon as its headers are there.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Outcome> {
        let answer = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        };
        answer.map_err(|error| broken(&error))
    }
}

/// A request for `path`. HTTP/2 has the host in its URI, and HTTP/1.1 as a header.
pub(super) fn request(version: HttpVersion, scheme: &str, host: &str, path: &PathAndQuery) -> Builder {
    let request = Request::builder().header(USER_AGENT, AGENT);
    match version {
        HttpVersion::One => request.uri(Uri::from(path.clone())).header("host", host),
        HttpVersion::Two => request.uri(format!("{scheme}://{host}{path}")),
    }
}

const fn alpn(version: HttpVersion) -> &'static [u8] {
    match version {
        HttpVersion::One => b"http/1.1",
        HttpVersion::Two => b"h2",
    }
}

/// Why there is no answer, or not all of it.
pub(super) fn broken(error: &hyper::Error) -> Outcome {
    if let Some(io) = error.source().and_then(|source| source.downcast_ref::<std::io::Error>())
        && let Outcome::Failed(reason) = fault(io)
    {
        return Outcome::Failed(format!("{reason} before the answer"));
    }
    Outcome::Failed(if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "connection closed before the answer".to_owned()
    } else if error.is_parse() {
        "the answer is not HTTP".to_owned()
    } else {
        format!("no answer: {}", with_causes(error))
    })
}
