//! Addresses: what can be a VIP or a backend, and what a tunnel can be sent from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::section::Entry;

impl Entry<'_> {
    /// A unicast address that packets can be routed to.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let text = self.string("an IPv4 or IPv6 address")?;
        let Ok(address) = text.parse::<IpAddr>() else {
            return self.refuse(format!("{} is not an IP address", self.excerpt()), address_meant(text));
        };
        match unusable(address) {
            None => Some(address),
            Some(kind) => self.refuse(format!("{address} is {kind}"), expected_instead_of(address)),
        }
    }

    /// A prefix that outer source addresses are taken from; a bare address is a prefix of its full length.
    pub(super) fn source_prefix(&self) -> Option<IpNet> {
        let text = self.string("a prefix")?;
        let Some(prefix) = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) else {
            return self.refuse(
                format!("{} is not a prefix", self.excerpt()),
                "expected an address and a length, such as \"192.0.2.0/24\" or \"2001:db8:ff::/64\"",
            );
        };
        if prefix != prefix.trunc() {
            return self.refuse(
                format!("{} has bits beyond its length", self.excerpt()),
                format!("expected \"{}\", or \"{}\" for that address alone", prefix.trunc(), prefix.addr()),
            );
        }
        self.usable_prefix(prefix)
    }

    fn usable_prefix(&self, prefix: IpNet) -> Option<IpNet> {
        // No single network is larger (IANA's largest unicast allocations), and the address bits checked below are
        // those that all addresses of the prefix share.
        let shortest = if prefix.addr().is_ipv4() { 8 } else { 16 };
        if prefix.prefix_len() < shortest {
            return self.refuse(
                format!("{prefix} is too wide to be anybody's"),
                format!("expected a length of at least {shortest}"),
            );
        }
        match unusable(prefix.network()).or_else(|| unusable(prefix.broadcast())) {
            Some(kind) => self.refuse(
                format!("{prefix} holds {kind}"),
                "expected unicast addresses that are routed to this balancer",
            ),
            None => Some(prefix),
        }
    }
}

/// Why nothing can be sent to `address`, or from it, across a network.
fn unusable(address: IpAddr) -> Option<&'static str> {
    let generic = [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
    ];
    let found = generic.iter().find(|(applies, _)| *applies).map(|(_, kind)| *kind);
    found.or_else(|| match address {
        IpAddr::V4(v4) => unusable_v4(v4),
        IpAddr::V6(v6) => unusable_v6(v6),
    })
}

fn unusable_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [255, 255, 255, 255] => Some("the broadcast address"),
        [169, 254, ..] => Some("a link-local address"),
        // RFC 6890, table 1 and table 15.
        [0, ..] => Some("an address of \"this network\", 0.0.0.0/8"),
        [240..=255, ..] => Some("an address of the reserved range 240.0.0.0/4"),
        _ => None,
    }
}

fn unusable_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.to_ipv4_mapped().is_some() {
        Some("an IPv4-mapped IPv6 address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address")
    } else {
        None
    }
}

fn expected_instead_of(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            format!("expected plain IPv4: \"{}\"", address.to_canonical())
        }
        _ => "expected a unicast address that can be routed to".to_owned(),
    }
}

/// What was probably meant by `text`, which does not parse.
fn address_meant(text: &str) -> String {
    if let Ok(prefix) = text.parse::<IpNet>() {
        return format!("expected an address without a length: \"{}\"", prefix.addr());
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return format!("expected an address alone: \"{}\"", socket.ip());
    }
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return format!("expected \"{address}\"");
    }
    if bare.contains('%') {
        return "expected an address without a zone".to_owned();
    }
    if bare.contains(|c: char| c.is_ascii_alphabetic()) && !bare.contains(':') {
        return "expected an address: names are not resolved".to_owned();
    }
    "expected an IPv4 or IPv6 address, such as \"203.0.113.10\" or \"2001:db8::10\"".to_owned()
}
