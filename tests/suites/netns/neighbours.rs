//! Next-hop resolution against a real kernel.
//!
//! ```text
//!  balancer                                       host
//!  lb0 192.0.2.1/24 ------------ veth ----------- host0 192.0.2.7/24
//!      2001:db8::1/64                                   2001:db8::7/64
//!  lb0.42 203.0.113.1/24 ----- 802.1Q id 42 ----- host0.42 203.0.113.7/24
//! ```

use std::{collections::BTreeSet, net::IpAddr, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{netns::Netns, skip::skip};
use sluice::neighbours::{Mac, Neighbours, NeighboursError, NextHop, Resolution, Unreachable};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

const HOST: &str = "192.0.2.7";
const HOST_V6: &str = "2001:db8::7";
const HOST_MAC: Mac = [2, 0, 0, 0, 0, 7];
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn direct_neighbours_of_both_families_are_resolved_and_kept_so() {
    let mut lab = Lab::start(&[HOST, HOST_V6]).unwrap();

    let v4 = lab.resolved(HOST).await;
    let v6 = lab.resolved(HOST_V6).await;

    assert_eq!((v4.mac, v4.source_mac, v4.mtu, v4.vlan), (HOST_MAC, [2, 0, 0, 0, 0, 1], 1500, 0));
    assert_eq!((v4.interface.as_str(), v4.source, v4.gateway), ("lb0", address("192.0.2.1"), None));
    assert_eq!((v6.mac, v6.source, v6.ifindex), (HOST_MAC, address("2001:db8::1"), v4.ifindex));
    assert!(lab.entry_says(HOST, "managed"));
    lab.stop().await.unwrap();
    for address in [HOST, HOST_V6] {
        assert!(!lab.entry_says(address, "managed"));
        assert!(lab.entry_says(address, "02:00:00:00:00:07"), "what was learned stays");
    }
}

#[tokio::test]
async fn changed_mac_is_noticed() {
    let mut lab = Lab::start(&[HOST, HOST_V6]).unwrap();
    lab.resolved(HOST).await;
    lab.resolved(HOST_V6).await;

    lab.host.ip("link set host0 address 02:00:00:00:00:08").unwrap();

    assert_eq!(lab.resolved(HOST).await.mac, [2, 0, 0, 0, 0, 8]);
    assert_eq!(lab.resolved(HOST_V6).await.mac, [2, 0, 0, 0, 0, 8]);
}

#[tokio::test]
async fn route_changes_are_followed() {
    const FAR: &str = "198.51.100.9";
    let mut lab = Lab::start(&[FAR]).unwrap();
    assert_eq!(lab.failed(FAR).await, Unreachable::NoRoute);

    lab.balancer.ip("route add 198.51.100.0/24 via 192.0.2.7 mtu 1400").unwrap();
    let next_hop = lab.resolved(FAR).await;
    assert_eq!((next_hop.gateway, next_hop.mac, next_hop.mtu), (Some(address(HOST)), HOST_MAC, 1400));

    lab.balancer.ip("route replace 198.51.100.0/24 via inet6 2001:db8::7 dev lb0").unwrap();
    assert_eq!(lab.resolved(FAR).await.gateway, Some(address(HOST_V6)));

    lab.balancer.ip("route replace blackhole 198.51.100.0/24").unwrap();
    assert_eq!(lab.failed(FAR).await, Unreachable::Refused("blackhole"));

    lab.balancer.ip("address add 198.51.100.9/32 dev lb0").unwrap();
    assert_eq!(lab.failed(FAR).await, Unreachable::Local);
}

#[tokio::test]
async fn lost_carrier_is_told_and_so_is_its_return() {
    let mut lab = Lab::start(&[HOST]).unwrap();
    lab.resolved(HOST).await;

    lab.host.ip("link set host0 down").unwrap();
    assert_eq!(lab.failed(HOST).await, Unreachable::InterfaceDown("lb0".to_owned()));

    lab.host.ip("link set host0 up").unwrap();
    assert_eq!(lab.resolved(HOST).await.mac, HOST_MAC);
}

#[tokio::test]
async fn silent_neighbour_is_told_and_found_once_it_answers() {
    const LATE: &str = "192.0.2.99";
    let mut lab = Lab::start(&[LATE]).unwrap();
    let silent = Unreachable::Silent { hop: address(LATE), interface: "lb0".to_owned() };
    assert_eq!(lab.failed(LATE).await, silent);

    lab.host.ip("address add 192.0.2.99/24 dev host0").unwrap();
    assert_eq!(lab.resolved(LATE).await.mac, HOST_MAC);
}

#[tokio::test]
async fn permanent_entry_is_used_and_left_alone() {
    const FIXED: &str = "192.0.2.50";
    let mut lab = Lab::start(&[]).unwrap();
    lab.balancer.ip("neigh add 192.0.2.50 lladdr 02:00:00:00:00:50 dev lb0 nud permanent").unwrap();

    lab.want(&[FIXED]);

    assert_eq!(lab.resolved(FIXED).await.mac, [2, 0, 0, 0, 0, 0x50]);
    lab.stop().await.unwrap();
    assert!(lab.entry_says(FIXED, "PERMANENT"));
}

#[tokio::test]
async fn vlan_neighbour_is_reached_by_the_parent_with_a_tag() {
    const TAGGED: &str = "203.0.113.7";
    let mut lab = Lab::start(&[HOST]).unwrap();
    if !lab.add_vlan().unwrap() {
        return skip("kernel: no VLAN interfaces");
    }
    lab.want(&[TAGGED, HOST]);

    let next_hop = lab.resolved(TAGGED).await;

    assert_eq!((next_hop.interface.as_str(), next_hop.vlan, next_hop.mac), ("lb0", 42, HOST_MAC));
    assert_eq!(next_hop.ifindex, lab.resolved(HOST).await.ifindex);
}

#[tokio::test]
async fn entries_that_a_killed_daemon_left_behind_are_released() {
    let mut lab = Lab::start(&[HOST]).unwrap();
    lab.resolved(HOST).await;
    lab.stop().await.unwrap();
    lab.balancer.ip("neigh replace 192.0.2.7 dev lb0 protocol 76 managed").unwrap();
    assert!(lab.entry_says(HOST, "managed"));

    lab.run(&[HOST_V6]).unwrap();
    lab.resolved(HOST_V6).await;

    lab.until("the entry is released", |lab| !lab.entry_says(HOST, "managed")).await;
}

/// Two namespaces, and a resolver in the balancer's.
struct Lab {
    balancer: Netns,
    host: Netns,
    running: Option<Running>,
}

struct Running {
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    events: mpsc::Receiver<(IpAddr, Resolution)>,
    task: JoinHandle<Result<(), NeighboursError>>,
}

impl Lab {
    /// Builds the topology and starts a resolver that wants `addresses`.
    fn start(addresses: &[&str]) -> Result<Self> {
        let (balancer, host) = (Netns::new("lb")?, Netns::new("host")?);
        let mut lab = Self { balancer, host, running: None };
        lab.build()?;
        lab.run(addresses)?;
        Ok(lab)
    }

    fn build(&self) -> Result<()> {
        let pair =
            "link add lb0 address 02:00:00:00:00:01 type veth peer name host0 address 02:00:00:00:00:07";
        self.balancer.ip(&format!("{pair} netns {}", self.host.name()))?;
        for (netns, device, last) in self.ends() {
            netns.ip(&format!("address add 192.0.2.{last}/24 dev {device}"))?;
            netns.ip(&format!("address add 2001:db8::{last}/64 dev {device} nodad"))?;
            netns.ip(&format!("link set {device} up"))?;
        }
        // Announce a changed MAC address at once; give up on a silent neighbour after 0.3 s, not 3.
        self.host.set_sysctl("ipv4/conf/host0/arp_notify", "1")?;
        self.host.set_sysctl("ipv6/conf/host0/ndisc_notify", "1")?;
        self.balancer.set_sysctl("ipv4/neigh/lb0/retrans_time_ms", "100")
    }

    /// False where the kernel cannot.
    fn add_vlan(&self) -> Result<bool> {
        for (netns, device, last) in self.ends() {
            let add = format!("link add link {device} name {device}.42 type vlan id 42");
            if netns.ip(&add).is_err() {
                return Ok(false);
            }
            netns.ip(&format!("address add 203.0.113.{last}/24 dev {device}.42"))?;
            netns.ip(&format!("link set {device}.42 up"))?;
        }
        Ok(true)
    }

    fn ends(&self) -> [(&Netns, &str, u8); 2] {
        [(&self.balancer, "lb0", 1), (&self.host, "host0", 7)]
    }

    /// Whether the balancer's neighbour entry of `address` shows `word` in `ip neigh`.
    fn entry_says(&self, address: &str, word: &str) -> bool {
        let shown = self.balancer.output(Command::new("ip").args(["neigh", "show", address]));
        shown.expect("`ip neigh` works").contains(word)
    }

    /// Starts a resolver. Only its sockets are opened inside the namespace.
    fn run(&mut self, addresses: &[&str]) -> Result<()> {
        let (wanted, wanted_receiver) = watch::channel(set(addresses));
        let (events_sender, events) = mpsc::channel(16);
        let runtime = Handle::current();
        let neighbours = self.balancer.run(|| {
            let _entered = runtime.enter();
            Neighbours::open()
        })??;
        let task = tokio::spawn(neighbours.run(wanted_receiver, events_sender));
        self.running = Some(Running { wanted, events, task });
        Ok(())
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the resolver was started")
    }

    fn want(&mut self, addresses: &[&str]) {
        self.running().wanted.send_replace(set(addresses));
    }

    /// Ends the resolver and waits until it has cleaned up.
    async fn stop(&mut self) -> Result<()> {
        let Running { wanted, events, task } = self.running.take().context("no resolver runs")?;
        drop((wanted, events));
        Ok(task.await??)
    }

    async fn next(&mut self, wanted: &str) -> Resolution {
        let events = &mut self.running().events;
        loop {
            let (address, resolution) = timeout(DEADLINE, events.recv())
                .await
                .unwrap_or_else(|_| panic!("nothing about {wanted} within {DEADLINE:?}"))
                .expect("the resolver ended");
            if address == self::address(wanted) && resolution != Resolution::Pending {
                return resolution;
            }
        }
    }

    /// The next hop that the next event about `address` names.
    async fn resolved(&mut self, address: &str) -> Arc<NextHop> {
        match self.next(address).await {
            Resolution::Resolved(next_hop) => next_hop,
            other => panic!("{address} is not resolved: {other:?}"),
        }
    }

    async fn failed(&mut self, address: &str) -> Unreachable {
        match self.next(address).await {
            Resolution::Failed(reason) => Arc::unwrap_or_clone(reason),
            other => panic!("{address} has not failed: {other:?}"),
        }
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let holds = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, holds).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|text| address(text)).collect()
}
