//! Whether the replies to probes by the path of traffic reach this host's sockets, and at which address: pure.
//!
//! They come from the VIP to an address of the balancer's own. The kernel drops what it takes for a lie about where it comes
//! from: a source that is an address of its own, and, by `rp_filter`, one that it would send to by another interface.

use std::net::IpAddr;

use crate::neighbours::{NextHop, OwnWay};

/// Why probes of a VIP do not take the path of traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Detour {
    /// The kernel would keep them.
    #[error("{0} is an address of this host too, so that the kernel would keep them for itself")]
    OwnVip(IpAddr),
    /// Replies would be dropped.
    #[error(
        "their replies, from {vip} on {interface}, would be dropped by this host's reverse path filter: {remedy}, \
         and reload"
    )]
    Filtered {
        /// The VIP.
        vip: IpAddr,
        /// Where replies arrive.
        interface: String,
        /// What to do.
        remedy: String,
    },
    /// There is nothing to be answered at.
    #[error("this host has no address of the family of {0} to be answered at")]
    NoSource(IpAddr),
    /// The road could not be built, or not for this family.
    #[error("the road for them could not be built")]
    NoRoad,
}

/// What a backend answers to, if the answer will be heard. `rp_filter` tells the setting of an interface.
///
/// # Errors
///
/// [`Detour`].
pub fn source(
    vip: IpAddr,
    own: OwnWay,
    next_hop: &NextHop,
    rp_filter: impl Fn(&str) -> u8,
) -> Result<IpAddr, Detour> {
    if own == OwnWay::Home {
        return Err(Detour::OwnVip(vip));
    }
    if vip.is_ipv4() {
        filter(vip, own, next_hop, rp_filter)?;
    }
    match own {
        _ if next_hop.source.is_ipv4() == vip.is_ipv4() => Ok(next_hop.source),
        OwnWay::By { source, .. } => Ok(source),
        _ => Err(Detour::NoSource(vip)),
    }
}

/// Whether the reverse path filter lets a reply pass, where it comes by the interface by which the probe went
/// (`ip-sysctl.rst`, `rp_filter`: 1 is strict, 2 loose).
fn filter(
    vip: IpAddr,
    own: OwnWay,
    next_hop: &NextHop,
    rp_filter: impl Fn(&str) -> u8,
) -> Result<(), Detour> {
    // Behind a VLAN's tag lies an interface of another name and number.
    let is_back =
        matches!(own, OwnWay::By { ifindex, .. } if ifindex == next_hop.ifindex) || next_hop.vlan != 0;
    let interface = &next_hop.interface;
    let remedy = match (rp_filter(interface), own) {
        (1, OwnWay::By { .. }) if !is_back => format!("set net.ipv4.conf.{interface}.rp_filter to 2"),
        (1 | 2, OwnWay::Nowhere) => format!("add a route to {vip} by {interface}"),
        _ => return Ok(()),
    };
    Err(Detour::Filtered { vip, interface: interface.clone(), remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn next_hop() -> NextHop {
        NextHop {
            ifindex: 3,
            interface: "eth0".to_owned(),
            mac: [2; 6],
            source_mac: [4; 6],
            source: address("192.0.2.1"),
            mtu: 1500,
            vlan: 0,
            gateway: None,
        }
    }

    fn by(ifindex: u32) -> OwnWay {
        OwnWay::By { ifindex, source: address("192.0.2.7") }
    }

    #[test]
    fn filter_is_asked_as_the_kernel_asks_it() {
        // (rp_filter, way to the VIP, whether a reply is heard)
        let table = [
            (0, by(3), true),
            (0, by(4), true),
            (0, OwnWay::Nowhere, true),
            (1, by(3), true),
            (1, by(4), false),
            (1, OwnWay::Nowhere, false),
            (2, by(4), true),
            (2, OwnWay::Nowhere, false),
        ];
        for (setting, own, heard) in table {
            let source = source(VIP, own, &next_hop(), |_| setting);
            assert_eq!(source.is_ok(), heard, "{setting}, {own:?}: {source:?}");
            assert!(source.is_err() || source == Ok(address("192.0.2.1")));
        }
    }

    #[test]
    fn refusal_names_the_setting() {
        let refused = source(VIP, by(4), &next_hop(), |_| 1).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "their replies, from 203.0.113.10 on eth0, would be dropped by this host's reverse path filter: set \
             net.ipv4.conf.eth0.rp_filter to 2, and reload"
        );
    }

    #[test]
    fn tagged_replies_arrive_elsewhere_than_the_parent() {
        let tagged = NextHop { vlan: 7, ..next_hop() };
        assert!(source(VIP, by(4), &tagged, |_| 1).is_ok());
    }

    #[test]
    fn own_vip_is_kept_by_the_kernel() {
        assert_eq!(source(VIP, OwnWay::Home, &next_hop(), |_| 0), Err(Detour::OwnVip(VIP)));
    }

    #[test]
    fn vip_of_another_family_is_answered_at_the_address_of_its_own_route() {
        let vip = address("2001:db8::1");
        let own = OwnWay::By { ifindex: 4, source: address("2001:db8::9") };
        assert_eq!(source(vip, own, &next_hop(), |_| 1), Ok(address("2001:db8::9")));
        assert_eq!(source(vip, OwnWay::Nowhere, &next_hop(), |_| 0), Err(Detour::NoSource(vip)));
    }
}
