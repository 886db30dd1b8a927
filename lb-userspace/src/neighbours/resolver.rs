//! Which addresses are wanted, what is known of each, and what there is to do about it. No socket: the task carries
//! the questions to the kernel and the answers back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::time::Instant;

use super::{
    NextHop, Resolution, Unreachable, resolve,
    route::Route,
    tables::{Care, Change, Hop, Tables},
};
use crate::alike::Alike;

/// How long one request to resolve a neighbour is given: longer than the kernel's own retries (three, a second
/// apart).
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// The state of the resolution of all wanted addresses.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    tables: Tables,
    wanted: BTreeMap<IpAddr, Wanted>,
    /// Mostly there are few for many addresses.
    routes: Alike<Answer>,
    next_hops: Alike<NextHop>,
    /// Wanted addresses whose route has to be asked for.
    stale: BTreeSet<IpAddr>,
    /// When the kernel was last asked to keep a hop resolved.
    asked: BTreeMap<Hop, Instant>,
}

/// What the kernel says of the way to an address.
type Answer = Result<Route, Arc<Unreachable>>;

#[derive(Debug, Default)]
struct Wanted {
    /// None until the first answer.
    route: Option<Arc<Answer>>,
    /// None until the first event.
    told: Option<Resolution>,
}

/// A request to the kernel to keep a hop resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Make an entry, but touch none that has appeared meanwhile: the operator's may be permanent.
    Create(Hop),
    /// Put the entry that is there under management.
    Adopt(Hop),
    /// Leave our entry to itself.
    Release(Hop),
}

impl Resolver {
    /// Replaces the set of wanted addresses. What is known of those that stay is kept.
    pub(super) fn want(&mut self, addresses: &BTreeSet<IpAddr>) {
        let mut before = std::mem::take(&mut self.wanted);
        self.stale.retain(|address| addresses.contains(address));
        self.stale.extend(addresses.iter().filter(|address| !before.contains_key(address)));
        // Collected in order, a map takes half of what it would take if it grew.
        let wanted = addresses.iter().map(|&address| (address, before.remove(&address).unwrap_or_default()));
        self.wanted = wanted.collect();
        self.forget_unused();
    }

    fn forget_unused(&mut self) {
        self.routes.forget_unused();
        self.next_hops.forget_unused();
    }

    /// Follows one multicast message.
    pub(super) fn note(&mut self, message: &RouteNetlinkMessage) {
        match self.tables.apply(message) {
            Change::Nothing | Change::Neighbour => {}
            Change::Forgotten(hop) => {
                self.asked.remove(&hop);
            }
            Change::Routes(first, last) => {
                self.stale.extend(self.wanted.range(first..=last).map(|(&address, _)| address));
            }
            Change::AllRoutes => self.distrust_routes(),
        }
    }

    /// Replaces the mirror by one that was just read.
    pub(super) fn replace_tables(&mut self, tables: Tables) {
        self.tables = tables;
        self.asked.retain(|hop, _| self.tables.neighbours.contains_key(hop));
        self.forget_unused();
        self.distrust_routes();
    }

    fn distrust_routes(&mut self) {
        self.stale.extend(self.wanted.keys());
    }

    /// Takes the addresses whose routes are to be asked for.
    pub(super) fn take_stale(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.stale)
    }

    /// Takes in the kernel's answer about one route.
    pub(super) fn set_route(&mut self, address: IpAddr, route: Result<Route, Unreachable>) {
        if let Some(wanted) = self.wanted.get_mut(&address) {
            wanted.route = Some(self.routes.share(route.map_err(Arc::new)));
        }
    }

    /// Takes what has become different of one address since that was taken.
    pub(super) fn take_change_of(&mut self, address: IpAddr) -> Option<Resolution> {
        self.wanted.get_mut(&address)?.take_change(address, &self.tables, &mut self.next_hops)
    }

    /// Takes what has become different of all.
    pub(super) fn take_changes(&mut self) -> Vec<(IpAddr, Resolution)> {
        let (tables, next_hops) = (&self.tables, &mut self.next_hops);
        let all = self.wanted.iter_mut();
        all.filter_map(|(&address, wanted)| Some((address, wanted.take_change(address, tables, next_hops)?)))
            .collect()
    }

    /// What the kernel should be asked at `now`, so that it resolves what is wanted and nothing else.
    pub(super) fn take_requests(&mut self, now: Instant) -> Vec<Request> {
        let hops = self.hops();
        let mut requests: Vec<_> =
            self.ours().filter(|hop| !hops.contains(hop)).map(Request::Release).collect();
        self.asked.retain(|hop, _| hops.contains(hop));
        for hop in hops {
            let request = match self.tables.neighbours.get(&hop).map(|neighbour| neighbour.care) {
                None => Request::Create(hop),
                Some(Care::Nobody) => Request::Adopt(hop),
                Some(Care::Ours | Care::Others) => continue,
            };
            if self.asked.get(&hop).is_none_or(|&asked| now >= asked + RETRY) {
                self.asked.insert(hop, now);
                requests.push(request);
            }
        }
        requests
    }

    /// The hops that wanted addresses depend on.
    fn hops(&self) -> BTreeSet<Hop> {
        let of = |(&address, wanted): (&IpAddr, &Wanted)| match wanted.route.as_deref() {
            Some(Ok(route)) if resolve::has_egress(route, &self.tables) => Some(resolve::hop(address, route)),
            _ => None,
        };
        self.wanted.iter().filter_map(of).collect()
    }

    fn ours(&self) -> impl Iterator<Item = Hop> {
        self.tables
            .neighbours
            .iter()
            .filter(|(_, neighbour)| neighbour.care == Care::Ours)
            .map(|(&hop, _)| hop)
    }
}

impl Wanted {
    fn take_change(
        &mut self,
        address: IpAddr,
        tables: &Tables,
        next_hops: &mut Alike<NextHop>,
    ) -> Option<Resolution> {
        let resolution = match self.route.as_deref()? {
            Ok(route) => resolve::resolve(address, route, tables, next_hops),
            Err(unreachable) => Resolution::Failed(Arc::clone(unreachable)),
        };
        is_news(self.told.as_ref(), &resolution).then(|| {
            self.told = Some(resolution.clone());
            resolution
        })
    }
}

/// A silent neighbour is asked again and again: that it is being asked is no news.
fn is_news(told: Option<&Resolution>, resolution: &Resolution) -> bool {
    match (told, resolution) {
        (Some(Resolution::Failed(reason)), Resolution::Pending) => {
            !matches!(**reason, Unreachable::Silent { .. })
        }
        (told, resolution) => told != Some(resolution),
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::{
        neighbour::{NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState},
        route::{RouteAttribute, RouteMessage},
    };

    use super::{
        super::tables::{
            OWNER,
            tests::{link_message, neighbour_message},
        },
        *,
    };

    const HOST: &str = "192.0.2.7";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn hop() -> Hop {
        Hop { ifindex: 3, address: address(HOST) }
    }

    fn route() -> Route {
        Route { ifindex: 3, gateway: None, source: address("192.0.2.1"), mtu: 0 }
    }

    /// Wants one address, whose route is known.
    fn resolver() -> Resolver {
        let mut resolver = Resolver::default();
        resolver.note(&RouteNetlinkMessage::NewLink(link_message(3, "eth0")));
        resolver.want(&BTreeSet::from([address(HOST)]));
        assert_eq!(resolver.take_stale(), BTreeSet::from([address(HOST)]));
        resolver.set_route(address(HOST), Ok(route()));
        resolver
    }

    fn neighbour(state: NeighbourState) -> RouteNetlinkMessage {
        RouteNetlinkMessage::NewNeighbour(neighbour_message(3, HOST, state))
    }

    fn ours(mut message: NeighbourMessage) -> RouteNetlinkMessage {
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        message.attributes.push(NeighbourAttribute::Protocol(OWNER));
        RouteNetlinkMessage::NewNeighbour(message)
    }

    fn outcome(resolver: &mut Resolver) -> Option<Resolution> {
        let mut changes = resolver.take_changes();
        assert!(changes.len() <= 1);
        changes.pop().map(|(_, resolution)| resolution)
    }

    #[test]
    fn only_changes_are_told() {
        let mut resolver = resolver();
        assert_eq!(outcome(&mut resolver), Some(Resolution::Pending));
        assert_eq!(outcome(&mut resolver), None);
        resolver.note(&neighbour(NeighbourState::Reachable));
        assert!(matches!(outcome(&mut resolver), Some(Resolution::Resolved(_))));
        resolver.note(&neighbour(NeighbourState::Stale));
        assert_eq!(outcome(&mut resolver), None, "the same MAC address");
    }

    #[test]
    fn retrying_a_silent_neighbour_is_no_news() {
        let mut resolver = resolver();
        resolver.note(&neighbour(NeighbourState::Failed));
        assert!(matches!(outcome(&mut resolver), Some(Resolution::Failed(_))));
        resolver.note(&neighbour(NeighbourState::Incomplete));
        assert_eq!(outcome(&mut resolver), None);
        resolver.note(&neighbour(NeighbourState::Reachable));
        assert!(matches!(outcome(&mut resolver), Some(Resolution::Resolved(_))));
    }

    #[test]
    fn missing_entry_is_created_and_asked_for_again_only_after_a_while() {
        let mut resolver = resolver();
        let now = Instant::now();
        assert_eq!(resolver.take_requests(now), [Request::Create(hop())]);
        assert_eq!(resolver.take_requests(now), []);
        assert_eq!(resolver.take_requests(now + RETRY), [Request::Create(hop())]);
    }

    #[test]
    fn deleted_entry_is_asked_for_at_once() {
        let mut resolver = resolver();
        let now = Instant::now();
        resolver.take_requests(now);
        resolver.note(&ours(neighbour_message(3, HOST, NeighbourState::Reachable)));
        assert_eq!(resolver.take_requests(now), []);
        let gone = neighbour_message(3, HOST, NeighbourState::Reachable);
        resolver.note(&RouteNetlinkMessage::DelNeighbour(gone));
        assert_eq!(resolver.take_requests(now), [Request::Create(hop())]);
    }

    #[test]
    fn learned_entry_is_adopted_and_a_permanent_one_left_alone() {
        let mut resolver = resolver();
        resolver.note(&neighbour(NeighbourState::Permanent));
        assert_eq!(resolver.take_requests(Instant::now()), []);
        resolver.note(&neighbour(NeighbourState::Stale));
        assert_eq!(resolver.take_requests(Instant::now()), [Request::Adopt(hop())]);
    }

    #[test]
    fn only_our_entries_are_released_when_nobody_wants_them() {
        let mut resolver = resolver();
        resolver.note(&ours(neighbour_message(3, HOST, NeighbourState::Reachable)));
        let others = neighbour_message(3, "192.0.2.8", NeighbourState::Reachable);
        resolver.note(&RouteNetlinkMessage::NewNeighbour(others));
        assert_eq!(resolver.take_requests(Instant::now()), []);
        resolver.want(&BTreeSet::new());
        assert_eq!(resolver.take_requests(Instant::now()), [Request::Release(hop())]);
    }

    #[test]
    fn route_message_makes_stale_what_it_covers() {
        let mut resolver = resolver();
        resolver.want(&BTreeSet::from([address(HOST), address("198.51.100.9")]));
        resolver.take_stale();
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = 24;
        message.attributes.push(RouteAttribute::Destination(address("198.51.100.0").into()));
        resolver.note(&RouteNetlinkMessage::NewRoute(message));
        assert_eq!(resolver.take_stale(), BTreeSet::from([address("198.51.100.9")]));
    }

    #[test]
    fn changed_link_makes_every_route_stale() {
        let mut resolver = resolver();
        let mut down = link_message(3, "eth0");
        down.header.flags = rtnetlink::packet_route::link::LinkFlags::empty();
        resolver.note(&RouteNetlinkMessage::NewLink(down));
        assert_eq!(resolver.take_stale(), BTreeSet::from([address(HOST)]));
        assert_eq!(
            outcome(&mut resolver),
            Some(Resolution::Failed(Arc::new(Unreachable::InterfaceDown("eth0".to_owned()))))
        );
    }

    #[test]
    fn address_that_is_wanted_anew_is_told_anew() {
        let mut resolver = resolver();
        outcome(&mut resolver);
        resolver.want(&BTreeSet::new());
        resolver.want(&BTreeSet::from([address(HOST)]));
        resolver.set_route(address(HOST), Err(Unreachable::NoRoute));
        assert_eq!(outcome(&mut resolver), Some(Resolution::Failed(Arc::new(Unreachable::NoRoute))));
    }
}
