//! Ways of forwarding, each with VIPs of its own, so that one balancer serves all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_tests::{config::Service, topology::Host};

/// A way of forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    L2,
    Ipip,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// One service's place in the matrix that every kind of client goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) mode: Mode,
    pub(crate) family: Family,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::L2, Self::Ipip];

    /// Its name in a configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
        }
    }
}

impl Case {
    /// Every mode with every family.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::of(&Mode::ALL)
    }

    /// `modes` with every family.
    pub(crate) fn of(modes: &[Mode]) -> impl Iterator<Item = Self> {
        modes.iter().flat_map(|&mode| [Family::V4, Family::V6].map(|family| Self { mode, family }))
    }

    /// Its VIP: one for each mode, the same digits in both families.
    pub(crate) fn vip(self) -> IpAddr {
        let (decimal, hexadecimal) = match self.mode {
            Mode::L2 => (10, 0x10),
            Mode::Ipip => (20, 0x20),
        };
        match self.family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, decimal).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, hexadecimal).into(),
        }
    }

    /// The service's address.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        (self.vip(), port).into()
    }

    /// What the service on `port` is called.
    pub(crate) fn service_name(self, port: u16) -> String {
        format!("{}-{:?}-{port}", self.mode.name(), self.family).to_lowercase()
    }

    /// A TCP service on `port` with `backends`.
    pub(crate) fn service(self, port: u16, backends: &[Host]) -> Service {
        Service::new(&self.service_name(port), self.at(port)).with(self.mode.name(), backends)
    }

    /// Where a server on the backend `host` gets what is sent to the VIP.
    pub(crate) fn server_address(self, _host: &Host) -> IpAddr {
        self.vip()
    }

    /// The address of this family that `host` has itself.
    pub(crate) fn address_of(self, host: &Host) -> IpAddr {
        match self.family {
            Family::V4 => host.v4,
            Family::V6 => host.v6,
        }
    }
}
