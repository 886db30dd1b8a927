//! The TCP-connect probe: a backend passes when it completes the handshake.
//!
//! The connection is closed with a reset. Nothing was sent or read, so nothing can be lost by it, and neither side is
//! left with a socket in TIME-WAIT: at one probe a second that would be sixty per backend and balancer.

use std::{io, net::SocketAddr};

use rustix::io::Errno;
use tokio::net::TcpStream;

use super::{Outcome, Prober};

/// Connects and hangs up.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpProber;

impl Prober for TcpProber {
    async fn probe(&self, address: SocketAddr) -> Outcome {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it the close is an ordinary one, which does no harm.
                let _ = stream.set_zero_linger();
                Outcome::Passed
            }
            Err(error) => outcome(&error),
        }
    }
}

/// Tells what the backend did from what this host could not do.
fn outcome(error: &io::Error) -> Outcome {
    let text = match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "connection refused",
        Some(Errno::CONNRESET) => "connection reset",
        Some(Errno::TIMEDOUT) => "timed out",
        Some(Errno::HOSTUNREACH) => "no route to host",
        Some(Errno::NETUNREACH) => "network unreachable",
        Some(Errno::ACCESS) => "administratively prohibited",
        _ => return Outcome::Inconclusive(format!("cannot probe: {error}")),
    };
    Outcome::Failed(text.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn listening_port_passes_and_sees_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (outcome, accepted) = tokio::join!(TcpProber.probe(address), listener.accept());
        assert_eq!(outcome, Outcome::Passed);
        let error = accepted.unwrap().0.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn closed_port_is_refused() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(TcpProber.probe(address).await, Outcome::Failed("connection refused".to_owned()));
    }

    #[test]
    fn lack_of_descriptors_is_not_the_backends_fault() {
        let error = io::Error::from(Errno::MFILE);
        assert!(matches!(outcome(&error), Outcome::Inconclusive(_)));
        let error = io::Error::from(Errno::HOSTUNREACH);
        assert_eq!(outcome(&error), Outcome::Failed("no route to host".to_owned()));
    }
}
