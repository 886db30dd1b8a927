//! What a probe does, by its type.

use std::{ops::RangeInclusive, path::PathBuf};

use hyper::{HeaderMap, Method, http::uri::PathAndQuery};
use simple_dns::{RCODE, TYPE};

/// What a probe does with a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Opens a TCP connection.
    Tcp,
    /// Sends an HTTP request, over TLS or not.
    Http(Box<HttpCheck>),
    /// Makes a TLS handshake.
    Tls(TlsCheck),
    /// Asks `grpc.health.v1.Health`.
    Grpc(GrpcCheck),
    /// Sends a datagram and waits for one.
    Udp(UdpCheck),
    /// Asks a DNS server over UDP.
    Dns(DnsCheck),
    /// Sends an echo request.
    Icmp,
    /// Runs a program, given by its path and its arguments.
    Exec(Vec<String>),
    /// Reads what the backend says of itself, as HAProxy's agent-check does.
    Agent {
        /// What is sent first, so that an agent can tell who asks; nothing where it is empty.
        send: Vec<u8>,
    },
}

impl Check {
    /// Whether it hears of weight and state too.
    #[must_use]
    pub const fn is_agent(&self) -> bool {
        matches!(self, Self::Agent { .. })
    }

    /// Its type, as the file has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(check) if check.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Tls(_) => "tls",
            Self::Grpc(_) => "grpc",
            Self::Udp(_) => "udp",
            Self::Dns(_) => "dns",
            Self::Icmp => "icmp",
            Self::Exec(_) => "exec",
            Self::Agent { .. } => "agent",
        }
    }

    /// Whether it asks at a port.
    #[must_use]
    pub const fn has_port(&self) -> bool {
        !matches!(self, Self::Icmp | Self::Exec(_))
    }

    /// How many may be under way at once in one service, where the file does not say.
    #[must_use]
    pub const fn concurrency(&self) -> u32 {
        match self {
            // Each is a process on this host.
            Self::Exec(_) => 8,
            _ => u32::MAX,
        }
    }
}

/// A request, and what the answer has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: PathAndQuery,
    /// Its `Host`, or `:authority`; the address and port that are connected to where it is missing.
    pub host: Option<String>,
    /// Its other headers.
    pub headers: HeaderMap,
    /// Statuses that are as they should be.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the beginning of the body has to hold.
    pub body: Option<String>,
    /// What is spoken.
    pub version: HttpVersion,
    /// How the connection is protected; not at all where it is missing.
    pub tls: Option<TlsCheck>,
}

/// A version of HTTP. Over TLS it is asked for by ALPN, otherwise it is taken for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// Who a backend has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// Whose word is taken for it.
    pub trust: Trust,
    /// Its name, in SNI and in its certificate; its address where it is missing.
    pub server_name: Option<String>,
}

/// Who is trusted to sign certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Whom this host trusts.
    System,
    /// The authorities in a PEM file.
    File(PathBuf),
    /// Everybody: certificates are not looked at.
    Anybody,
}

/// A question to a gRPC health server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service that it is asked of; the server as a whole where it is empty.
    pub service: String,
    /// How the connection is protected; not at all where it is missing.
    pub tls: Option<TlsCheck>,
}

/// A datagram, and what comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpCheck {
    /// Its payload.
    pub send: Vec<u8>,
    /// What an answer has to hold.
    pub expect: Vec<u8>,
}

/// A question to a DNS server, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    /// The name that is asked for.
    pub name: String,
    /// The type of its records.
    pub record: Record,
    /// The response code. Where it is `NoError`, there has to be a record too.
    pub rcode: Rcode,
}

/// A record type, with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record(pub TYPE, pub &'static str);

/// A response code, with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcode(pub RCODE, pub &'static str);
