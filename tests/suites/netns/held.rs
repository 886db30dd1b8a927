//! Connections that a client holds open over a change, each with a request that is not whole yet.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use lb_tests::{netns::Netns, topology::VIP4};

/// How long an answer may take, retransmissions included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections to the web service of [`VIP4`].
pub(crate) struct Held(Vec<TcpStream>);

/// What became of them when their requests were finished.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// How many each backend has answered.
    pub(crate) answers: BTreeMap<String, usize>,
    /// How many were reset.
    pub(crate) resets: usize,
}

impl Held {
    /// Opens `count` of them, and sends the first half of a request on each.
    pub(crate) fn open(client: &Netns, count: usize) -> Self {
        let open = || {
            let mut connection = TcpStream::connect((VIP4, 80)).unwrap();
            connection.write_all(b"GET / HTTP/1.0\r\n").unwrap();
            connection
        };
        Self(client.run(|| (0..count).map(|_| open()).collect()).unwrap())
    }

    /// Sends a little more on each.
    pub(crate) fn go_on(&mut self) {
        for connection in &mut self.0 {
            connection.write_all(b"Accept: text/plain\r\n").unwrap();
        }
    }

    /// Finishes all requests.
    pub(crate) fn finish(self) -> Ends {
        let mut ends = Ends::default();
        for connection in self.0 {
            match finish(connection) {
                Some(backend) => *ends.answers.entry(backend).or_default() += 1,
                None => ends.resets += 1,
            }
        }
        ends
    }
}

impl Ends {
    pub(crate) fn of(&self, backend: &str) -> usize {
        self.answers.get(backend).copied().unwrap_or(0)
    }

    pub(crate) fn answered(&self) -> usize {
        self.answers.values().sum()
    }
}

/// The backend that answers; none where the connection is reset.
fn finish(mut connection: TcpStream) -> Option<String> {
    let mut answer = String::new();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let answered = connection.write_all(b"\r\n").and_then(|()| connection.read_to_string(&mut answer));
    match answered {
        Ok(_) => Some(answer.lines().last().unwrap().strip_prefix("My id is ").unwrap().to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}, after {answer:?}"),
    }
}
