//! The networks that tests run in. Addresses are the same in each of them, since each has namespaces of its own.
//!
//! Two properties of veth shape everything here. What XDP transmits or redirects into a veth device arrives only where
//! the device's peer carries an XDP program too, so every port of the switch has one that passes everything. And a
//! sender behind a veth leaves checksums to "hardware" that does not exist, which a receiver accepts only on a path
//! without XDP, so checksum offload is off everywhere.

mod routed;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
};

use anyhow::Result;

use crate::{
    bpf::{self, PassProgram},
    interrupt,
    netns::Netns,
};

pub use self::routed::{Depth, Routed};

/// The VIPs of the services under test.
pub const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// See [`VIP4`].
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10));
/// A second pair, for another service.
pub const OTHER_VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20));
/// See [`OTHER_VIP4`].
pub const OTHER_VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x20));

/// Bytes of IP packet between balancer and backends: a client's 1500 and an outer IPv6 header, with room to spare.
const INNER_MTU: u32 = 1600;

/// MTU of wires to clients.
const ETHERNET_MTU: u32 = 1500;

/// A host: a namespace with an interface `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Its name, such as `b1`.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Address of `eth0`.
    pub v4: IpAddr,
    /// Address of `eth0`.
    pub v6: IpAddr,
}

impl Host {
    fn new(name: &str, network: Network, number: u8) -> Result<Self> {
        let netns = Netns::new(name)?;
        Ok(Self { name: name.to_owned(), netns, v4: network.v4(number), v6: network.v6(number) })
    }

    fn set_addresses(&self, device: &str, v4: IpAddr, v6: IpAddr, mtu: u32) -> Result<()> {
        self.netns.ip(&format!("address add {v4}/24 dev {device}"))?;
        self.netns.ip(&format!("address add {v6}/64 dev {device} nodad"))?;
        self.netns.ip(&format!("link set {device} mtu {mtu} up"))?;
        disable_offloads(&self.netns, device)
    }

    fn route(&self, v4: &str, via4: IpAddr, v6: &str, via6: IpAddr) -> Result<()> {
        self.netns.ip(&format!("route add {v4} via {via4}"))?;
        self.netns.ip(&format!("route add {v6} via {via6}"))
    }
}

/// A subnet of each family.
#[derive(Clone, Copy, Debug)]
enum Network {
    /// `198.51.100.0/24` and `2001:db8:51::/64`.
    Clients,
    /// `192.0.2.0/24` and `2001:db8:192::/64`.
    Servers,
}

impl Network {
    fn v4(self, host: u8) -> IpAddr {
        match self {
            Self::Clients => Ipv4Addr::new(198, 51, 100, host).into(),
            Self::Servers => Ipv4Addr::new(192, 0, 2, host).into(),
        }
    }

    fn v6(self, host: u8) -> IpAddr {
        let subnet = match self {
            Self::Clients => 0x51,
            Self::Servers => 0x192,
        };
        // The host's decimal digits, read as hexadecimal: backend 11 is ::11 as it is .11.
        let digits = u16::from(host / 10) * 16 + u16::from(host % 10);
        Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, digits).into()
    }
}

/// One subnet, one interface each; backends answer the client directly.
///
/// ```text
///   client .2     balancer .1     b1 .11     b2 .12     b3 .13     b4 .14
///     eth0           eth0          eth0       eth0       eth0       eth0
///      |              |             |          |          |          |
///   ---+--------------+-------------+----------+----------+----------+---  switch
///        198.51.100.0/24, 2001:db8:51::/64
///
///   VIPs 203.0.113.0/24 and 2001:db8:113::/64: the client's route to them goes by the balancer.
/// ```
#[derive(Debug)]
pub struct Lan {
    /// Sends requests.
    pub client: Host,
    /// Where `sluice run` belongs.
    pub balancer: Host,
    /// `b1` to `b4`, or as many as were asked for.
    pub backends: Vec<Host>,
    switch: Switch,
}

impl Lan {
    /// Builds it, with the programs of [`bpf::object`].
    ///
    /// # Errors
    ///
    /// Not root, a tool is missing, the programs have not been built, or the process was asked to end.
    pub fn new() -> Result<Self> {
        Self::with_programs(&bpf::object()?)
    }

    /// Builds it, with the programs of `object`.
    ///
    /// # Errors
    ///
    /// See [`Lan::new`].
    pub fn with_programs(object: &Path) -> Result<Self> {
        Self::with_backends(object, 4)
    }

    /// Builds it with the backends `b1` to `b<count>`, at most 89 of them, with the programs of `object`.
    ///
    /// # Errors
    ///
    /// See [`Lan::new`].
    pub fn with_backends(object: &Path, count: u8) -> Result<Self> {
        let switch = Switch::new(object)?;
        let client = Host::new("client", Network::Clients, 2)?;
        let balancer = Host::new("balancer", Network::Clients, 1)?;
        let backend = |number: u8| Host::new(&format!("b{number}"), Network::Clients, 10 + number);
        let backends = (1..=count).map(backend).collect::<Result<Vec<_>>>()?;
        for (host, mtu) in [(&client, 1500), (&balancer, INNER_MTU)] {
            switch.plug(host, "eth0", mtu, host.v4, host.v6)?;
        }
        for host in &backends {
            switch.plug(host, "eth0", INNER_MTU, host.v4, host.v6)?;
        }
        client.route("203.0.113.0/24", balancer.v4, "2001:db8:113::/64", balancer.v6)?;
        Ok(Self { client, balancer, backends, switch })
    }

    /// The namespace of the switch, whose ports have the names of the hosts.
    #[must_use]
    pub fn switch(&self) -> &Netns {
        &self.switch.netns
    }
}

/// The balancer between two networks: what it forwards leaves by another interface than it came by. Backends' answers
/// are routed by the balancer's kernel, past the XDP program.
///
/// ```text
///   client .2               balancer                b1 .11     b2 .12   neighbour .3
///     eth0 ------------- eth0 .1  eth1 .1            eth0       eth0       eth0
///       198.51.100.0/24            |                  |          |          |
///       2001:db8:51::/64        ---+------------------+----------+----------+---  switch
///                                    192.0.2.0/24, 2001:db8:192::/64
/// ```
#[derive(Debug)]
pub struct TwoArmed {
    /// Sends requests.
    pub client: Host,
    /// Where `sluice run` belongs, with the interface `eth0`.
    pub balancer: Host,
    /// `b1` and `b2`.
    pub backends: Vec<Host>,
    /// Sends requests from the backends' network.
    pub neighbour: Host,
    /// Held for its guard.
    _switch: Switch,
}

impl TwoArmed {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// Not root, a tool is missing, the programs have not been built, or the process was asked to end.
    pub fn new() -> Result<Self> {
        let switch = Switch::new(&bpf::object()?)?;
        let client = Host::new("client", Network::Clients, 2)?;
        let balancer = Host::new("balancer", Network::Clients, 1)?;
        let backend = |number: u8| Host::new(&format!("b{number}"), Network::Servers, 10 + number);
        let backends = (1..=2).map(backend).collect::<Result<Vec<_>>>()?;
        let neighbour = Host::new("neighbour", Network::Servers, 3)?;
        connect(&client, &balancer, ETHERNET_MTU, &switch.pass)?;
        let (gateway4, gateway6) = (Network::Servers.v4(1), Network::Servers.v6(1));
        switch.plug(&balancer, "eth1", INNER_MTU, gateway4, gateway6)?;
        balancer.netns.set_sysctl("ipv4/ip_forward", "1")?;
        balancer.netns.set_sysctl("ipv6/conf/all/forwarding", "1")?;
        for host in backends.iter().chain([&neighbour]) {
            switch.plug(host, "eth0", INNER_MTU, host.v4, host.v6)?;
            host.route("default", gateway4, "::/0", gateway6)?;
        }
        client.route("default", balancer.v4, "::/0", balancer.v6)?;
        Ok(Self { client, balancer, backends, neighbour, _switch: switch })
    }
}

/// Two balancers of a fleet behind a router that spreads flows over them by their addresses and ports.
///
/// ```text
///   client .2            router              l1 .2     l2 .3     b1 .11    b2 .12 …
///     eth0 ---------- eth0 .1  eth1 .1        eth0      eth0      eth0      eth0
///      198.51.100.0/24           |             |         |         |         |
///      2001:db8:51::/64       ---+-------------+---------+---------+---------+---  switch
///                                  192.0.2.0/24, 2001:db8:192::/64
/// ```
#[derive(Debug)]
pub struct Fleet {
    /// Sends requests.
    pub client: Host,
    /// Forwards by a route with several next hops.
    pub router: Host,
    /// `l1` and `l2`, where `sluice run` belongs.
    pub balancers: Vec<Host>,
    /// `b1` and so on.
    pub backends: Vec<Host>,
    switch: Switch,
}

impl Fleet {
    /// Builds it with the backends `b1` to `b<count>`, at most 89 of them, with the programs of `object`. The router has no route to the
    /// VIPs yet.
    ///
    /// # Errors
    ///
    /// See [`Lan::new`].
    pub fn with_backends(object: &Path, count: u8) -> Result<Self> {
        let switch = Switch::new(object)?;
        let client = Host::new("client", Network::Clients, 2)?;
        let router = Host::new("router", Network::Clients, 1)?;
        let balancer = |number: u8| Host::new(&format!("l{number}"), Network::Servers, 1 + number);
        let balancers = (1..=2).map(balancer).collect::<Result<Vec<_>>>()?;
        let backend = |number: u8| Host::new(&format!("b{number}"), Network::Servers, 10 + number);
        let backends = (1..=count).map(backend).collect::<Result<Vec<_>>>()?;
        connect(&client, &router, ETHERNET_MTU, &switch.pass)?;
        let (gateway4, gateway6) = (Network::Servers.v4(1), Network::Servers.v6(1));
        switch.plug(&router, "eth1", INNER_MTU, gateway4, gateway6)?;
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            router.netns.set_sysctl(key, "1")?;
        }
        for key in ["ipv4/fib_multipath_hash_policy", "ipv6/fib_multipath_hash_policy"] {
            router.netns.set_sysctl(key, "1")?;
        }
        for host in balancers.iter().chain(&backends) {
            switch.plug(host, "eth0", INNER_MTU, host.v4, host.v6)?;
            host.route("default", gateway4, "::/0", gateway6)?;
        }
        client.route("default", router.v4, "::/0", router.v6)?;
        Ok(Self { client, router, balancers, backends, switch })
    }

    /// Makes the router spread the VIPs' flows over the balancers with these indices.
    ///
    /// # Errors
    ///
    /// The kernel refuses the routes.
    pub fn announce(&self, balancers: &[usize]) -> Result<()> {
        let route = |to: &str, address: fn(&Host) -> IpAddr| {
            let hop = |&index: &usize| format!("nexthop via {}", address(&self.balancers[index]));
            format!("route replace {to} {}", balancers.iter().map(hop).collect::<Vec<_>>().join(" "))
        };
        self.router.netns.ip(&route("203.0.113.0/24", |host| host.v4))?;
        self.router.netns.ip(&format!("-6 {}", route("2001:db8:113::/64", |host| host.v6)))
    }

    /// Cuts a balancer off, as one that loses its power: nothing gets to it or from it, and nobody is told.
    ///
    /// # Errors
    ///
    /// There is no such port.
    pub fn unplug(&self, balancer: usize) -> Result<()> {
        self.switch.netns.ip(&format!("link set {} down", self.balancers[balancer].name))
    }

    /// Undoes [`Fleet::unplug`].
    ///
    /// # Errors
    ///
    /// There is no such port.
    pub fn plug_in(&self, balancer: usize) -> Result<()> {
        self.switch.netns.ip(&format!("link set {} up", self.balancers[balancer].name))
    }
}

/// A namespace with a bridge `br0`.
#[derive(Debug)]
struct Switch {
    netns: Netns,
    pass: PassProgram,
}

impl Switch {
    /// Makes it. Snooping is off, so that no query interval delays neighbour discovery.
    fn new(object: &Path) -> Result<Self> {
        Self::with_mtu(object, INNER_MTU)
    }

    /// Makes it for ports of an MTU.
    fn with_mtu(object: &Path, mtu: u32) -> Result<Self> {
        let netns = Netns::new("switch")?;
        netns.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0")?;
        netns.ip(&format!("link set br0 mtu {mtu} up"))?;
        Ok(Self { netns, pass: PassProgram::load(object)? })
    }

    /// Gives `host` an interface whose other end is a port of the bridge.
    fn plug(&self, host: &Host, device: &str, mtu: u32, v4: IpAddr, v6: IpAddr) -> Result<()> {
        interrupt::check()?;
        let (port, peer) = (&host.name, host.netns.name());
        self.netns.ip(&format!("link add {port} type veth peer name {device} netns {peer}"))?;
        self.netns.ip(&format!("link set {port} mtu {mtu} master br0 up"))?;
        disable_offloads(&self.netns, port)?;
        self.pass.attach(&self.netns, port)?;
        host.set_addresses(device, v4, v6, mtu)
    }
}

/// Joins the `eth0` of two hosts. The first carries the passing program, so that the second may transmit to it.
fn connect(first: &Host, second: &Host, mtu: u32, pass: &PassProgram) -> Result<()> {
    first.netns.ip(&format!("link add eth0 type veth peer name eth0 netns {}", second.netns.name()))?;
    for host in [first, second] {
        host.set_addresses("eth0", host.v4, host.v6, mtu)?;
    }
    pass.attach(&first.netns, "eth0")
}

fn disable_offloads(netns: &Netns, device: &str) -> Result<()> {
    netns.output(Command::new("ethtool").args(["-K", device, "tx", "off"])).map(drop)
}
