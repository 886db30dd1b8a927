//! Fragments, where no service wants them, and where services do.

use lb_common::counter::Reason::{Fragment, FragmentUnknown, NotOurs};
use lb_tests::packet::{ICMP, Packet, UDP};

use crate::{
    case::Case,
    expected::{ipip, l2},
    scenes::{FRAGMENTS, IPIP_V4, V4, ip},
};

/// First, middle, last: offset and whether more follow.
const PLACES: [(&str, (u16, bool)); 3] =
    [("first", (0, true)), ("middle", (185, true)), ("last", (370, false))];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, fragment) in PLACES {
        for (family, whole) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
            let elsewhere = if whole.destination.is_ipv4() { "203.0.113.99" } else { "2001:db8:113::99" };
            let tcp = Packet { fragment: Some(fragment), ..whole };
            let udp = Packet { protocol: UDP, ..tcp.clone() };
            let other = Packet { destination: ip(elsewhere), ..tcp.clone() };
            cases.push(IPIP_V4.drops(format!("{place} fragment of {family} TCP"), tcp, Fragment));
            cases.push(IPIP_V4.drops(format!("{place} fragment of {family} UDP"), udp, Fragment));
            cases.push(IPIP_V4.passes(
                format!("{place} {family} fragment for another address"),
                other,
                NotOurs,
            ));
        }
    }
    cases.extend(edges());
    cases.extend(wanted());
    cases
}

fn edges() -> Vec<Case> {
    let at = |fragment| Packet { fragment: Some(fragment), ..Packet::default() };
    let unfragmented = at((0, false));
    vec![
        IPIP_V4.drops("the last offset there is", at((0x1fff, false)), Fragment),
        IPIP_V4.drops("an offset of eight bytes, into the TCP header", at((1, false)), Fragment),
        IPIP_V4.drops("a fragment with options", Packet { options: vec![1; 4], ..at((0, true)) }, Fragment),
        IPIP_V4.drops("a fragment of ICMP", Packet { protocol: ICMP, ..at((0, true)) }, Fragment),
        IPIP_V4.sends("neither offset nor more is no fragment", &unfragmented, ipip(&unfragmented, ip(V4))),
        IPIP_V4.drops("an IPv6 fragment behind a hop-by-hop header", behind_hop_by_hop(), Fragment),
    ]
}

fn behind_hop_by_hop() -> Packet {
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    Packet { extensions: vec![hop_by_hop], fragment: Some((0, true)), ..Packet::v6() }
}

fn wanted() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, whole) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        for (protocol, whole) in [("TCP", whole.clone()), ("UDP", Packet { protocol: UDP, ..whole })] {
            let first = Packet { fragment: Some((0, true)), ..whole.clone() };
            let last = Packet { fragment: Some((370, false)), ..whole.clone() };
            let sent = l2(&first, ip(V4));
            cases.push(FRAGMENTS.sends(format!("first {family} fragment of {protocol}"), &first, sent));
            let sent = l2(&last, ip(V4));
            let name = format!("last {family} fragment of {protocol} after its first");
            cases.push(FRAGMENTS.sends(name, &last, sent).after(&first));
            let source = if last.source.is_ipv4() { "192.0.2.99" } else { "2001:db8:c::99" };
            let strange = Packet { source: ip(source), ..last };
            let name = format!("last {family} fragment of {protocol} without its first");
            cases.push(FRAGMENTS.drops(name, strange, FragmentUnknown));
        }
    }
    cases
}
