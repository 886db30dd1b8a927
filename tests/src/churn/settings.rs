//! The balancer's file as the script of events edits it. Displays as TOML.
//!
//! Unlike `crate::config` it has every key that an event changes, and maps with room for thousands of connections.

use std::{
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::server::Ports;
use crate::topology::Host;

/// How the names of services begin that edits leave alone, so that their slots stay settled.
pub(super) const STEADY: &str = "grace";

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) interfaces: Vec<String>,
    pub(super) socket: PathBuf,
    pub(super) pin_path: PathBuf,
    /// File that keeps what a daemon's next life has to know besides what is pinned.
    pub(super) state_path: PathBuf,
    /// Addresses of all balancers of the fleet; none where they are not to talk to each other.
    pub(super) peers: Vec<IpAddr>,
    pub(super) services: Vec<Service>,
}

/// A TCP service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Service {
    pub(super) name: String,
    /// VIP and port; port 0 stands for every port.
    pub(super) address: SocketAddr,
    /// Port of its probes, where it has any.
    pub(super) probe: Option<u16>,
    /// Other keys of its own, whose values are strings.
    pub(super) keys: Vec<(String, String)>,
    pub(super) backends: Vec<Backend>,
}

/// A backend of one service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) forwarding: &'static str,
    pub(super) weight: u32,
    pub(super) admin: &'static str,
}

impl Service {
    /// A service whose backends are all of `hosts`: the odd ones by `ipip`, the even ones by `l2`.
    pub(super) fn new(name: &str, vip: IpAddr, ports: Ports, hosts: &[Host]) -> Self {
        let backend = |(number, host): (usize, &Host)| Backend {
            name: host.name.clone(),
            address: if vip.is_ipv4() { host.v4 } else { host.v6 },
            forwarding: if number % 2 == 0 { "ipip" } else { "l2" },
            weight: 1,
            admin: "ready",
        };
        Self {
            name: name.to_owned(),
            address: (vip, ports.service).into(),
            probe: Some(ports.probe),
            keys: Vec::new(),
            backends: hosts.iter().enumerate().map(backend).collect(),
        }
    }

    /// Adds a key of its own whose value is a string.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }
}

impl Settings {
    /// Changes backend `name` of every service but the steady ones.
    pub(super) fn edit(&mut self, name: &str, change: impl Fn(&mut Backend)) {
        let backends = self.edited().flat_map(|service| &mut service.backends);
        backends.filter(|backend| backend.name == name).for_each(change);
    }

    /// Takes backend `name` out of every service but the steady ones.
    pub(super) fn remove(&mut self, name: &str) {
        self.edited().for_each(|service| service.backends.retain(|backend| backend.name != name));
    }

    fn edited(&mut self) -> impl Iterator<Item = &mut Service> {
        self.services.iter_mut().filter(|service| !service.name.starts_with(STEADY))
    }

    /// The service `name`.
    pub(super) fn service(&mut self, name: &str) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.name == name)
    }
}

impl Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[balancer]\ninterfaces = {:?}", self.interfaces)?;
        for (key, path) in
            [("socket", &self.socket), ("pin_path", &self.pin_path), ("state_path", &self.state_path)]
        {
            writeln!(f, "{key} = \"{}\"", path.display())?;
        }
        writeln!(f, "\n[fleet]\nseed = \"000102030405060708090a0b0c0d0e0f\"")?;
        if !self.peers.is_empty() {
            let peers: Vec<_> = self.peers.iter().map(ToString::to_string).collect();
            writeln!(f, "peers = {peers:?}")?;
        }
        writeln!(f, "\n[limits]\nservices = 16\nbackends = 512\nslots = 200000\nconnections = 65536")?;
        self.services.iter().try_for_each(|service| write!(f, "\n{service}"))
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self.address.port() {
            0 => "\"any\"".to_owned(),
            port => port.to_string(),
        };
        writeln!(f, "[[service]]\nname = {:?}\naddress = \"{}\"", self.name, self.address.ip())?;
        writeln!(f, "port = {port}\nprotocol = \"tcp\"\nslots = 4099")?;
        self.keys.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value:?}"))?;
        match self.probe {
            Some(port) => writeln!(
                f,
                "\n[service.probe]\ntype = \"tcp\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 2\nfall = 3"
            )?,
            None => writeln!(f, "probe = {{ type = \"none\" }}")?,
        }
        self.backends.iter().try_for_each(|backend| write!(f, "\n{backend}"))
    }
}

impl Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, forwarding, weight, admin } = self;
        writeln!(f, "[[service.backend]]\nname = {name:?}\naddress = \"{address}\"")?;
        writeln!(f, "forwarding = {forwarding:?}\nweight = {weight}\nadmin = {admin:?}")
    }
}
