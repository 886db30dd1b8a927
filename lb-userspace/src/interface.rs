//! Network interfaces, asked for over netlink, and the XDP programs that they have.

use std::io;

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, netdevice::name_to_index, socket},
};
use serde::{Deserialize, Serialize};

/// Why an interface could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// There is no such interface.
    #[error("there is no interface {0:?}; `ip link` lists those that exist")]
    Unknown(String),
    /// The kernel refused a request.
    #[error("cannot look up interface {name:?}")]
    Netlink {
        /// The interface.
        name: String,
        /// What was said.
        #[source]
        source: rtnetlink::Error,
    },
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's stack, which has copied every packet by then.
    Generic,
}

impl Mode {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The index of an interface, in the network namespace of the thread that asks.
///
/// # Errors
///
/// There is none of that name.
pub fn index_of(name: &str) -> io::Result<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(name_to_index(socket, name)?)
}

/// A netlink connection. It belongs to the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub struct Netlink(pub Handle);

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Bytes of IP packet that it carries.
    pub mtu: u32,
    /// The XDP program that it has.
    pub program: Option<Attached>,
    /// Names of a bond's members, sorted; none where it is no bond.
    pub members: Vec<String>,
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    /// The kernel's number of the program.
    pub id: u32,
    /// How it is attached.
    pub mode: Mode,
}

/// The largest MTU whose frames surely lie in one piece. Drivers draw the line somewhere beyond: what a page holds beside the
/// kernel's own data is some 3500 bytes.
pub const ONE_PIECE: u32 = 3000;

impl Interface {
    /// Whether its frames may consist of several pieces, so that it takes only programs that know how to live with that.
    #[must_use]
    pub const fn has_large_frames(&self) -> bool {
        self.mtu > ONE_PIECE
    }
}

impl Netlink {
    /// Opens a connection, and starts the task that reads from it. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`InterfaceError::Socket`].
    pub fn open() -> Result<Self, InterfaceError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(InterfaceError::Socket)?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Looks an interface up.
    ///
    /// # Errors
    ///
    /// [`InterfaceError::Unknown`] and [`InterfaceError::Netlink`].
    pub async fn interface(&self, name: &str) -> Result<Interface, InterfaceError> {
        let unknown = || InterfaceError::Unknown(name.to_owned());
        let mut links = Box::pin(self.0.link().get().match_name(name).execute());
        let link = match links.try_next().await {
            Ok(Some(link)) => link,
            Ok(None) => return Err(unknown()),
            Err(rtnetlink::Error::NetlinkError(error)) if is_no_device(error.raw_code()) => {
                return Err(unknown());
            }
            Err(source) => return Err(InterfaceError::Netlink { name: name.to_owned(), source }),
        };
        let program = link.attributes.iter().find_map(attached);
        let index = link.header.index;
        let members = if is_bond(&link) { members(&self.links(name).await?, index) } else { Vec::new() };
        let mtu = link.attributes.iter().find_map(mtu).unwrap_or_default();
        Ok(Interface { name: name.to_owned(), index, mtu, program, members })
    }

    /// All links, for the sake of the one called `name`.
    async fn links(&self, name: &str) -> Result<Vec<LinkMessage>, InterfaceError> {
        let refused = |source| InterfaceError::Netlink { name: name.to_owned(), source };
        self.0.link().get().execute().try_collect().await.map_err(refused)
    }
}

/// Whether netlink's error number means that there is no such interface: `ENODEV`, or `ERANGE` and `EINVAL` for a name
/// that no interface can have.
fn is_no_device(code: i32) -> bool {
    [Errno::NODEV, Errno::RANGE, Errno::INVAL].iter().any(|errno| errno.raw_os_error() == -code)
}

const fn mtu(attribute: &LinkAttribute) -> Option<u32> {
    if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None }
}

fn is_bond(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Bond)))
    })
}

/// The names of those of `links` that belong to the link of that index.
fn members(links: &[LinkMessage], index: u32) -> Vec<String> {
    let belongs = |link: &&LinkMessage| link.attributes.contains(&LinkAttribute::Controller(index));
    let name = |link: &LinkMessage| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
    };
    let mut names: Vec<_> = links.iter().filter(belongs).filter_map(name).collect();
    names.sort_unstable();
    names
}

fn attached(attribute: &LinkAttribute) -> Option<Attached> {
    let LinkAttribute::Xdp(fields) = attribute else { return None };
    let id =
        fields.iter().find_map(|field| if let LinkXdp::ProgId(id) = field { Some(*id) } else { None })?;
    let generic = fields.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    Some(Attached { id, mode: if generic { Mode::Generic } else { Mode::Native } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, more: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = [vec![LinkAttribute::IfName(name.to_owned())], more].concat();
        message
    }

    fn of_kind(kind: InfoKind) -> Vec<LinkAttribute> {
        vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])]
    }

    #[test]
    fn bond_is_told_by_its_kind() {
        assert!(is_bond(&link(5, "bond0", of_kind(InfoKind::Bond))));
        assert!(!is_bond(&link(5, "bond0", of_kind(InfoKind::Bridge))));
        assert!(!is_bond(&link(5, "bond0", Vec::new())), "a name says nothing");
    }

    #[test]
    fn members_are_those_of_this_bond() {
        let links = [
            link(5, "bond0", of_kind(InfoKind::Bond)),
            link(4, "eth1", vec![LinkAttribute::Controller(5)]),
            link(3, "eth0", vec![LinkAttribute::Controller(5)]),
            link(2, "eth2", vec![LinkAttribute::Controller(6)]),
            link(1, "lo", Vec::new()),
        ];
        assert_eq!(members(&links, 5), ["eth0", "eth1"]);
        assert_eq!(members(&links, 7), Vec::<String>::new());
    }
}
