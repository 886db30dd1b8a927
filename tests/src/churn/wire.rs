//! What clients and echo servers say to each other: frames of fixed length, all of numbers.
//!
//! A server's answer says which server it is and how many requests this very connection has brought it, so that a
//! connection that was handed from one server to another is seen even where both would have answered.

use std::{fmt, io};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The sequence number of a request to send answers without being asked, from 0, until the connection ends.
pub(super) const GO_ON: u64 = u64::MAX;

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Index of the backend.
    pub(super) backend: u64,
    /// How often its server had died when this one was started.
    pub(super) life: u64,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Number of the connection, which no other has in a run.
    pub(super) connection: u64,
    /// Number of the request within the connection, from 1, or [`GO_ON`].
    pub(super) sequence: u64,
}

/// What a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) from: Identity,
    /// What was asked; while a server goes on by itself, the sequence number counts its answers from 0.
    pub(super) to: Request,
    /// How many requests the server has read from this connection.
    pub(super) requests: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.backend + 1)
    }
}

impl Request {
    pub(super) async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Self> {
        let [connection, sequence] = words(stream).await?;
        Ok(Self { connection, sequence })
    }

    pub(super) async fn write(self, stream: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
        stream.write_all(&bytes([self.connection, self.sequence])).await
    }
}

impl Answer {
    pub(super) async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Self> {
        let [backend, life, connection, sequence, requests] = words(stream).await?;
        Ok(Self { from: Identity { backend, life }, to: Request { connection, sequence }, requests })
    }

    pub(super) async fn write(self, stream: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
        let Self { from, to, requests } = self;
        let words = [from.backend, from.life, to.connection, to.sequence, requests];
        stream.write_all(&bytes(words)).await
    }
}

async fn words<const N: usize>(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<[u64; N]> {
    let mut bytes = [[0; 8]; N];
    stream.read_exact(bytes.as_flattened_mut()).await?;
    Ok(bytes.map(u64::from_be_bytes))
}

/// In one piece, so that a frame is one segment.
fn bytes<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
