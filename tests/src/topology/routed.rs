//! Clients and backends behind routers, with paths that may be narrower than either end's interface.
//!
//! A narrow place is a route with a locked MTU, which a router answers for as it does for a link of that MTU. The
//! device itself stays wide, since a veth drops what is larger than its peer's MTU without a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::{ETHERNET_MTU, Host, INNER_MTU, Network, Switch, connect, disable_offloads};
use crate::{
    bpf::{self, PassProgram},
    interrupt,
};

/// What lies between balancer and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// A switch: backends are direct neighbours.
    Near,
    /// A router and a switch.
    Far,
}

/// The balancer between two routers, or one and a switch. Both of its interfaces are meant to be `sluice run`'s. What
/// backends send is routed by the balancer's kernel, unless the XDP program takes it.
///
/// ```text
///   client .2, .3          edge               balancer                         b1 .11   b2 .12 …
///     eth0 ----------- eth0 .1  eth1 ------ eth0    eth1                        eth0     eth0
///       198.51.100.0/24                               |                          |        |
///       2001:db8:51::/64              Near:        ---+--------------------------+--------+---  switch
///                                                         192.0.2.0/24, 2001:db8:192::/64
///
///                                     Far:            |         middle
///                                                     +----- eth0   eth1 .1
///                                                                     |
///                                                                  ---+----------+--------+---  switch
/// ```
///
/// VIPs are 203.0.113.0/25 and `2001:db8:113::/64`; links between two routers have subnets of 203.0.113.128/25.
#[derive(Debug)]
pub struct Routed {
    /// Sends requests. It has two addresses of each family, see [`Routed::OTHER_CLIENT`].
    pub client: Host,
    /// The clients' router.
    pub edge: Host,
    /// Where `sluice run` belongs, with the interfaces `eth0` and `eth1`.
    pub balancer: Host,
    /// The backends' router, where there is one.
    pub middle: Option<Host>,
    /// `b1` and so on.
    pub backends: Vec<Host>,
    switch: Switch,
}

impl Routed {
    /// Addresses that the client has besides its first ones.
    pub const OTHER_CLIENT: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 3)),
    ];

    /// Builds it with the backends `b1` to `b<count>`, at most 89 of them. The wires between balancer and backends
    /// carry any tunnel around a client's 1500 bytes.
    ///
    /// # Errors
    ///
    /// Not root, a tool is missing, the programs have not been built, or the process was asked to end.
    pub fn new(depth: Depth, count: u8) -> Result<Self> {
        Self::with_mtu(depth, count, INNER_MTU)
    }

    /// Builds it with an MTU for all wires between balancer and backends.
    ///
    /// # Errors
    ///
    /// See [`Routed::new`].
    pub fn with_mtu(depth: Depth, count: u8, mtu: u32) -> Result<Self> {
        Self::with_mtus(depth, count, ETHERNET_MTU, mtu)
    }

    /// Builds it with MTUs for the wires to the client and for those between balancer and backends. Backends announce
    /// segments for the former.
    ///
    /// # Errors
    ///
    /// See [`Routed::new`].
    pub fn with_mtus(depth: Depth, count: u8, front: u32, back: u32) -> Result<Self> {
        let backend = |number: u8| Host::new(&format!("b{number}"), Network::Servers, 10 + number);
        let network = Self {
            client: Host::new("client", Network::Clients, 2)?,
            edge: router("edge", Network::Clients)?,
            balancer: router("balancer", Network::Servers)?,
            middle: (depth == Depth::Far).then(|| router("middle", Network::Servers)).transpose()?,
            backends: (1..=count).map(backend).collect::<Result<_>>()?,
            switch: Switch::with_mtu(&bpf::object()?, back.max(INNER_MTU))?,
        };
        network.wire_front(front)?;
        network.wire_back(front, back)?;
        Ok(network)
    }

    /// Lets no packet larger than `mtu` through to the backends, at the router before them.
    ///
    /// # Errors
    ///
    /// There is no such router.
    pub fn narrow_to_backends(&self, mtu: u32) -> Result<()> {
        let middle = self.middle.as_ref().context("backends are direct neighbours")?;
        narrow(middle, "eth1", Network::Servers, mtu)
    }

    /// Lets no packet larger than `mtu` through to the client, at the router before it.
    ///
    /// # Errors
    ///
    /// The kernel refuses the routes.
    pub fn narrow_to_client(&self, mtu: u32) -> Result<()> {
        narrow(&self.edge, "eth0", Network::Clients, mtu)
    }

    /// From the client to the balancer.
    fn wire_front(&self, mtu: u32) -> Result<()> {
        connect(&self.edge, &self.client, mtu, &self.switch.pass)?;
        let [v4, v6] = Self::OTHER_CLIENT;
        self.client.netns.ip(&format!("address add {v4}/24 dev eth0"))?;
        // Deprecated, so that nothing takes it by itself: of equals, the one that came last is the preferred one.
        self.client.netns.ip(&format!("address add {v6}/64 dev eth0 nodad preferred_lft 0"))?;
        self.client.route("default", self.edge.v4, "::/0", self.edge.v6)?;
        let link = Link { number: 0, mtu, pass: &self.switch.pass };
        link.wire((&self.edge, "eth1"), (&self.balancer, "eth0"))?;
        self.edge.route("default", link.v4(2), "::/0", link.v6(2))?;
        self.balancer.route("default", link.v4(1), "::/0", link.v6(1))
    }

    /// From the balancer to the backends.
    fn wire_back(&self, front: u32, mtu: u32) -> Result<()> {
        let gateway = self.middle.as_ref().unwrap_or(&self.balancer);
        if let Some(middle) = &self.middle {
            let link = Link { number: 1, mtu, pass: &self.switch.pass };
            link.wire((middle, "eth0"), (&self.balancer, "eth1"))?;
            middle.route("default", link.v4(2), "::/0", link.v6(2))?;
            self.balancer.route("192.0.2.0/24", link.v4(1), "2001:db8:192::/64", link.v6(1))?;
        }
        self.switch.plug(gateway, "eth1", mtu, gateway.v4, gateway.v6)?;
        for host in &self.backends {
            self.switch.plug(host, "eth0", mtu, host.v4, host.v6)?;
            // As a host on an Ethernet says, so that nothing but an ICMP error tells a client of a narrower place.
            host.netns.ip(&format!("route add default via {} advmss {}", gateway.v4, front - 40))?;
            host.netns.ip(&format!("route add ::/0 via {} advmss {}", gateway.v6, front - 60))?;
        }
        Ok(())
    }
}

/// A host that forwards, with the first address of `network`.
fn router(name: &str, network: Network) -> Result<Host> {
    let host = Host::new(name, network, 1)?;
    host.netns.set_sysctl("ipv4/ip_forward", "1")?;
    host.netns.set_sysctl("ipv6/conf/all/forwarding", "1")?;
    Ok(host)
}

/// Gives the route to `network` an MTU that holds for what is forwarded, too.
fn narrow(router: &Host, device: &str, network: Network, mtu: u32) -> Result<()> {
    let (v4, v6) = (network.v4(0), network.v6(0));
    router.netns.ip(&format!("route replace {v4}/24 dev {device} mtu lock {mtu}"))?;
    // The metric of the route that came with the address.
    router.netns.ip(&format!("route replace {v6}/64 dev {device} metric 256 mtu lock {mtu}"))
}

/// A wire between two routers, with a subnet of its own.
struct Link<'a> {
    number: u8,
    mtu: u32,
    pass: &'a PassProgram,
}

impl Link<'_> {
    fn v4(&self, end: u8) -> IpAddr {
        Ipv4Addr::new(203, 0, 113, 128 + 4 * self.number + end).into()
    }

    fn v6(&self, end: u8) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x128, u16::from(self.number), 0, 0, 0, u16::from(end)).into()
    }

    /// Makes it. The first end carries the passing program, so that the second may transmit to it.
    fn wire(&self, first: (&Host, &str), second: (&Host, &str)) -> Result<()> {
        interrupt::check()?;
        let peer = second.0.netns.name();
        first.0.netns.ip(&format!("link add {} type veth peer name {} netns {peer}", first.1, second.1))?;
        for (end, (host, device)) in [(1, first), (2, second)] {
            host.netns.ip(&format!("address add {}/30 dev {device}", self.v4(end)))?;
            host.netns.ip(&format!("address add {}/64 dev {device} nodad", self.v6(end)))?;
            host.netns.ip(&format!("link set {device} mtu {} up", self.mtu))?;
            disable_offloads(&host.netns, device)?;
        }
        self.pass.attach(&first.0.netns, first.1)
    }
}
