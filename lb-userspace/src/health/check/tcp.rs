//! The `tcp` probe: a backend passes when it completes the handshake.

use super::{
    super::{Job, Outcome},
    connect::connect,
};

/// Connects and hangs up.
pub(super) async fn check(job: &Job) -> Result<(), Outcome> {
    connect(job).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::{
        super::tests::{failed, probe},
        *,
    };
    use crate::config::Check;

    #[tokio::test]
    async fn listening_port_passes_and_sees_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (outcome, accepted) = tokio::join!(probe(Check::Tcp, address), listener.accept());
        assert_eq!(outcome, Outcome::Passed);
        let error = accepted.unwrap().0.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn closed_port_is_refused() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(probe(Check::Tcp, address).await, failed("connection refused"));
    }
}
