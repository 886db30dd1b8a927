//! The ways of probes: which of them take the path of traffic, and whether they lead where packets go.
//!
//! A way has a number of its own, which it keeps for as long as its backend is probed by it, and an entry like that of the
//! backend in the data plane, written by the same rules. It does not wait for the tables: they wait for the probes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
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
    plan::{View, entry::way},
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
    numbers: Numbers,
    /// What each way leads to.
    led: HashMap<TargetKey, (u32, Entry)>,
    /// Detours that have been told, by service.
    told: HashSet<(String, Detour)>,
    /// Whose probes do not take the path of traffic, though they are to.
    detours: HashMap<TargetKey, Detour>,
    ways: watch::Sender<Ways>,
}

impl Roads {
    pub(in crate::daemon) fn new() -> Self {
        Self {
            road: None,
            own: HashMap::new(),
            numbers: Numbers::default(),
            led: HashMap::new(),
            told: HashSet::new(),
            detours: HashMap::new(),
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
        if vips.is_empty() {
            return;
        }
        if self.road.is_none() {
            let (mark, room) = (config.balancer.probe_mark, config.limits.backends);
            match Road::open(netlink, pins, mark, room, &config.fleet.seed).await {
                Ok(road) => self.road = Some(road),
                Err(error) => warn!("there is no road for probes: {}", with_causes(&error)),
            }
        }
        match own_ways(&vips).await {
            Ok(own) => self.own = own,
            Err(error) => warn!("it is not known how replies to probes come: {}", with_causes(&error)),
        }
    }

    /// Leads the ways of what is probed to where packets go. What has no next hop yet keeps its probes waiting.
    pub(in crate::daemon) fn follow(&mut self, config: &Config, view: &View) {
        let mut ways = Ways::new();
        self.detours.clear();
        for service in config.services.iter().filter(|service| has_paths(service)) {
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
        }
        self.forget_others(&ways);
        self.ways.send_if_modified(|told| {
            let differs = *told != ways;
            *told = ways;
            differs
        });
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
        let source = source(vip, own, next_hop, rp_filter)?;
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

    fn forget_others(&mut self, ways: &Ways) {
        let numbers = &mut self.numbers;
        self.led.retain(|key, (number, _)| {
            let stays = matches!(ways.get(key), Some(Way::Path(_)));
            if !stays {
                numbers.give_back(*number);
            }
            stays
        });
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
