//! One address: its route, the egress link and the neighbour joined into a next hop.

use std::{net::IpAddr, sync::Arc};

use super::{
    NextHop, Resolution, Unreachable,
    route::Route,
    tables::{Hop, Link, State, Tables},
};
use crate::alike::Alike;

/// Whom a packet for `destination` is handed to.
pub(super) fn hop(destination: IpAddr, route: &Route) -> Hop {
    Hop { ifindex: route.ifindex, address: route.gateway.unwrap_or(destination) }
}

/// What the tables say about `destination`, which `route` leads to. Next hops that are `known` are shared.
pub(super) fn resolve(
    destination: IpAddr,
    route: &Route,
    tables: &Tables,
    known: &mut Alike<NextHop>,
) -> Resolution {
    let egress = match egress(route, tables) {
        Ok(Some(egress)) => egress,
        // The route knows a link whose announcement is still on its way.
        Ok(None) => return Resolution::Pending,
        Err(unreachable) => return Resolution::Failed(Arc::new(unreachable)),
    };
    let hop = hop(destination, route);
    match tables.neighbours.get(&hop).map(|neighbour| neighbour.state) {
        Some(State::Usable(mac)) => Resolution::Resolved(known.share(egress.next_hop(route, mac))),
        Some(State::Failed) => {
            let interface = egress.link.name.clone();
            Resolution::Failed(Arc::new(Unreachable::Silent { hop: hop.address, interface }))
        }
        Some(State::Incomplete) | None => Resolution::Pending,
    }
}

/// Whether frames can leave by the link that `route` names, as far as that is known.
pub(super) fn has_egress(route: &Route, tables: &Tables) -> bool {
    matches!(egress(route, tables), Ok(Some(_)))
}

/// The link that IP sends through, and the one that frames leave by.
struct Egress<'a> {
    link: &'a Link,
    ifindex: u32,
    name: &'a str,
    vlan: u16,
}

impl Egress<'_> {
    fn next_hop(&self, route: &Route, mac: super::Mac) -> NextHop {
        let mtu = if route.mtu == 0 { self.link.mtu } else { self.link.mtu.min(route.mtu) };
        NextHop {
            ifindex: self.ifindex,
            interface: self.name.to_owned(),
            mac,
            source_mac: self.link.mac,
            source: route.source,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            vlan: self.vlan,
            gateway: route.gateway,
        }
    }
}

fn egress<'a>(route: &Route, tables: &'a Tables) -> Result<Option<Egress<'a>>, Unreachable> {
    let Some(link) = tables.links.get(&route.ifindex) else {
        return Ok(None);
    };
    check(link)?;
    let Some(vlan) = link.vlan else {
        return Ok(Some(Egress { link, ifindex: route.ifindex, name: &link.name, vlan: 0 }));
    };
    let unsupported = || Unreachable::UnsupportedVlan(link.name.clone());
    let ifindex = vlan.parent.filter(|_| vlan.customer).ok_or_else(unsupported)?;
    let Some(parent) = tables.links.get(&ifindex) else {
        return Ok(None);
    };
    if parent.vlan.is_some() {
        return Err(unsupported());
    }
    check(parent)?;
    Ok(Some(Egress { link, ifindex, name: &parent.name, vlan: vlan.id }))
}

fn check(link: &Link) -> Result<(), Unreachable> {
    if !link.ethernet {
        Err(Unreachable::NotEthernet(link.name.clone()))
    } else if !link.up {
        Err(Unreachable::InterfaceDown(link.name.clone()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::{
        link::{LinkFlags, LinkLayerType, VlanProtocol},
        neighbour::NeighbourState,
    };

    use super::{
        super::tables::tests::{MAC, link_message, neighbour_message, vlan_message},
        *,
    };

    const HOST: &str = "192.0.2.7";

    fn route(ifindex: u32) -> Route {
        Route { ifindex, gateway: None, source: "192.0.2.1".parse().unwrap(), mtu: 0 }
    }

    fn tables() -> Tables {
        let mut tables = Tables::default();
        tables.insert_link(&link_message(3, "eth0"));
        tables.insert_link(&vlan_message(4, 3, VlanProtocol::Ieee8021Q));
        tables.insert_link(&vlan_message(5, 3, VlanProtocol::Ieee8021Ad));
        tables.insert_link(&vlan_message(6, 4, VlanProtocol::Ieee8021Q));
        for ifindex in 3..=6 {
            tables.insert_neighbour(&neighbour_message(ifindex, HOST, NeighbourState::Stale));
        }
        tables
    }

    fn resolution(route: &Route, tables: &Tables) -> Resolution {
        resolve(HOST.parse().unwrap(), route, tables, &mut Alike::default())
    }

    #[test]
    fn direct_neighbour_is_its_own_next_hop() {
        let expected = NextHop {
            ifindex: 3,
            interface: "eth0".to_owned(),
            mac: MAC,
            source_mac: [2, 0, 0, 0, 0, 1],
            source: "192.0.2.1".parse().unwrap(),
            mtu: 1500,
            vlan: 0,
            gateway: None,
        };
        assert_eq!(resolution(&route(3), &tables()), Resolution::Resolved(Arc::new(expected)));
    }

    #[test]
    fn gateway_is_asked_instead_of_the_destination() {
        let mut tables = tables();
        let gateway = "2001:db8::1".parse().unwrap();
        let route = Route { gateway: Some(gateway), mtu: 1400, ..route(3) };
        assert_eq!(resolution(&route, &tables), Resolution::Pending);
        tables.insert_neighbour(&neighbour_message(3, "2001:db8::1", NeighbourState::Reachable));
        let Resolution::Resolved(next_hop) = resolution(&route, &tables) else { panic!("not resolved") };
        assert_eq!((next_hop.gateway, next_hop.mtu), (Some(gateway), 1400));
    }

    #[test]
    fn vlan_frames_leave_by_the_parent() {
        let Resolution::Resolved(next_hop) = resolution(&route(4), &tables()) else { panic!("not resolved") };
        assert_eq!((next_hop.ifindex, next_hop.vlan, next_hop.interface.as_str()), (3, 42, "eth0"));
    }

    #[test]
    fn tags_that_the_fast_path_cannot_push_are_refused() {
        for ifindex in [5, 6] {
            let refused = Resolution::Failed(Arc::new(Unreachable::UnsupportedVlan("vlan".to_owned())));
            assert_eq!(resolution(&route(ifindex), &tables()), refused);
        }
    }

    #[test]
    fn neighbour_that_does_not_answer_is_named() {
        let mut tables = tables();
        tables.insert_neighbour(&neighbour_message(3, HOST, NeighbourState::Failed));
        let Resolution::Failed(reason) = resolution(&route(3), &tables) else { panic!("not failed") };
        assert_eq!(reason.to_string(), "192.0.2.7 does not answer on eth0");
    }

    #[test]
    fn unusable_links_are_told_apart() {
        let mut tables = tables();
        let mut message = link_message(3, "eth0");
        message.header.flags = LinkFlags::Up;
        tables.insert_link(&message);
        let down = Resolution::Failed(Arc::new(Unreachable::InterfaceDown("eth0".to_owned())));
        assert_eq!(resolution(&route(3), &tables), down);
        assert_eq!(resolution(&route(4), &tables), down, "the parent of a VLAN interface counts too");
        message.header.link_layer_type = LinkLayerType::None;
        tables.insert_link(&message);
        let not_ethernet = Resolution::Failed(Arc::new(Unreachable::NotEthernet("eth0".to_owned())));
        assert_eq!(resolution(&route(3), &tables), not_ethernet);
    }

    #[test]
    fn unknown_link_is_waited_for() {
        assert_eq!(resolution(&route(9), &tables()), Resolution::Pending);
        assert!(!has_egress(&route(9), &tables()));
    }
}
