//! Sources that the lists of a service let in, deny, or do not have.

use lb_common::counter::Reason::{BadFlags, Denied, NotAllowed, NotOurs, OtherProtocol};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::Case,
    expected::l2,
    scenes::{LISTS, V4, ip},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for source in ["192.0.2.1", "192.0.2.127", "2001:db8:c::1", "2001:db8:c:ffff::1"] {
        for (what, packet) in kinds(source) {
            cases.push(LISTS.sends(
                format!("{what} from {source}, which is allowed"),
                &packet,
                l2(&packet, ip(V4)),
            ));
        }
    }
    for source in ["192.0.2.128", "192.0.2.255", "198.19.255.255", "2001:db8:c:bad::1"] {
        for (what, packet) in kinds(source) {
            cases.push(LISTS.drops(format!("{what} from {source}, which is denied"), packet, Denied));
        }
    }
    for source in ["192.0.1.255", "192.0.3.0", "10.0.0.1", "2001:db8:d::1", "2000::1"] {
        for (what, packet) in kinds(source) {
            cases.push(LISTS.drops(format!("{what} from {source}, which nobody allows"), packet, NotAllowed));
        }
    }
    cases.extend(others());
    cases
}

/// What opens, what goes on, and what says neither.
fn kinds(source: &str) -> [(&'static str, Packet); 3] {
    let source = ip(source);
    let packet = Packet { source, ..if source.is_ipv4() { Packet::default() } else { Packet::v6() } };
    [
        ("a SYN", packet.clone()),
        ("an ACK", Packet { syn: false, ack: true, ..packet.clone() }),
        ("UDP", Packet { protocol: UDP, ..packet }),
    ]
}

/// Lists are asked of what is for their service, after what nobody may send.
fn others() -> Vec<Case> {
    let denied = || Packet { source: ip("192.0.2.200"), ..Packet::default() };
    let tagged = Packet { tags: vec![(0x88a8, 5), (0x8100, 6)], options: vec![1; 40], ..denied() };
    vec![
        LISTS.drops("a denied source behind tags and options", tagged, Denied),
        LISTS.drops("a denied source with impossible flags", Packet { syn: false, ..denied() }, BadFlags),
        LISTS.passes("a denied source to another port", Packet { destination_port: 81, ..denied() }, NotOurs),
        LISTS.passes(
            "a denied source with another protocol",
            Packet { protocol: 132, ..denied() },
            OtherProtocol,
        ),
    ]
}
