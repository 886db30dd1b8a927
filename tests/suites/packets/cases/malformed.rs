//! What nobody sends in good faith, dropped by name.

use lb_common::counter::Reason::{BadFlags, BogusSource, Land};
use lb_tests::packet::{End, Packet, UDP};

use crate::{
    case::Case,
    scenes::{IPIP_V6, L2_V4, ip},
};

/// SYN, ACK, and what ends a connection.
type Flags = (bool, bool, Option<End>);

const IMPOSSIBLE: [(&str, Flags); 5] = [
    ("no control bit", (false, false, None)),
    ("FIN alone", (false, false, Some(End::Fin))),
    ("SYN and FIN", (true, false, Some(End::Fin))),
    ("SYN and RST", (true, false, Some(End::Rst))),
    ("SYN, FIN and ACK", (true, true, Some(End::Fin))),
];

const NOBODY: [&str; 7] = ["0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        for (what, (syn, ack, end)) in IMPOSSIBLE {
            let packet = Packet { syn, ack, end, ..packet.clone() };
            cases.push(L2_V4.drops(format!("{family} TCP with {what}"), packet, BadFlags));
        }
        let land = Packet { source: packet.destination, source_port: packet.destination_port, ..packet };
        cases.push(L2_V4.drops(format!("{family} TCP from the VIP to itself"), &land, Land));
        cases.push(IPIP_V6.drops(
            format!("{family} UDP from the VIP to itself"),
            Packet { protocol: UDP, ..land },
            Land,
        ));
    }
    for source in NOBODY.map(ip) {
        let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
        let packet = Packet { source, ..packet };
        cases.push(IPIP_V6.drops(
            format!("UDP from {source}"),
            Packet { protocol: UDP, ..packet.clone() },
            BogusSource,
        ));
        cases.push(L2_V4.drops(format!("TCP from {source}"), packet, BogusSource));
    }
    cases
}
