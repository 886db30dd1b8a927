//! Tags: what arrives with which, and leaves with which.

use lb_common::counter::Reason::{Redirected, Transmitted};
use lb_tests::packet::Packet;

use crate::{
    case::{Case, Scene},
    expected::{Expected, gue_tagged, ipip_tagged, l2_tagged},
    scenes::{
        GUE_ELSEWHERE, GUE_V4, GUE_VLAN, IPIP_ELSEWHERE, IPIP_V4, IPIP_V6, IPIP_VLAN, L2_ELSEWHERE, L2_V4,
        L2_VLAN, L2_VLAN_ELSEWHERE, V4, V6, ip,
    },
};

type Tags = &'static [(u16, u16)];

/// Tags by what they are.
const ARRIVALS: [(&str, Tags); 6] = [
    ("no tag", &[]),
    ("priority alone, in no VLAN", &[(0x8100, 0xa000)]),
    ("a tag with priority", &[(0x8100, 0x2064)]),
    ("a service tag alone", &[(0x88a8, 5)]),
    ("QinQ", &[(0x88a8, 5), (0x8100, 6)]),
    ("two customer tags", &[(0x8100, 0xe005), (0x8100, 0x1006)]),
];

/// Where packets go with which tags: `None` are those that they came with.
struct Exit {
    name: &'static str,
    scene: &'static Scene,
    backend: &'static str,
    expected: fn(&Packet, std::net::IpAddr, &[(u16, u16)]) -> Expected,
    tags: Option<Tags>,
    /// Whether that is another interface.
    elsewhere: bool,
}

const EXITS: [Exit; 11] = [
    exit("l2, where it came in", &L2_V4, l2_tagged, None),
    exit("ipip, where it came in", &IPIP_V4, ipip_tagged, None),
    Exit { backend: V6, ..exit("ipip over IPv6, where it came in", &IPIP_V6, ipip_tagged, None) },
    exit("gue, where it came in", &GUE_V4, gue_tagged, None),
    exit("l2, another interface", &L2_ELSEWHERE, l2_tagged, Some(&[])),
    exit("ipip, another interface", &IPIP_ELSEWHERE, ipip_tagged, Some(&[])),
    exit("gue, another interface", &GUE_ELSEWHERE, gue_tagged, Some(&[])),
    exit("l2, a next hop in a VLAN", &L2_VLAN, l2_tagged, Some(&[(0x8100, 7)])),
    exit("ipip, a next hop in a VLAN", &IPIP_VLAN, ipip_tagged, Some(&[(0x8100, 7)])),
    exit("gue, a next hop in a VLAN", &GUE_VLAN, gue_tagged, Some(&[(0x8100, 7)])),
    Exit {
        elsewhere: true,
        ..exit(
            "l2, a next hop in a VLAN of another interface",
            &L2_VLAN_ELSEWHERE,
            l2_tagged,
            Some(&[(0x8100, 7)]),
        )
    },
];

const fn exit(
    name: &'static str,
    scene: &'static Scene,
    expected: fn(&Packet, std::net::IpAddr, &[(u16, u16)]) -> Expected,
    tags: Option<Tags>,
) -> Exit {
    // Untagged departures are the other interface's: by the same one, tags stay.
    let elsewhere = matches!(tags, Some([]));
    Exit { name, scene, backend: V4, expected, tags, elsewhere }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for exit in &EXITS {
        for (name, tags) in ARRIVALS {
            for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
                let packet = Packet { tags: tags.to_vec(), ..packet };
                let expected = (exit.expected)(&packet, ip(exit.backend), exit.tags.unwrap_or(tags));
                let reason = if exit.elsewhere { Redirected } else { Transmitted };
                let name = format!("{family} with {name}: {}", exit.name);
                cases.push(exit.scene.gives(name, packet, reason, expected));
            }
        }
    }
    cases
}
