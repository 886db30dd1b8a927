//! The types of probes, and which keys belong to which.

use super::super::Protocol;

/// The type of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Http,
    Https,
    Tls,
    Grpc,
    Udp,
    Dns,
    Icmp,
    Exec,
    Agent,
    None,
}

pub(super) const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("tls", Kind::Tls),
    ("grpc", Kind::Grpc),
    ("udp", Kind::Udp),
    ("dns", Kind::Dns),
    ("icmp", Kind::Icmp),
    ("exec", Kind::Exec),
    ("agent", Kind::Agent),
    ("none", Kind::None),
];

const HTTP: &[Kind] = &[Kind::Http, Kind::Https];
const TLS: &[Kind] = &[Kind::Https, Kind::Tls, Kind::Grpc];

/// The keys that belong to some types alone.
pub(super) const OWNERS: &[(&str, &[Kind])] = &[
    ("method", HTTP),
    ("path", HTTP),
    ("host", HTTP),
    ("headers", HTTP),
    ("status", HTTP),
    ("body", HTTP),
    ("http_version", HTTP),
    ("verify", TLS),
    ("ca", TLS),
    ("server_name", TLS),
    ("tls", &[Kind::Grpc]),
    ("grpc_service", &[Kind::Grpc]),
    ("send", &[Kind::Udp, Kind::Agent]),
    ("expect", &[Kind::Udp]),
    ("query", &[Kind::Dns]),
    ("record", &[Kind::Dns]),
    ("rcode", &[Kind::Dns]),
    ("command", &[Kind::Exec]),
];

impl Kind {
    /// As it is written in the file.
    pub(super) fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("none", |(name, _)| name)
    }

    /// Whether it can take the way of clients' packets: it sends to a port of the service's own protocols, from a socket
    /// of the daemon's.
    pub(super) const fn goes_by_path(self) -> bool {
        !matches!(self, Self::Icmp | Self::Exec | Self::Agent | Self::None)
    }

    /// What carries it, if it has a port.
    pub(super) const fn transport(self) -> Option<Protocol> {
        match self {
            Self::Udp | Self::Dns => Some(Protocol::Udp),
            Self::Icmp | Self::Exec | Self::None => None,
            _ => Some(Protocol::Tcp),
        }
    }
}
