//! Network interfaces, asked for over netlink, and the XDP programs that they have.

use std::io;

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::link::{LinkAttribute, LinkXdp, XdpAttached},
};
use rustix::io::Errno;
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
        let mtu = link.attributes.iter().find_map(mtu).unwrap_or_default();
        Ok(Interface { name: name.to_owned(), index: link.header.index, mtu, program })
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

fn attached(attribute: &LinkAttribute) -> Option<Attached> {
    let LinkAttribute::Xdp(fields) = attribute else { return None };
    let id =
        fields.iter().find_map(|field| if let LinkXdp::ProgId(id) = field { Some(*id) } else { None })?;
    let generic = fields.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    Some(Attached { id, mode: if generic { Mode::Generic } else { Mode::Native } })
}
