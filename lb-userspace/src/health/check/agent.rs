//! The `agent` probe: reads the one line in which a backend says how it is.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    super::{Job, Outcome, agent::Remark},
    connect::{connect, fault},
};

/// The longest line.
const MAX_BYTES: usize = 1024;

/// Connects, sends what there is to send, and reads a line.
pub(super) async fn check(job: &Job, send: &[u8]) -> Result<Outcome, Outcome> {
    let mut stream = connect(job).await?;
    stream.write_all(send).await.map_err(|error| fault(&error))?;
    job.stage.waits_for("the agent's line");
    let mut line = Vec::new();
    let mut chunk = [0; MAX_BYTES];
    while !line.contains(&b'\n') && line.len() < MAX_BYTES {
        let length = stream.read(&mut chunk).await.map_err(|error| fault(&error))?;
        if length == 0 {
            break;
        }
        line.extend_from_slice(&chunk[..length]);
    }
    let text = String::from_utf8_lossy(&line);
    let first = text.split(['\r', '\n']).next().unwrap_or_default();
    Remark::parse(first).map(Outcome::Said).map_err(Outcome::Failed)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::{
        super::tests::{failed, probe},
        *,
    };
    use crate::config::Check;

    async fn probed(answer: &'static [u8]) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let mut stream = listener.accept().await.unwrap().0;
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"b1?\n");
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(probe(Check::Agent { send: b"b1?\n".to_vec() }, address), serve).0
    }

    #[tokio::test]
    async fn first_line_counts() {
        let remark = |line| Outcome::Said(Remark::parse(line).unwrap());
        assert_eq!(probed(b"up 75%\n").await, remark("up 75%"));
        assert_eq!(probed(b"drain\r\ndown\n").await, remark("drain"));
        assert_eq!(probed(b"ready").await, remark("ready"));
        assert_eq!(probed(b"").await, failed("the agent says nothing"));
    }
}
