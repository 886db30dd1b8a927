//! Next hops: where a packet for a backend leaves this host, with which MAC addresses.
//!
//! The fast path asks no FIB and no neighbour table, so somebody has to know the answer beforehand, and learn of every
//! change. That is one task, [`Neighbours::run`]. It mirrors the kernel's links and neighbours (`tables`), asks for
//! the route of each wanted address (`route`), joins both (`resolve`) and sends what became different. An entry
//! that nobody talks through would go stale, and a moved backend would stay unnoticed: the task has the kernel itself
//! keep the wanted entries resolved (`NTF_EXT_MANAGED`, kernel 5.16; re-requested on a timer before that).
//!
//! What it writes to the kernel is only that wish. Permanent, `noarp` and externally learned entries are left alone.
//! Entries under management carry the protocol 76, so those of a daemon that was killed are taken over by
//! the next one, or released where they are no longer wanted.
//!
//! A netlink socket belongs to the network namespace of the thread that opens it, whatever the thread enters later:
//! call [`Neighbours::open`] on a thread that is in the right one.

mod netlink;
mod resolve;
mod resolver;
mod route;
mod tables;
mod task;

use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    net::IpAddr,
    sync::Arc,
};

pub use task::Neighbours;

/// A MAC address, in the order of the wire.
pub type Mac = [u8; 6];

/// All that is needed to send a frame towards an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Index of the interface to send through. Of a VLAN interface it is the parent.
    pub ifindex: u32,
    /// Name of the interface of `ifindex`.
    pub interface: String,
    /// MAC address of the neighbour: the destination itself or its gateway.
    pub mac: Mac,
    /// MAC address that the kernel would send with: a VLAN interface's own, where that differs from its parent's.
    pub source_mac: Mac,
    /// The route's preferred source, for outer headers.
    pub source: IpAddr,
    /// Bytes of IP packet: the interface's MTU, or the route's where that is smaller. At most 65,535.
    pub mtu: u16,
    /// 802.1Q id to send with; 0: untagged.
    pub vlan: u16,
    /// The router that `mac` belongs to; none where the destination is a direct neighbour. May be of the other family.
    pub gateway: Option<IpAddr>,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        write!(f, "{mac} on {}", self.interface)?;
        if self.vlan != 0 {
            write!(f, " vlan {}", self.vlan)?;
        }
        self.gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))
    }
}

/// The way of this host's own packets to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnWay {
    /// It is an address of this host's.
    Home,
    /// By an interface, from an address.
    By {
        /// Index of the interface.
        ifindex: u32,
        /// The source.
        source: IpAddr,
    },
    /// There is none.
    Nowhere,
}

/// Asks which ways this host's own packets to these addresses take.
///
/// # Errors
///
/// [`NeighboursError::Open`].
pub async fn own_ways(to: &BTreeSet<IpAddr>) -> Result<HashMap<IpAddr, OwnWay>, NeighboursError> {
    let questions = netlink::Questions::open().map_err(NeighboursError::Open)?;
    let mut ways = HashMap::new();
    for &address in to {
        let way = match questions.route(address).await {
            Ok(route) => OwnWay::By { ifindex: route.ifindex, source: route.source },
            Err(Unreachable::Local) => OwnWay::Home,
            Err(_) => OwnWay::Nowhere,
        };
        ways.insert(address, way);
    }
    Ok(ways)
}

/// What is known about the next hop of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Packets can be sent. Addresses that are reached alike share it.
    Resolved(Arc<NextHop>),
    /// The kernel was asked to resolve the neighbour and has not finished.
    Pending,
    /// Packets cannot be sent, until something changes.
    Failed(Arc<Unreachable>),
}

/// Why packets cannot be sent to an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreachable {
    /// The routing table has nothing.
    #[error("no route")]
    NoRoute,
    /// The route is of a kind that sends nothing: blackhole, unreachable, prohibit.
    #[error("the route refuses packets ({0})")]
    Refused(&'static str),
    /// The address is this host's own.
    #[error("the address is this host's own")]
    Local,
    /// The address is a broadcast, multicast or anycast one.
    #[error("not a unicast address")]
    NotUnicast,
    /// The route pushes a header of its own (`encap`), which the fast path does not.
    #[error("the route encapsulates, which is not supported")]
    Encapsulated,
    /// No address of this host can be the source.
    #[error("the route has no source address")]
    NoSource,
    /// The kernel's answer makes no sense to us.
    #[error("route lookup failed: {0}")]
    Lookup(String),
    /// The interface is administratively down or has no carrier.
    #[error("interface {0} is down")]
    InterfaceDown(String),
    /// The interface is no Ethernet one: a tunnel, loopback, …
    #[error("interface {0} is not Ethernet")]
    NotEthernet(String),
    /// A VLAN interface other than 802.1Q directly on an interface of this namespace.
    #[error("VLAN interface {0} is not a single 802.1Q tag on an interface of this network namespace")]
    UnsupportedVlan(String),
    /// The neighbour does not answer ARP or neighbour solicitations.
    #[error("{hop} does not answer on {interface}")]
    Silent {
        /// The destination or its gateway.
        hop: IpAddr,
        /// Where it was asked.
        interface: String,
    },
}

/// Why resolution came to an end.
#[derive(Debug, thiserror::Error)]
pub enum NeighboursError {
    /// Netlink sockets could not be opened.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// Links or neighbours could not be read.
    #[error("cannot read the kernel's {what}")]
    Dump {
        /// Links or neighbours.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A netlink socket died.
    #[error("the netlink connection was closed")]
    Closed,
}
