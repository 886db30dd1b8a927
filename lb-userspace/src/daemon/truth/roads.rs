//! The ways of probes: which of them take the path of traffic, and whether they lead where packets go.
//!
//! A way has a number of its own, which it keeps for as long as its backend is probed by it, and an entry like that of the
//! backend in the data plane, written by the same rules. It does not wait for the tables: they wait for the probes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, mem,
    net::IpAddr,
};

use lb_common::backend::Backend as Entry;
use tokio::sync::watch;
use tracing::warn;

use super::key;
use crate::{
    causes::with_causes,
    config::{Backend, Config, Service},
    dataplane::pins::Pins,
    health::{
        TargetKey,
        way::{Path, Way, Ways},
    },
    interface::Netlink,
    neighbours::{NextHop, OwnWay, own_ways},
    plan::{View, entry::way, kept::Kept},
    road::{
        Road,
        reply::{Detour, source},
    },
};

/// The ways, and the road that they lie on.
#[derive(Debug)]
pub(in crate::daemon) struct Roads {
    road: Option<Road>,
    /// This host's own ways to the VIPs.
    own: HashMap<IpAddr, OwnWay>,
    /// What the kernel does with replies, by interface.
    filters: HashMap<String, u8>,
    numbers: Numbers,
    /// What each way leads to.
    led: HashMap<TargetKey, (u32, Entry)>,
    /// Detours that have been told, by service.
    told: HashSet<(String, Detour)>,
    /// Whose probes do not take the path of traffic, though they are to.
    detours: HashMap<TargetKey, Detour>,
    /// Whose ways have been looked for, by service.
    known: HashMap<String, Vec<TargetKey>>,
    /// Whether something has changed that the way of any service may follow from.
    is_anew: bool,
    ways: watch::Sender<Ways>,
}

impl Roads {
    pub(in crate::daemon) fn new() -> Self {
        Self {
            road: None,
            own: HashMap::new(),
            filters: HashMap::new(),
            numbers: Numbers::default(),
            led: HashMap::new(),
            told: HashSet::new(),
            detours: HashMap::new(),
            known: HashMap::new(),
            is_anew: false,
            ways: watch::Sender::new(Ways::new()),
        }
    }

    /// Where probes learn their ways.
    pub(in crate::daemon) fn ways(&self) -> watch::Receiver<Ways> {
        self.ways.subscribe()
    }

    /// The way of a backend's probes, where one has been found, and why it is none by the path of traffic.
    pub(in crate::daemon) fn of(&self, key: &TargetKey) -> (Option<Way>, Option<&Detour>) {
        (self.ways.borrow().get(key).copied(), self.detours.get(key))
    }

    /// Builds the road where `config` asks for one, and looks which ways this host's own packets to the VIPs take.
    pub(in crate::daemon) async fn prepare(&mut self, config: &Config, netlink: &Netlink, pins: &Pins) {
        let vips: BTreeSet<IpAddr> = config
            .services
            .iter()
            .filter(|service| has_paths(service))
            .map(|service| service.address)
            .collect();
        self.told.clear();
        let filters =
            self.filters.keys().map(|interface| (interface.clone(), rp_filter(interface))).collect();
        self.is_anew |= filters != self.filters;
        self.filters = filters;
        if vips.is_empty() {
            return;
        }
        if self.road.is_none() {
            let (mark, room) = (config.balancer.probe_mark, config.limits.backends);
            match Road::open(netlink, pins, mark, room, &config.fleet.seed).await {
                Ok(road) => {
                    self.road = Some(road);
                    self.is_anew = true;
                }
                Err(error) => warn!("there is no road for probes: {}", with_causes(&error)),
            }
        }
        match own_ways(&vips).await {
            Ok(own) => {
                self.is_anew |= own != self.own;
                self.own = own;
            }
            Err(error) => warn!("it is not known how replies to probes come: {}", with_causes(&error)),
        }
    }

    /// Leads the ways of what is probed to where packets go, but for services that stay as they were planned. What has no
    /// next hop yet keeps its probes waiting.
    pub(in crate::daemon) fn follow(&mut self, config: &Config, view: &View, kept: &Kept) {
        let all = mem::take(&mut self.is_anew).then(|| Kept::nothing(config));
        let due: Vec<_> = all.as_ref().unwrap_or(kept).others(config).collect();
        let mut gone: HashSet<TargetKey> = HashSet::new();
        let names: HashSet<&str> = due.iter().map(|service| service.name.as_str()).collect();
        self.known.retain(|service, keys| {
            let stays = !names.contains(service.as_str()) && config.service(service).is_some();
            if !stays {
                gone.extend(keys.drain(..));
            }
            stays
        });
        for key in &gone {
            self.detours.remove(key);
        }
        let mut ways = Ways::new();
        for service in due.into_iter().filter(|service| has_paths(service)) {
            let found = self.ways_of(service, view);
            gone.retain(|key| !found.contains_key(key));
            self.known.insert(service.name.clone(), found.keys().cloned().collect());
            ways.extend(found);
        }
        self.give_back(&gone, &ways);
        self.ways.send_if_modified(|told| {
            let mut differs = false;
            for key in &gone {
                differs |= told.remove(key).is_some();
            }
            for (key, way) in ways {
                differs |= told.insert(key, way) != Some(way);
            }
            differs
        });
    }

    fn ways_of(&mut self, service: &Service, view: &View) -> Ways {
        let mut ways = Ways::new();
        let leaving = view.wishes.leaving_of(service.key()).map(|leaving| &leaving.backend);
        for backend in service.backends.iter().chain(leaving) {
            if !service.is_probed_by_path(backend) {
                continue;
            }
            let way = match view.next_hops.get(&backend.address) {
                // This host's own server: nothing that it sends there leaves it.
                _ if view.own.contains(&backend.address) => Way::Direct,
                Some(next_hop) => self.way(service, backend, next_hop, view),
                None => continue,
            };
            ways.insert(key(service, &backend.name), way);
        }
        ways
    }

    fn way(&mut self, service: &Service, backend: &Backend, next_hop: &NextHop, view: &View) -> Way {
        match self.path(service, backend, next_hop, view) {
            Ok(path) => Way::Path(path),
            Err(detour) => {
                if self.told.insert((service.name.clone(), detour.clone())) {
                    warn!(service = service.name, "probes go to the backends' own addresses: {detour}");
                }
                self.detours.insert(key(service, &backend.name), detour);
                Way::Direct
            }
        }
    }

    fn path(
        &mut self,
        service: &Service,
        backend: &Backend,
        next_hop: &NextHop,
        view: &View,
    ) -> Result<Path, Detour> {
        let vip = service.address;
        let own = self.own.get(&vip).copied().unwrap_or(OwnWay::Nowhere);
        let interface = &next_hop.interface;
        let filter = *self.filters.entry(interface.clone()).or_insert_with(|| rp_filter(interface));
        let source = source(vip, own, next_hop, |_| filter)?;
        let road = self.road.as_ref().ok_or(Detour::NoRoad)?;
        if vip.is_ipv6() && !road.carries_v6() {
            return Err(Detour::NoRoad);
        }
        let key = key(service, &backend.name);
        let entry = way(service, backend, view);
        let number = match self.led.get(&key) {
            Some((number, _)) => *number,
            None => self.numbers.take(road.room()).ok_or(Detour::NoRoad)?,
        };
        if self.led.get(&key).is_none_or(|(_, led)| *led != entry) {
            road.lead(number, &entry);
            self.led.insert(key, (number, entry));
        }
        Ok(Path { mark: road.mark(number), source, vip })
    }

    /// Lets others have the numbers of those that are `gone`, or that take another way now.
    fn give_back(&mut self, gone: &HashSet<TargetKey>, ways: &Ways) {
        let direct = ways.iter().filter(|(_, way)| !matches!(way, Way::Path(_))).map(|(key, _)| key);
        for key in gone.iter().chain(direct) {
            if let Some((number, _)) = self.led.remove(key) {
                self.numbers.give_back(number);
            }
        }
    }
}

/// Whether any of its backends may be probed by the path of traffic.
fn has_paths(service: &Service) -> bool {
    service.probe.as_ref().is_some_and(|probe| probe.via == crate::config::Via::Path)
}

/// What the kernel does with replies on an interface: the stricter of its own setting and that of all.
fn rp_filter(interface: &str) -> u8 {
    let setting = |of: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter")).ok()?;
        text.trim().parse().ok()
    };
    setting("all").max(setting(interface)).unwrap_or(0)
}

/// Numbers that are free.
#[derive(Debug, Default)]
struct Numbers {
    given_back: Vec<u32>,
    next: u32,
}

impl Numbers {
    /// One below `bound`.
    fn take(&mut self, bound: u32) -> Option<u32> {
        if let Some(number) = self.given_back.pop() {
            return Some(number);
        }
        let number = self.next;
        (number < bound).then(|| {
            self.next += 1;
            number
        })
    }

    fn give_back(&mut self, number: u32) {
        self.given_back.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_end_at_the_bound() {
        let mut numbers = Numbers::default();
        assert_eq!([(); 3].map(|()| numbers.take(2)), [Some(0), Some(1), None]);
        numbers.give_back(0);
        assert_eq!([(); 2].map(|()| numbers.take(2)), [Some(0), None]);
    }
}
