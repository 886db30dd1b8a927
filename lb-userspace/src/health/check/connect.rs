//! Connections, and the words for what keeps one from being made.
//!
//! They are closed with a reset. What was asked for has been read by then, so nothing is lost by it, and neither side is
//! left with a socket in TIME-WAIT: at one probe a second that would be sixty per backend and balancer.

use std::{io, net::SocketAddr};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::super::{Job, Outcome, way::Path};

/// Connects to the backend.
pub(super) async fn connect(job: &Job) -> Result<TcpStream, Outcome> {
    let connected = match job.path() {
        None => {
            job.stage.waits_for("the connection");
            TcpStream::connect(job.address).await
        }
        Some(path) => {
            job.stage.waits_for("the connection by the path of traffic");
            connect_by(path, job.destination()).await
        }
    };
    let stream = connected.map_err(|error| fault(&error))?;
    // Without it the close is an ordinary one, which does no harm.
    let _ = stream.set_zero_linger();
    Ok(stream)
}

async fn connect_by(path: Path, destination: SocketAddr) -> io::Result<TcpStream> {
    let socket = if destination.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    SockRef::from(&socket).set_mark(path.mark)?;
    socket.bind((path.source, 0).into())?;
    socket.connect(destination).await
}

/// Tells what the backend did from what this host could not do.
pub(super) fn fault(error: &io::Error) -> Outcome {
    let text = match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "connection refused",
        Some(Errno::CONNRESET | Errno::PIPE) => "connection reset",
        Some(Errno::TIMEDOUT) => "timed out",
        Some(Errno::HOSTUNREACH) => "no route to host",
        Some(Errno::NETUNREACH) => "network unreachable",
        Some(Errno::ACCESS) => "administratively prohibited",
        None if error.kind() == io::ErrorKind::UnexpectedEof => "connection closed",
        _ => return Outcome::Inconclusive(format!("cannot probe: {error}")),
    };
    Outcome::Failed(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_descriptors_is_not_the_backends_fault() {
        let error = io::Error::from(Errno::MFILE);
        assert!(matches!(fault(&error), Outcome::Inconclusive(_)));
        let error = io::Error::from(Errno::HOSTUNREACH);
        assert_eq!(fault(&error), Outcome::Failed("no route to host".to_owned()));
    }
}
