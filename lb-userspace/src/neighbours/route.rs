//! Routes: what the kernel would do with a packet for one address.
//!
//! The answer to `RTM_GETROUTE` describes the packet's way, not an entry of the routing table: rules, metrics and
//! multipath are already decided.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::ErrorMessage,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};
use rustix::io::Errno;

use super::Unreachable;

/// The way of a packet, up to the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) ifindex: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: IpAddr,
    /// The route's own MTU; 0: it has none.
    pub(super) mtu: u32,
}

/// Asks which way a packet for `destination` would take.
pub(super) fn request(destination: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, prefix_length) = match destination {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = prefix_length;
    message.attributes.push(RouteAttribute::Destination(destination.into()));
    message
}

/// Reads the answer to [`request`].
pub(super) fn parse(message: &RouteMessage) -> Result<Route, Unreachable> {
    check_kind(message.header.kind)?;
    let mut route = Route { ifindex: 0, gateway: None, source: IpAddr::from([0; 4]), mtu: 0 };
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => route.ifindex = *ifindex,
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => route.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => route.gateway = Some((*address).into()),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::EncapType(_) => return Err(Unreachable::Encapsulated),
            _ => {}
        }
    }
    route.source = source.ok_or(Unreachable::NoSource)?;
    Ok(route)
}

/// Reads a refusal: the kernel answers a lookup that ends at a blackhole or nowhere with an error number.
pub(super) fn refusal(error: &ErrorMessage) -> Unreachable {
    match Errno::from_raw_os_error(-error.raw_code()) {
        Errno::NETUNREACH => Unreachable::NoRoute,
        Errno::HOSTUNREACH => Unreachable::Refused("unreachable"),
        Errno::ACCESS => Unreachable::Refused("prohibit"),
        Errno::INVAL => Unreachable::Refused("blackhole"),
        errno => Unreachable::Lookup(errno.to_string()),
    }
}

fn check_kind(kind: RouteType) -> Result<(), Unreachable> {
    match kind {
        RouteType::Unicast => Ok(()),
        RouteType::Local => Err(Unreachable::Local),
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => Err(Unreachable::NotUnicast),
        RouteType::BlackHole => Err(Unreachable::Refused("blackhole")),
        RouteType::Unreachable => Err(Unreachable::Refused("unreachable")),
        RouteType::Prohibit => Err(Unreachable::Refused("prohibit")),
        other => Err(Unreachable::Lookup(format!("unknown route type {other:?}"))),
    }
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> u32 {
    let of = |metric: &RouteMetric| {
        if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None }
    };
    metrics.iter().find_map(of).unwrap_or(0)
}

/// The addresses that a change of this route can concern: `(first, last)`.
pub(super) fn span(message: &RouteMessage) -> Option<(IpAddr, IpAddr)> {
    let prefix_length = message.header.destination_prefix_length;
    let to = |attribute: &RouteAttribute| {
        if let RouteAttribute::Destination(to) = attribute { ip(to) } else { None }
    };
    let network = match (message.attributes.iter().find_map(to), message.header.address_family) {
        (Some(network), _) => network,
        // A default route carries no destination.
        (None, AddressFamily::Inet) => IpAddr::from([0; 4]),
        (None, AddressFamily::Inet6) => IpAddr::from([0; 16]),
        (None, _) => return None,
    };
    let net = ipnet::IpNet::new(network, prefix_length).ok()?;
    Some((net.network(), net.broadcast()))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroI32;

    use super::*;

    fn answer(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.attributes = attributes;
        message
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn direct() -> Vec<RouteAttribute> {
        vec![RouteAttribute::Oif(3), RouteAttribute::PrefSource(address("192.0.2.1").into())]
    }

    #[test]
    fn direct_route_has_no_gateway() {
        let route = parse(&answer(RouteType::Unicast, direct()));
        let expected = Route { ifindex: 3, gateway: None, source: address("192.0.2.1"), mtu: 0 };
        assert_eq!(route, Ok(expected));
    }

    #[test]
    fn gateway_may_be_of_the_other_family() {
        let via = address("2001:db8::1");
        let IpAddr::V6(v6) = via else { unreachable!() };
        let mut attributes = direct();
        attributes.push(RouteAttribute::Via(RouteVia::Inet6(v6)));
        assert_eq!(parse(&answer(RouteType::Unicast, attributes)).unwrap().gateway, Some(via));
    }

    #[test]
    fn route_mtu_is_read_from_its_metrics() {
        let mut attributes = direct();
        attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(64), RouteMetric::Mtu(1400)]));
        assert_eq!(parse(&answer(RouteType::Unicast, attributes)).unwrap().mtu, 1400);
    }

    #[test]
    fn routes_that_send_nothing_are_told_apart() {
        let cases = [
            (RouteType::Local, Unreachable::Local),
            (RouteType::Broadcast, Unreachable::NotUnicast),
            (RouteType::BlackHole, Unreachable::Refused("blackhole")),
            (RouteType::Unreachable, Unreachable::Refused("unreachable")),
            (RouteType::Prohibit, Unreachable::Refused("prohibit")),
        ];
        for (kind, reason) in cases {
            assert_eq!(parse(&answer(kind, direct())), Err(reason), "{kind:?}");
        }
    }

    #[test]
    fn route_without_source_or_with_a_header_of_its_own_is_refused() {
        let no_source = answer(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        assert_eq!(parse(&no_source), Err(Unreachable::NoSource));
        let mut attributes = direct();
        attributes.push(RouteAttribute::EncapType(rtnetlink::packet_route::route::RouteLwEnCapType::Mpls));
        assert_eq!(parse(&answer(RouteType::Unicast, attributes)), Err(Unreachable::Encapsulated));
    }

    #[test]
    fn error_numbers_are_named() {
        let cases = [
            (101, Unreachable::NoRoute),
            (113, Unreachable::Refused("unreachable")),
            (13, Unreachable::Refused("prohibit")),
            (22, Unreachable::Refused("blackhole")),
        ];
        for (number, reason) in cases {
            let mut error = ErrorMessage::default();
            error.code = NonZeroI32::new(-number);
            assert_eq!(refusal(&error), reason);
        }
    }

    #[test]
    fn span_of_a_route_is_its_prefix() {
        let mut message = answer(RouteType::Unicast, vec![]);
        message.header.address_family = AddressFamily::Inet;
        assert_eq!(span(&message), Some((address("0.0.0.0"), address("255.255.255.255"))));
        message.attributes.push(RouteAttribute::Destination(address("198.51.100.0").into()));
        message.header.destination_prefix_length = 24;
        assert_eq!(span(&message), Some((address("198.51.100.0"), address("198.51.100.255"))));
    }
}
