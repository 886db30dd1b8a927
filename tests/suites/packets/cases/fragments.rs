//! Fragments, where no service wants them, and where services do.

use lb_common::counter::Reason::{Fragment, FragmentUnknown, NotOurs, Truncated};
use lb_tests::packet::{ICMP, Packet, UDP};

use crate::{
    case::Case,
    expected::{gue, ipip, l2},
    scenes::{FRAGMENTS, FRAGMENTS_GUE, FRAGMENTS_IPIP, IPIP_V4, V4, ip},
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
    cases.extend(tunnelled());
    cases.extend(odd());
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

/// A packet's parts through tunnels, each with an outer header of its own.
fn tunnelled() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, whole) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        let part = |fragment| Packet { fragment: Some(fragment), ..whole.clone() };
        let first = part((0, true));
        for (place, fragment) in PLACES {
            let part = part(fragment);
            let (sent, in_udp) = (ipip(&part, ip(V4)), gue(&part, ip(V4)));
            cases.push(
                FRAGMENTS_IPIP.sends(format!("{place} {family} fragment by ipip"), &part, sent).after(&first),
            );
            cases.push(
                FRAGMENTS_GUE.sends(format!("{place} {family} fragment by gue"), &part, in_udp).after(&first),
            );
        }
    }
    cases
}

/// The frame of the first fragment, ended behind `transport` bytes of what IP carries.
fn ended(first: &Packet, transport: usize) -> Vec<u8> {
    let (at, headers, ip_header) = if first.destination.is_ipv4() { (16, 20, 20) } else { (18, 48, 40) };
    let mut frame = first.build();
    frame.truncate(14 + headers + transport);
    let announced =
        if first.destination.is_ipv4() { headers + transport } else { headers - ip_header + transport };
    frame[at..at + 2].copy_from_slice(&(announced as u16).to_be_bytes());
    frame
}

/// Fragments out of order, alone, too short, or of more than fragments ought to have. Each from a source of its own.
fn odd() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, prefix, whole) in
        [("IPv4", "192.0.2.", Packet::default()), ("IPv6", "2001:db8:c::", Packet::v6())]
    {
        let from = |last: u8| Packet { source: ip(&format!("{prefix}{last}")), ..whole.clone() };
        let part = |last, fragment| Packet { fragment: Some(fragment), ..from(last) };
        let (first, last) = (part(51, (0, true)), part(51, (370, false)));
        cases.push(
            FRAGMENTS
                .sends(
                    format!("an {family} fragment after one that came too early"),
                    &last,
                    l2(&last, ip(V4)),
                )
                .after(&last)
                .after(&first),
        );
        let early = part(52, (185, true));
        cases.push(FRAGMENTS.drops(format!("an {family} fragment before its first"), early, FragmentUnknown));
        let twice = part(53, (0, true));
        cases.push(
            FRAGMENTS
                .sends(format!("a first {family} fragment that is sent again"), &twice, l2(&twice, ip(V4)))
                .after(&twice),
        );
        let other = Packet { protocol: UDP, ..part(54, (185, false)) };
        let of_tcp = part(54, (0, true));
        let name = format!("a later {family} fragment of another protocol");
        // Over IPv6 a later fragment does not say what it is of.
        cases.push(if family == "IPv4" {
            FRAGMENTS.drops(name, other, FragmentUnknown).after(of_tcp)
        } else {
            FRAGMENTS.sends(name, &other, l2(&other, ip(V4))).after(of_tcp)
        });
        for transport in [0, 7, 8, 19] {
            let tiny = ended(&part(55, (0, true)), transport);
            cases.push(FRAGMENTS.drops(
                format!("a first {family} fragment of {transport} bytes of TCP"),
                tiny,
                Truncated,
            ));
        }
        for transport in [0, 7] {
            let tiny = ended(&Packet { protocol: UDP, ..part(56, (0, true)) }, transport);
            cases.push(FRAGMENTS.drops(
                format!("a first {family} fragment of {transport} bytes of UDP"),
                tiny,
                Truncated,
            ));
        }
        let unknown = Packet { protocol: ICMP, ..part(57, (0, true)) };
        cases.push(FRAGMENTS.drops(
            format!("a first {family} fragment of neither TCP nor UDP"),
            unknown,
            Fragment,
        ));
        let elsewhere = Packet { destination_port: 81, ..part(58, (0, true)) };
        cases.push(FRAGMENTS.passes(
            format!("a first {family} fragment for another port"),
            elsewhere,
            NotOurs,
        ));
        let after = part(59, (370, false));
        let before = Packet { destination_port: 81, ..part(59, (0, true)) };
        cases.push(
            FRAGMENTS
                .passes(format!("a later {family} fragment for another port"), after, NotOurs)
                .after(before),
        );
    }
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let atomic = Packet { fragment: Some((0, false)), ..Packet::v6() };
    cases.push(FRAGMENTS.sends("an IPv6 packet in one fragment (RFC 6946)", &atomic, l2(&atomic, ip(V4))));
    let behind = Packet {
        extensions: vec![hop_by_hop],
        fragment: Some((0, true)),
        source: ip("2001:db8:c::60"),
        ..Packet::v6()
    };
    cases.push(FRAGMENTS.sends(
        "a first IPv6 fragment behind a hop-by-hop header",
        &behind,
        l2(&behind, ip(V4)),
    ));
    let tagged = Packet {
        tags: vec![(0x88a8, 5), (0x8100, 6)],
        options: vec![1; 12],
        fragment: Some((0, true)),
        source: ip("192.0.2.61"),
        ..Packet::default()
    };
    cases.push(FRAGMENTS.sends("a first IPv4 fragment with options in QinQ", &tagged, l2(&tagged, ip(V4))));
    cases
}
