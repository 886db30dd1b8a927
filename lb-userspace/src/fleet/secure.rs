//! A TCP connection that only balancers with the same seed understand: Noise (revision 34), pattern `NNpsk0`.
//!
//! Both say first, in the clear, that they are balancers, and which version of the protocol they speak, so that a fleet
//! that is half upgraded is told so. The versions are part of the handshake's prologue, so nobody in between can change
//! them. Then `-> psk, e`, `<- e, ee`: whoever does not know the key is turned away after one hash and one failed
//! authentication, before any arithmetic on the curve.
//!
//! ```text
//!   0      2                        2 + length
//!   +------+--- ... ---+
//!   |length| ciphertext|    length in network byte order, at most 65535
//!   +------+--- ... ---+
//! ```

#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use lb_common::hash::Seed;
use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// The version of what is said, and how. It changes with every change of either.
pub(super) const VERSION: u16 = 1;

/// What both say first: that they are balancers, and the version.
const GREETING: [u8; 10] = {
    let [high, low] = VERSION.to_be_bytes();
    [b's', b'l', b'u', b'i', b'c', b'e', 0xfe, 0x1d, high, low]
};

/// Bytes of the greeting before the version.
const MAGIC: usize = 8;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Bytes of either message of the handshake: a public key and a tag.
const HANDSHAKE: usize = 32 + TAG;

/// Bytes that authenticate a message.
const TAG: usize = 16;

/// The most bytes that one message takes.
pub(super) const MAX_PAYLOAD: usize = u16::MAX as usize - TAG;

/// How long a handshake, and the writing of one message, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The key that balancers know each other by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of a fleet with this seed.
    #[must_use]
    pub fn of(seed: &Seed) -> Self {
        let mut key = [0; 32];
        for (n, word) in (0..).zip(key.chunks_exact_mut(8)) {
            word.copy_from_slice(&seed.sip(b"fleet pre-shared key", n).to_le_bytes());
        }
        Self(key)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// Why nothing is said or heard over a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecureError {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It has closed the connection before it was understood.
    #[error(
        "it closed the connection: does it have the same fleet.seed, and this host among its fleet.peers?"
    )]
    TurnedAway,
    /// It does not begin as a balancer does.
    #[error("it is no sluice")]
    Stranger,
    /// It is of another version.
    #[error(
        "it speaks version {0} of the fleet's protocol, and this sluice version {VERSION}: upgrade the older one"
    )]
    Version(u16),
    /// It does not know the key.
    #[error("it does not have the same fleet.seed")]
    Key,
    /// What it said was changed on the way, or is none of ours.
    #[error("what it says cannot be understood")]
    Garbled,
    /// It takes too long.
    #[error("it does not answer in time")]
    Slow,
    /// It has closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// This daemon ends.
    #[error("this balancer ends")]
    Over,
}

/// The half of a connection that is listened to.
pub(super) struct Reader {
    stream: OwnedReadHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    frame: Vec<u8>,
    payload: Vec<u8>,
}

/// The half of a connection that is spoken to.
pub(super) struct Writer {
    stream: OwnedWriteHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    frame: Vec<u8>,
}

/// Begins to speak to a balancer.
pub(super) async fn connect(stream: TcpStream, key: Key) -> Result<(Reader, Writer), SecureError> {
    in_time(connect_now(stream, key)).await
}

async fn connect_now(mut stream: TcpStream, key: Key) -> Result<(Reader, Writer), SecureError> {
    stream.write_all(&GREETING).await?;
    hear_greeting(&mut stream).await?;
    let mut noise = builder(&key).build_initiator().expect("nothing is missing");
    let mut message = [0; HANDSHAKE];
    noise.write_message(&[], &mut message).expect("the buffer is as long as the message");
    stream.write_all(&message).await?;
    stream.read_exact(&mut message).await.map_err(turned_away)?;
    noise.read_message(&message, &mut []).map_err(|_| SecureError::Key)?;
    Ok(halves(stream, noise))
}

/// Lets a balancer begin to speak.
pub(super) async fn accept(stream: TcpStream, key: Key) -> Result<(Reader, Writer), SecureError> {
    in_time(accept_now(stream, key)).await
}

async fn accept_now(mut stream: TcpStream, key: Key) -> Result<(Reader, Writer), SecureError> {
    // Said to whoever begins as a balancer does, of whatever version, so that it can tell its own operator.
    let heard = hear_greeting(&mut stream).await;
    if matches!(heard, Ok(()) | Err(SecureError::Version(_))) {
        stream.write_all(&GREETING).await?;
    }
    heard?;
    let mut noise = builder(&key).build_responder().expect("nothing is missing");
    let mut message = [0; HANDSHAKE];
    stream.read_exact(&mut message).await.map_err(turned_away)?;
    noise.read_message(&message, &mut []).map_err(|_| SecureError::Key)?;
    noise.write_message(&[], &mut message).expect("the buffer is as long as the message");
    stream.write_all(&message).await?;
    Ok(halves(stream, noise))
}

async fn in_time<T>(work: impl Future<Output = Result<T, SecureError>>) -> Result<T, SecureError> {
    timeout(PATIENCE, work).await.unwrap_or(Err(SecureError::Slow))
}

async fn hear_greeting(stream: &mut TcpStream) -> Result<(), SecureError> {
    let mut heard = [0; GREETING.len()];
    stream.read_exact(&mut heard).await.map_err(turned_away)?;
    if heard[..MAGIC] != GREETING[..MAGIC] {
        return Err(SecureError::Stranger);
    }
    match u16::from_be_bytes([heard[MAGIC], heard[MAGIC + 1]]) {
        VERSION => Ok(()),
        other => Err(SecureError::Version(other)),
    }
}

/// What an end before the handshake's end means.
fn turned_away(error: io::Error) -> SecureError {
    match closed(error) {
        SecureError::Closed => SecureError::TurnedAway,
        other => other,
    }
}

fn closed(error: io::Error) -> SecureError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => SecureError::Closed,
        _ => SecureError::Io(error),
    }
}

fn builder(key: &Key) -> Builder<'_> {
    let params = PATTERN.parse().expect("snow knows the pattern");
    let builder = Builder::new(params).prologue(&GREETING).expect("there is one prologue");
    builder.psk(0, &key.0).expect("there is one key")
}

fn halves(stream: TcpStream, noise: HandshakeState) -> (Reader, Writer) {
    let noise = noise.into_stateless_transport_mode().expect("the handshake has two messages");
    let noise = Arc::new(noise);
    let (read, write) = stream.into_split();
    (
        Reader { stream: read, noise: Arc::clone(&noise), nonce: 0, frame: Vec::new(), payload: Vec::new() },
        Writer { stream: write, noise, nonce: 0, frame: Vec::new() },
    )
}

impl Reader {
    /// Reads one message. Not to be given up half-way, unless the connection is given up with it.
    pub(super) async fn read(&mut self) -> Result<&[u8], SecureError> {
        let length = usize::from(self.stream.read_u16().await.map_err(closed)?);
        self.frame.resize(length, 0);
        self.stream.read_exact(&mut self.frame).await.map_err(closed)?;
        self.payload.resize(length.saturating_sub(TAG), 0);
        let read = self.noise.read_message(self.nonce, &self.frame, &mut self.payload);
        let length = read.map_err(|_| SecureError::Garbled)?;
        self.nonce += 1;
        Ok(&self.payload[..length])
    }

    /// Waits until the other side closes the connection, or says something where nothing is to be said.
    pub(super) async fn ended(&mut self) {
        let _ = self.stream.read_u8().await;
    }
}

impl Writer {
    /// Writes one message of at most [`MAX_PAYLOAD`] bytes. Not to be given up half-way either.
    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<(), SecureError> {
        self.frame.resize(2 + payload.len() + TAG, 0);
        let written = self.noise.write_message(self.nonce, payload, &mut self.frame[2..]);
        let length = written.map_err(|_| SecureError::Garbled)?;
        self.nonce += 1;
        self.frame[..2].copy_from_slice(&(length as u16).to_be_bytes());
        timeout(PATIENCE, self.stream.write_all(&self.frame)).await.map_err(|_| SecureError::Slow)??;
        Ok(())
    }
}
