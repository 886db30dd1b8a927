//! Connections that a client holds open over a change, each with a request that is not whole yet.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// How long an answer may take, retransmissions included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections to a web service.
#[derive(Debug)]
pub struct Held(Vec<TcpStream>);

/// What became of them when their requests were finished.
#[derive(Debug, Default)]
pub struct Ends {
    /// How many each backend has answered.
    pub answers: BTreeMap<String, usize>,
    /// How many were reset.
    pub resets: usize,
}

impl Held {
    /// Opens `count` of them, and sends the first half of a request on each.
    ///
    /// # Errors
    ///
    /// One cannot be opened.
    pub fn open(client: &Netns, target: SocketAddr, count: usize) -> Result<Self> {
        let open = || {
            let mut connection = TcpStream::connect_timeout(&target, PATIENCE)?;
            connection.write_all(b"GET / HTTP/1.0\r\n").map(|()| connection)
        };
        let opened = client.run(|| (0..count).map(|_| open()).collect::<std::io::Result<_>>());
        opened.flatten().map(Self).with_context(|| format!("cannot connect to {target}"))
    }

    /// Sends a little more on each.
    ///
    /// # Errors
    ///
    /// One is gone.
    pub fn go_on(&mut self) -> Result<()> {
        let Self(connections) = self;
        let told = connections.iter_mut().try_for_each(|one| one.write_all(b"Accept: text/plain\r\n"));
        told.context("a connection that was held open is gone")
    }

    /// Finishes all requests.
    ///
    /// # Errors
    ///
    /// One has ended by neither an answer nor a reset.
    pub fn finish(self) -> Result<Ends> {
        let mut ends = Ends::default();
        for connection in self.0 {
            match finish(connection)? {
                Some(backend) => *ends.answers.entry(backend).or_default() += 1,
                None => ends.resets += 1,
            }
        }
        Ok(ends)
    }
}

impl Ends {
    /// How many `backend` has answered.
    #[must_use]
    pub fn of(&self, backend: &str) -> usize {
        self.answers.get(backend).copied().unwrap_or(0)
    }

    /// How many were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }
}

/// The backend that answers; none where the connection is reset.
fn finish(mut connection: TcpStream) -> Result<Option<String>> {
    let mut answer = String::new();
    connection.set_read_timeout(Some(PATIENCE))?;
    let answered = connection.write_all(b"\r\n").and_then(|()| connection.read_to_string(&mut answer));
    match answered {
        Ok(_) => {
            let id = answer.lines().last().and_then(|line| line.strip_prefix("My id is "));
            id.map(|id| Some(id.to_owned())).with_context(|| format!("unexpected answer {answer:?}"))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error).with_context(|| format!("no more than {answer:?} was answered")),
    }
}
