//! The devices of the road, and the rule and the routes that lead marked packets to it.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::way::{NUMBER_BITS, NUMBER_MASK};
use rtnetlink::{
    Error, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};
use rustix::io::Errno;
use tracing::info;

use super::RoadError;
use crate::{
    causes::with_causes,
    interface::{InterfaceError, Netlink},
};

/// Before the rules that operators give (`ip rule` counts down from 32765), and behind that of the host's own addresses.
const PRIORITY: u32 = 90;

/// The least that IPv6 lets a link carry, so that whatever is sent fits through any tunnel.
const MTU: u32 = 1280;

/// The devices.
#[derive(Debug)]
pub(super) struct Pair {
    /// Where the host's stack sends.
    pub(super) near: String,
    /// Where it arrives.
    pub(super) far_index: u32,
    /// Whether IPv6 is led to it too.
    pub(super) carries_v6: bool,
}

/// The name of the near and of the far device: two daemons of one host have marks of their own.
fn names(mark: u32) -> (String, String) {
    let upper = mark >> NUMBER_BITS;
    (format!("sluice-p{upper:03x}"), format!("sluice-w{upper:03x}"))
}

/// Makes the devices, and leads the packets with that mark to them.
pub(super) async fn make(netlink: &Netlink, mark: u32) -> Result<Pair, RoadError> {
    remove(netlink, mark).await?;
    let (near, far) = names(mark);
    let failed = |what| move |source| RoadError::Netlink(what, source);
    let links = netlink.0.link();
    links
        .add(LinkVeth::new(&near, &far).build())
        .execute()
        .await
        .map_err(failed("make a pair of devices"))?;
    let (near_index, far_index) =
        (netlink.interface(&near).await?.index, netlink.interface(&far).await?.index);
    // Nobody answers there, so nobody is to be asked.
    let set = LinkUnspec::new_with_index(near_index).arp(false).multicast(false).mtu(MTU).up();
    links.set(set.build()).execute().await.map_err(failed("set a device up"))?;
    let set = LinkUnspec::new_with_index(far_index).arp(false).multicast(false).up();
    links.set(set.build()).execute().await.map_err(failed("set a device up"))?;
    lead(netlink, mark, near_index, AddressFamily::Inet)
        .await
        .map_err(failed("lead marked IPv4 packets to a device"))?;
    let v6 = lead(netlink, mark, near_index, AddressFamily::Inet6).await;
    if let Err(error) = &v6 {
        info!("probes of IPv6 VIPs cannot take the way of traffic: {}", with_causes(error));
    }
    Ok(Pair { near, far_index, carries_v6: v6.is_ok() })
}

/// A table of its own, numbered as the mark, with nothing but a default route, and the rule that sends marked packets there.
async fn lead(netlink: &Netlink, mark: u32, to: u32, family: AddressFamily) -> Result<(), Error> {
    let routes = netlink.0.route();
    let route = if family == AddressFamily::Inet6 {
        RouteMessageBuilder::<Ipv6Addr>::new().output_interface(to).table_id(mark).build()
    } else {
        RouteMessageBuilder::<Ipv4Addr>::new().output_interface(to).table_id(mark).build()
    };
    routes.add(route).execute().await?;
    let mut request = netlink.0.rule().add();
    *request.message_mut() = rule(mark, family);
    request.execute().await
}

fn rule(mark: u32, family: AddressFamily) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::FwMark(mark),
        RuleAttribute::FwMask(!NUMBER_MASK),
        RuleAttribute::Table(mark),
    ];
    rule
}

/// Removes them, as far as they are there. With the device its routes go, and with one device its peer.
pub(super) async fn remove(netlink: &Netlink, mark: u32) -> Result<(), RoadError> {
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let removed = netlink.0.rule().del(rule(mark, family)).execute().await;
        absent_or(removed)
            .map_err(|source| RoadError::Netlink("remove the rule of marked packets", source))?;
    }
    let index = match netlink.interface(&names(mark).0).await {
        Ok(interface) => interface.index,
        Err(InterfaceError::Unknown(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let removed = netlink.0.link().del(index).execute().await;
    absent_or(removed).map_err(|source| RoadError::Netlink("remove the pair of devices", source))
}

/// That something is not there is no error; nor that the host knows no IPv6.
fn absent_or(result: Result<(), Error>) -> Result<(), Error> {
    const HARMLESS: [Errno; 4] = [Errno::NOENT, Errno::NODEV, Errno::AFNOSUPPORT, Errno::OPNOTSUPP];
    match result {
        Err(Error::NetlinkError(error))
            if HARMLESS.iter().any(|errno| errno.raw_os_error() == -error.raw_code()) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ_by_the_marks_upper_bits() {
        let (near, far) = names(0xfff0_0000);
        assert_eq!((near.as_str(), far.as_str()), ("sluice-pfff", "sluice-wfff"));
        assert_ne!(names(0x5a50_0000), names(0x5a60_0000));
    }
}
