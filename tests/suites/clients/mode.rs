//! Ways of forwarding, each with VIPs of its own, so that one balancer serves all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_tests::{config::Service, topology::Host};

/// UDP port of GUE tunnels.
pub(crate) const GUE_PORT: u16 = 6080;

/// A way of forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    L2,
    Ipip,
    Gue,
    /// GUE's variant 1, which has no header of its own.
    GueDirect,
    Nat,
}

/// What packets of [`Mode::Nat`] are translated to. The backends' way to it is the one to the clients.
pub(crate) const POOL: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 250)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xfa, 0, 0, 0, 0, 1)),
];

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
    pub(crate) const ALL: [Self; 5] = [Self::L2, Self::Ipip, Self::Gue, Self::GueDirect, Self::Nat];

    /// Those whose replies go directly to the client.
    pub(crate) const DIRECT: [Self; 4] = [Self::L2, Self::Ipip, Self::Gue, Self::GueDirect];

    /// Its name in a configuration.
    fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue | Self::GueDirect => "gue",
            Self::Nat => "nat",
        }
    }

    /// Further keys of its services.
    fn settings(self) -> String {
        match self {
            Self::Gue => format!("gue = {{ port = {GUE_PORT}, variant = 0 }}"),
            Self::GueDirect => format!("gue = {{ port = {GUE_PORT}, variant = 1 }}"),
            _ => String::new(),
        }
    }

    /// Bytes of what it puts between outer IP header and packet, and whether there is an outer IP header.
    fn overhead(self, outer: u32) -> u32 {
        match self {
            Self::L2 | Self::Nat => 0,
            Self::Ipip => outer,
            Self::Gue => outer + 8 + 4,
            Self::GueDirect => outer + 8,
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
        let number = 1 + self.mode as u8;
        match self.family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, 10 * number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10 * u16::from(number)).into(),
        }
    }

    /// The service's address.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        (self.vip(), port).into()
    }

    /// What the service on `port` is called.
    pub(crate) fn service_name(self, port: u16) -> String {
        format!("{:?}-{:?}-{port}", self.mode, self.family).to_lowercase()
    }

    /// A TCP service on `port` with `backends`.
    pub(crate) fn service(self, port: u16, backends: &[Host]) -> Service {
        let service = Service::new(&self.service_name(port), self.at(port)).with(self.mode.name(), backends);
        Service { settings: self.mode.settings(), ..service }
    }

    /// The address that `host` serves it at: the VIP, which is on `lo`, or its own.
    pub(crate) fn served_at(self, host: &Host) -> IpAddr {
        if self.mode == Mode::Nat { self.address_of(host) } else { self.vip() }
    }

    /// The address that backends see `client` at: its own, or the balancer's.
    pub(crate) fn seen_as(self, client: &Host) -> IpAddr {
        if self.mode == Mode::Nat { POOL[self.family as usize] } else { self.address_of(client) }
    }

    /// Bytes that the mode puts around a packet, between balancer and backend.
    pub(crate) fn overhead(self) -> u32 {
        self.mode.overhead(if self.family == Family::V4 { 20 } else { 40 })
    }

    /// The address of this family that `host` has itself.
    pub(crate) fn address_of(self, host: &Host) -> IpAddr {
        match self.family {
            Family::V4 => host.v4,
            Family::V6 => host.v6,
        }
    }
}
