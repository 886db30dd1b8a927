//! The edge to the kernel: one netlink socket for questions, another for announcements.
//!
//! Two, because an announcement socket may overflow and lose messages, and an answer must not be among them.

use std::{io, net::IpAddr, pin::Pin, time::Duration};

use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        },
        route::RouteProtocol,
    },
};
use rustix::io::Errno;
use tokio::{task::JoinSet, time};

use super::{
    NeighboursError, Unreachable,
    resolver::Request,
    route::{self, Route},
    tables::{Hop, OWNER, Tables},
};

/// Announcements that concern next hops.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// The kernel answers before its side of the system call ends. An answer that is not here by then could not be decoded.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the kernel announced.
pub(super) enum Announcement {
    /// Something changed.
    Message(RouteNetlinkMessage),
    /// Messages were lost, because they were not read in time.
    Overrun,
}

/// The socket of announcements, open until it is dropped.
pub(super) struct Announcements {
    stream: Pin<Box<dyn Stream<Item = Announcement> + Send>>,
    _connection: JoinSet<()>,
}

impl Announcements {
    /// Opens the socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        let stream = Box::pin(messages.filter_map(async |(message, _)| announcement(message)));
        Ok(Self { stream, _connection: spawn(connection) })
    }

    /// Waits for an announcement; none if the socket died. May be cancelled without loss.
    pub(super) async fn next(&mut self) -> Option<Announcement> {
        self.stream.next().await
    }

    /// An announcement that is already here.
    pub(super) fn queued(&mut self) -> Option<Announcement> {
        self.stream.next().now_or_never().flatten()
    }
}

/// The socket of questions and wishes, open until it is dropped.
pub(super) struct Questions {
    handle: Handle,
    _connection: JoinSet<()>,
}

impl Questions {
    /// Opens the socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, _connection: spawn(connection) })
    }

    /// Reads all links and neighbours.
    pub(super) async fn tables(&self) -> Result<Tables, NeighboursError> {
        let mut tables = Tables::default();
        let mut links = Box::pin(self.handle.link().get().execute());
        let failed = |what| move |source| NeighboursError::Dump { what, source };
        while let Some(link) = links.try_next().await.map_err(failed("links"))? {
            tables.insert_link(&link);
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let dump = self.handle.neighbours().get().set_address_family(family);
            let mut neighbours = Box::pin(dump.execute());
            while let Some(entry) = neighbours.try_next().await.map_err(failed("neighbours"))? {
                tables.insert_neighbour(&entry);
            }
        }
        Ok(tables)
    }

    /// Asks which way packets for `destination` take.
    pub(super) async fn route(&self, destination: IpAddr) -> Result<Route, Unreachable> {
        let mut answers = Box::pin(self.handle.route().get(route::request(destination)).execute());
        match time::timeout(ANSWER_TIMEOUT, answers.try_next()).await {
            Ok(Ok(Some(message))) => route::parse(&message),
            Ok(Err(rtnetlink::Error::NetlinkError(error))) => Err(route::refusal(&error)),
            Ok(Err(error)) => Err(Unreachable::Lookup(error.to_string())),
            Ok(Ok(None)) | Err(_) => Err(Unreachable::Lookup("no answer".to_owned())),
        }
    }

    /// Sends a wish about an entry of the neighbour table. That the entry appeared or went away meanwhile is no error:
    /// its announcement is on the way.
    pub(super) async fn send(&self, request: Request) -> io::Result<()> {
        let (message, flags, harmless) = match request {
            Request::Create(hop) => (manage(hop), NLM_F_CREATE | NLM_F_EXCL, Errno::EXIST),
            Request::Adopt(hop) => (manage(hop), 0, Errno::NOENT),
            Request::Release(hop) => (release(hop), 0, Errno::NOENT),
        };
        match self.acknowledged(message, flags).await {
            Err(error) if Errno::from_io_error(&error) == Some(harmless) => Ok(()),
            result => result,
        }
    }

    async fn acknowledged(&self, message: NeighbourMessage, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.clone().request(message).map_err(io::Error::other)?;
        match time::timeout(ANSWER_TIMEOUT, answers.next()).await {
            Ok(Some(NetlinkMessage { payload: NetlinkPayload::Error(error), .. })) => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

/// Has `connection` served until the set is dropped.
fn spawn(connection: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    connections
}

fn announcement(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Announcement> {
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => Some(Announcement::Message(inner)),
        NetlinkPayload::Overrun(_) => Some(Announcement::Overrun),
        _ => None,
    }
}

/// Has the kernel resolve `hop` at once and keep it resolved. A kernel before 5.16 ignores the second half.
fn manage(hop: Hop) -> NeighbourMessage {
    let mut message = entry(hop, OWNER);
    message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    message
}

/// Ends management without removing what was learned: the host itself may be using the entry. Such an update without
/// the flag clears it.
fn release(hop: Hop) -> NeighbourMessage {
    entry(hop, RouteProtocol::Kernel)
}

/// `NTF_USE` keeps the entry's state and address. Sent for a permanent entry it would make it an ordinary one.
fn entry(hop: Hop, protocol: RouteProtocol) -> NeighbourMessage {
    let (family, destination) = match hop.address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = hop.ifindex;
    message.header.flags = NeighbourFlags::Use;
    message.attributes =
        vec![NeighbourAttribute::Destination(destination), NeighbourAttribute::Protocol(protocol)];
    message
}
