//! Connections, and the words for what keeps one from being made.
//!
//! They are closed with a reset. What was asked for has been read by then, so nothing is lost by it, and neither side is
//! left with a socket in TIME-WAIT: at one probe a second that would be sixty per backend and balancer.

use std::io;

use rustix::io::Errno;
use tokio::net::TcpStream;

use super::super::{Job, Outcome};

/// Connects to the backend.
pub(super) async fn connect(job: &Job) -> Result<TcpStream, Outcome> {
    job.stage.waits_for("the connection");
    let stream = TcpStream::connect(job.address).await.map_err(|error| fault(&error))?;
    // Without it the close is an ordinary one, which does no harm.
    let _ = stream.set_zero_linger();
    Ok(stream)
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
