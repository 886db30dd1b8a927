//! The kernel's links and neighbours, mirrored from netlink messages.
//!
//! Kept current by multicast, which may lose messages; so the mirror is read anew now and then.

use std::{collections::BTreeMap, net::IpAddr};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{
        InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol,
    },
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
    route::RouteProtocol,
};

use super::{Mac, route};

/// Marks the entries that this program has under management. No routing daemon uses the number (the kernel's
/// `rtnetlink.h` lists those that do).
pub(super) const OWNER: RouteProtocol = RouteProtocol::Other(76);

/// Whom to ask for a MAC address: an address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) ethernet: bool,
    /// Administratively up, with carrier.
    pub(super) up: bool,
    pub(super) mac: Mac,
    pub(super) mtu: u32,
    pub(super) vlan: Option<Vlan>,
}

/// What makes an interface a VLAN one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vlan {
    /// Index of the parent; none where that is in another network namespace.
    pub(super) parent: Option<u32>,
    pub(super) id: u16,
    /// 802.1Q, not 802.1ad.
    pub(super) customer: bool,
}

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) state: State,
    pub(super) care: Care,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The address may be used; the kernel may be about to verify it.
    Usable(Mac),
    /// No answer yet.
    Incomplete,
    /// No answer after all retries.
    Failed,
}

/// Who sees to it that an entry stays resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Nobody: resolved while traffic flows.
    Nobody,
    /// The kernel, because this program asked for it.
    Ours,
    /// Somebody else: the operator or another program put it there, or needs no resolving.
    Others,
}

/// The mirror.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) neighbours: BTreeMap<Hop, Neighbour>,
}

/// What a message changes beyond the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// An entry of the neighbour table appeared or is different.
    Neighbour,
    /// An entry of the neighbour table is gone.
    Forgotten(Hop),
    /// Routes of addresses from the first to the last may be others.
    Routes(IpAddr, IpAddr),
    /// Any route may be another.
    AllRoutes,
}

impl Tables {
    /// Follows one multicast message.
    pub(super) fn apply(&mut self, message: &RouteNetlinkMessage) -> Change {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.insert_link(link),
            RouteNetlinkMessage::DelLink(link) if !is_bridge_port(link) => {
                self.links.remove(&link.header.index);
                Change::AllRoutes
            }
            RouteNetlinkMessage::NewNeighbour(entry) => self.insert_neighbour(entry),
            RouteNetlinkMessage::DelNeighbour(entry) => self.remove_neighbour(entry),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                route::span(route).map_or(Change::Nothing, |(first, last)| Change::Routes(first, last))
            }
            RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_)
            | RouteNetlinkMessage::NewRule(_)
            | RouteNetlinkMessage::DelRule(_) => Change::AllRoutes,
            _ => Change::Nothing,
        }
    }

    /// Takes in one link, of a dump or a notification. Routes of a link that goes down vanish without a message.
    pub(super) fn insert_link(&mut self, message: &LinkMessage) -> Change {
        if is_bridge_port(message) {
            return Change::Nothing;
        }
        let link = parse_link(message);
        if self.links.get(&message.header.index) == Some(&link) {
            return Change::Nothing;
        }
        self.links.insert(message.header.index, link);
        Change::AllRoutes
    }

    /// Takes in one entry of the neighbour table, of a dump or a notification.
    pub(super) fn insert_neighbour(&mut self, message: &NeighbourMessage) -> Change {
        let Some(hop) = hop_of(message) else {
            return Change::Nothing;
        };
        let neighbour = parse_neighbour(message);
        let before = self.neighbours.insert(hop, neighbour);
        if before == Some(neighbour) { Change::Nothing } else { Change::Neighbour }
    }

    fn remove_neighbour(&mut self, message: &NeighbourMessage) -> Change {
        let Some(hop) = hop_of(message) else {
            return Change::Nothing;
        };
        self.neighbours.remove(&hop).map_or(Change::Nothing, |_| Change::Forgotten(hop))
    }
}

/// Bridges announce the state of their ports as links of their own family, under the port's index.
fn is_bridge_port(message: &LinkMessage) -> bool {
    message.header.interface_family != AddressFamily::Unspec
}

fn parse_link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::LinkInfo(info) => link.vlan = parse_vlan(info, &message.attributes),
            _ => {}
        }
    }
    link
}

fn parse_vlan(info: &[LinkInfo], attributes: &[LinkAttribute]) -> Option<Vlan> {
    let data = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let mut vlan = Vlan { parent: parent(attributes), id: 0, customer: true };
    for item in data {
        match item {
            InfoVlan::Id(id) => vlan.id = *id,
            InfoVlan::Protocol(protocol) => vlan.customer = *protocol == VlanProtocol::Ieee8021Q,
            _ => {}
        }
    }
    Some(vlan)
}

fn parent(attributes: &[LinkAttribute]) -> Option<u32> {
    let elsewhere = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkNetNsId(_));
    if attributes.iter().any(elsewhere) {
        return None;
    }
    attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(parent) => Some(*parent),
        _ => None,
    })
}

/// The key of an ARP or neighbour-discovery entry; none for a bridge's forwarding entry or a proxied address.
fn hop_of(message: &NeighbourMessage) -> Option<Hop> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    Some(Hop { ifindex: message.header.ifindex, address })
}

fn parse_neighbour(message: &NeighbourMessage) -> Neighbour {
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    let state = match (message.header.state, mac) {
        (NeighbourState::Failed, _) => State::Failed,
        (NeighbourState::Incomplete | NeighbourState::None, _) | (_, None) => State::Incomplete,
        (_, Some(mac)) => State::Usable(mac),
    };
    Neighbour { state, care: care(message) }
}

fn care(message: &NeighbourMessage) -> Care {
    let attributes = &message.attributes;
    let managed = attributes.iter().any(
        |attribute| matches!(attribute, NeighbourAttribute::ExtFlags(flags) if flags.contains(NeighbourExtFlags::Managed)),
    );
    let fixed = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    if managed && attributes.contains(&NeighbourAttribute::Protocol(OWNER)) {
        Care::Ours
    } else if managed || fixed || message.header.flags.contains(NeighbourFlags::ExtLearned) {
        Care::Others
    } else {
        Care::Nobody
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rtnetlink::packet_route::{link::InfoKind, route::RouteMessage};

    use super::*;

    pub(crate) const MAC: Mac = [2, 0, 0, 0, 0, 7];

    pub(crate) fn link_message(index: u32, name: &str) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        ];
        message
    }

    pub(crate) fn vlan_message(index: u32, parent: u32, protocol: VlanProtocol) -> LinkMessage {
        let mut message = link_message(index, "vlan");
        let data = InfoData::Vlan(vec![InfoVlan::Id(42), InfoVlan::Protocol(protocol)]);
        message.attributes.extend([
            LinkAttribute::Link(parent),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)]),
        ]);
        message
    }

    pub(crate) fn neighbour_message(ifindex: u32, address: &str, state: NeighbourState) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = ifindex;
        message.header.state = state;
        let destination = match address.parse().unwrap() {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(MAC.to_vec()),
        ];
        message
    }

    fn managed(mut message: NeighbourMessage, owner: RouteProtocol) -> NeighbourMessage {
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        message.attributes.push(NeighbourAttribute::Protocol(owner));
        message
    }

    #[test]
    fn states_with_an_address_are_usable_and_no_others() {
        let cases = [
            (NeighbourState::Reachable, State::Usable(MAC)),
            (NeighbourState::Stale, State::Usable(MAC)),
            (NeighbourState::Delay, State::Usable(MAC)),
            (NeighbourState::Probe, State::Usable(MAC)),
            (NeighbourState::Permanent, State::Usable(MAC)),
            (NeighbourState::Noarp, State::Usable(MAC)),
            (NeighbourState::Incomplete, State::Incomplete),
            (NeighbourState::None, State::Incomplete),
            (NeighbourState::Failed, State::Failed),
        ];
        for (state, expected) in cases {
            let parsed = parse_neighbour(&neighbour_message(3, "192.0.2.7", state));
            assert_eq!(parsed.state, expected, "{state}");
        }
    }

    #[test]
    fn only_managed_entries_with_our_mark_are_ours() {
        let learned = neighbour_message(3, "192.0.2.7", NeighbourState::Stale);
        assert_eq!(care(&learned), Care::Nobody);
        assert_eq!(care(&managed(learned.clone(), OWNER)), Care::Ours);
        assert_eq!(care(&managed(learned, RouteProtocol::Static)), Care::Others);
        assert_eq!(care(&neighbour_message(3, "192.0.2.7", NeighbourState::Permanent)), Care::Others);
    }

    #[test]
    fn link_that_is_told_twice_changes_nothing_the_second_time() {
        let mut tables = Tables::default();
        let mut message = link_message(3, "eth0");
        assert_eq!(tables.insert_link(&message), Change::AllRoutes);
        assert_eq!(tables.insert_link(&message), Change::Nothing);
        message.header.flags = LinkFlags::Up;
        assert_eq!(tables.insert_link(&message), Change::AllRoutes);
        assert!(!tables.links[&3].up, "no carrier");
    }

    #[test]
    fn bridge_port_messages_do_not_touch_links() {
        let mut tables = Tables::default();
        tables.insert_link(&link_message(3, "eth0"));
        let mut port = link_message(3, "eth0");
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(tables.apply(&RouteNetlinkMessage::DelLink(port)), Change::Nothing);
        assert!(tables.links.contains_key(&3));
    }

    #[test]
    fn vlan_link_names_its_parent_unless_that_is_in_another_namespace() {
        let mut message = vlan_message(4, 3, VlanProtocol::Ieee8021Q);
        assert_eq!(parse_link(&message).vlan, Some(Vlan { parent: Some(3), id: 42, customer: true }));
        message.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(parse_link(&message).vlan.unwrap().parent, None);
    }

    #[test]
    fn deleted_neighbour_is_forgotten_once() {
        let mut tables = Tables::default();
        let entry = neighbour_message(3, "2001:db8::7", NeighbourState::Reachable);
        let hop = hop_of(&entry).unwrap();
        assert_eq!(tables.apply(&RouteNetlinkMessage::NewNeighbour(entry.clone())), Change::Neighbour);
        let deletion = RouteNetlinkMessage::DelNeighbour(entry);
        assert_eq!(tables.apply(&deletion), Change::Forgotten(hop));
        assert_eq!(tables.apply(&deletion), Change::Nothing);
    }

    #[test]
    fn route_message_concerns_its_prefix() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        let (first, last) = ("::".parse().unwrap(), IpAddr::from([0xff; 16]));
        let change = Tables::default().apply(&RouteNetlinkMessage::DelRoute(message));
        assert_eq!(change, Change::Routes(first, last));
    }
}
