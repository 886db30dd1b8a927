//! Configuration files for the balancer under test.

use std::{
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::topology::Host;

/// A configuration with small maps, so that dumps of them are short. Displays as TOML.
#[derive(Clone, Debug)]
pub struct Config {
    /// Interfaces that clients' packets arrive at.
    pub interfaces: Vec<String>,
    /// Admin socket. The state file lies beside it.
    pub socket: PathBuf,
    /// Directory of the pins.
    pub pin_path: PathBuf,
    /// Further lines of TOML for `[balancer]`.
    pub balancer: String,
    /// Addresses of all balancers of the fleet.
    pub peers: Vec<IpAddr>,
    /// The services.
    pub services: Vec<Service>,
}

/// A service with a probe of the backends' web server, whatever port the service has: iperf3, for one, serves a
/// single client, and takes a probe for it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// VIP and port.
    pub address: SocketAddr,
    /// `tcp`, `udp` or `quic`.
    pub protocol: &'static str,
    /// Further lines of TOML for its table.
    pub settings: String,
    /// The backends.
    pub backends: Vec<Backend>,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// The host's address.
    pub address: IpAddr,
    /// How packets get to it.
    pub forwarding: &'static str,
    /// Its weight.
    pub weight: u32,
    /// Further lines of TOML for its table.
    pub settings: String,
}

impl Service {
    /// A TCP service without backends.
    #[must_use]
    pub fn new(name: &str, address: SocketAddr) -> Self {
        let (name, settings) = (name.to_owned(), String::new());
        Self { name, address, protocol: "tcp", settings, backends: Vec::new() }
    }

    /// Adds hosts as backends of weight 1, each by its address of the VIP's family.
    #[must_use]
    pub fn with<'a>(mut self, forwarding: &'static str, hosts: impl IntoIterator<Item = &'a Host>) -> Self {
        let v4 = self.address.is_ipv4();
        self.backends.extend(hosts.into_iter().map(|host| Backend {
            name: host.name.clone(),
            address: if v4 { host.v4 } else { host.v6 },
            forwarding,
            weight: 1,
            settings: String::new(),
        }));
        self
    }
}

impl Display for Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "[balancer]\ninterfaces = {:?}", self.interfaces)?;
        writeln!(
            out,
            "socket = \"{}\"\npin_path = \"{}\"\nstate_path = \"{}\"\n{}\n",
            self.socket.display(),
            self.pin_path.display(),
            self.socket.with_extension("json").display(),
            self.balancer
        )?;
        writeln!(out, "[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"")?;
        let peers: Vec<_> = self.peers.iter().map(ToString::to_string).collect();
        writeln!(out, "peers = {peers:?}\n")?;
        writeln!(out, "[limits]\nservices = 64\nbackends = 64\nslots = 200000\nconnections = 65536")?;
        self.services.iter().try_for_each(|service| write!(out, "\n{service}"))
    }
}

impl Display for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "[[service]]\nname = {:?}", self.name)?;
        writeln!(out, "address = \"{}\"\nport = {}", self.address.ip(), self.address.port())?;
        writeln!(out, "protocol = {:?}\nforwarding = \"l2\"\nslots = 4099", self.protocol)?;
        writeln!(out, "{}\n", self.settings)?;
        writeln!(
            out,
            "[service.probe]\ntype = \"tcp\"\nport = 80\ninterval = \"200ms\"\ntimeout = \"150ms\"\nrise = 2\nfall = 2"
        )?;
        self.backends.iter().try_for_each(|backend| write!(out, "\n{backend}"))
    }
}

impl Display for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "[[service.backend]]\nname = {:?}\naddress = \"{}\"", self.name, self.address)?;
        writeln!(out, "weight = {}\nforwarding = \"{}\"", self.weight, self.forwarding)?;
        writeln!(out, "{}", self.settings)
    }
}
