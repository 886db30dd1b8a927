//! VIPs on `lo`: a /32 or a /128 each, so that no neighbour counts as on-link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    AddressMessageBuilder,
    packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
};
use rustix::io::Errno;

use super::{HostError, state::AddressChange};
use crate::interface::Netlink;

/// The addresses of `lo`, whatever their prefix length.
pub(super) async fn addresses(netlink: &Netlink) -> Result<Vec<IpAddr>, HostError> {
    let index = netlink.interface("lo").await?.index;
    let failed = |source| HostError::Netlink { action: "list the addresses of lo".to_owned(), source };
    let request = netlink.0.address().get().set_link_index_filter(index);
    let messages: Vec<AddressMessage> = request.execute().try_collect().await.map_err(failed)?;
    Ok(messages.iter().filter_map(address_of).collect())
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })
}

/// Removes and adds addresses.
pub(super) async fn change(netlink: &Netlink, change: &AddressChange) -> Result<(), HostError> {
    let index = netlink.interface("lo").await?.index;
    for &address in &change.remove {
        remove(netlink, index, address).await?;
    }
    for &address in &change.add {
        add(netlink, index, address).await?;
    }
    Ok(())
}

/// Adds `address`; one that is there already is no error.
async fn add(netlink: &Netlink, index: u32, address: IpAddr) -> Result<(), HostError> {
    let mut request = netlink.0.address().add(index, address, host_prefix(address));
    if address.is_ipv6() {
        // The balancer and other backends have the address too, so detection would find a duplicate.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let result = request.execute().await;
    unless(result, Errno::EXIST, || format!("add {address} to lo"))
}

/// Removes `address`; one that is not there is no error.
async fn remove(netlink: &Netlink, index: u32, address: IpAddr) -> Result<(), HostError> {
    let result = netlink.0.address().del(message(index, address)).execute().await;
    unless(result, Errno::ADDRNOTAVAIL, || format!("remove {address} from lo"))
}

fn message(index: u32, address: IpAddr) -> AddressMessage {
    match address {
        IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(v4, 32).build(),
        IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(v6, 128).build(),
    }
}

const fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Forgives one error number.
fn unless(
    result: Result<(), rtnetlink::Error>,
    forgiven: Errno,
    action: impl FnOnce() -> String,
) -> Result<(), HostError> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -forgiven.raw_os_error() => Ok(()),
        other => other.map_err(|source| HostError::Netlink { action: action(), source }),
    }
}
