//! The `tls` probe, and TLS below other probes: a backend passes when it completes the handshake as whom it has to be.

mod words;

use rustls::{Error, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    super::{Job, Outcome},
    connect::{connect, fault},
    trust::{Alpn, Trusts},
};
use crate::config::TlsCheck;

/// Makes a handshake and hangs up.
pub(super) async fn check(job: &Job, check: &TlsCheck, trusts: &Trusts) -> Result<(), Outcome> {
    let stream = connect(job).await?;
    secure(stream, job, check, (None, trusts)).await.map(drop)
}

/// Makes a handshake, in which `alpn` is agreed on.
pub(super) async fn secure(
    stream: TcpStream,
    job: &Job,
    check: &TlsCheck,
    (alpn, trusts): (Alpn, &Trusts),
) -> Result<TlsStream<TcpStream>, Outcome> {
    let config = trusts.config(&check.trust, alpn).map_err(Outcome::Inconclusive)?;
    let name = server_name(check, job)?;
    job.stage.waits_for("the TLS handshake");
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let stream =
        connected.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(refusal) => Outcome::Failed(words::of(refusal)),
            None => fault(&error),
        })?;
    // RFC 7301 leaves a server the choice to ignore what is offered.
    match (alpn, stream.get_ref().1.alpn_protocol()) {
        (Some(b"h2"), agreed) if agreed != alpn => {
            Err(Outcome::Failed("the server does not speak HTTP/2".to_owned()))
        }
        _ => Ok(stream),
    }
}

/// The address that is connected to, where it has no name.
fn server_name(check: &TlsCheck, job: &Job) -> Result<ServerName<'static>, Outcome> {
    let Some(name) = &check.server_name else {
        return Ok(job.destination().ip().into());
    };
    let name = ServerName::try_from(name.clone());
    name.map_err(|error| Outcome::Inconclusive(format!("cannot ask for a server: {error}")))
}
