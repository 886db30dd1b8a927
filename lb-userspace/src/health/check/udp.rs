//! The `udp` probe: a backend passes when something comes back, and it holds what is expected.
//!
//! UDP says nothing of its own, so silence is a failure, even of a service that has no answers: such a one is probed in
//! another way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::UdpSocket;

use super::{
    super::{Job, Outcome},
    connect::fault,
    holds, shown,
};
use crate::config::UdpCheck;

/// The longest datagram that is read.
const MAX_BYTES: usize = 4096;

/// Sends a datagram and judges the first one that comes back.
pub(super) async fn check(job: &Job, check: &UdpCheck) -> Result<(), Outcome> {
    let answer = exchange(job, &check.send).await?;
    if holds(&answer, &check.expect) {
        return Ok(());
    }
    let (found, expected) = (shown(&answer), shown(&check.expect));
    Err(Outcome::Failed(format!("the answer \"{found}\" does not hold \"{expected}\"")))
}

/// Sends a datagram, and gives the first one that comes back from there.
pub(super) async fn exchange(job: &Job, payload: &[u8]) -> Result<Vec<u8>, Outcome> {
    let socket = connected(job).await?;
    socket.send(payload).await.map_err(|error| fault(&error))?;
    receive(job, &socket).await
}

/// A socket that hears the backend alone, refusals of its kernel among them.
pub(super) async fn connected(job: &Job) -> Result<UdpSocket, Outcome> {
    let destination = job.destination();
    let source: IpAddr = match (job.path(), destination) {
        (Some(path), _) => path.source,
        (None, SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (None, SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((source, 0)).await.map_err(|error| fault(&error))?;
    if let Some(path) = job.path() {
        SockRef::from(&socket).set_mark(path.mark).map_err(|error| fault(&error))?;
    }
    socket.connect(destination).await.map_err(|error| fault(&error))?;
    Ok(socket)
}

/// The next datagram.
pub(super) async fn receive(job: &Job, socket: &UdpSocket) -> Result<Vec<u8>, Outcome> {
    job.stage.waits_for("the answer");
    let mut answer = vec![0; MAX_BYTES];
    let length = socket.recv(&mut answer).await.map_err(|error| fault(&error))?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{failed, probe},
        *,
    };
    use crate::config::Check;

    /// What a probe says of a server that answers everything with `answer`.
    async fn probed(expect: &str, answer: &'static [u8]) -> Outcome {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let check = Check::Udp(UdpCheck { send: b"ping".to_vec(), expect: expect.as_bytes().to_vec() });
        let serve = async {
            let mut question = [0; 16];
            let (length, client) = server.recv_from(&mut question).await.unwrap();
            assert_eq!(&question[..length], b"ping");
            server.send_to(answer, client).await.unwrap();
        };
        tokio::join!(probe(check, address), serve).0
    }

    #[tokio::test]
    async fn answer_is_looked_at() {
        assert_eq!(probed("", b"").await, Outcome::Passed);
        assert_eq!(probed("pong", b"a pong!").await, Outcome::Passed);
        let said = "the answer \"busy\\n\" does not hold \"pong\"";
        assert_eq!(probed("pong", b"busy\n").await, failed(said));
    }

    #[tokio::test]
    async fn closed_port_is_refused() {
        let address = UdpSocket::bind("[::1]:0").await.unwrap().local_addr().unwrap();
        let check = Check::Udp(UdpCheck { send: Vec::new(), expect: Vec::new() });
        assert_eq!(probe(check, address).await, failed("connection refused"));
    }
}
