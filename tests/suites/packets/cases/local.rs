//! A backend that is this host: what is for it passes.

use lb_common::counter::Reason::{BogusSource, Echo, FragmentUnknown, Local, NotOurs, Truncated};
use lb_tests::{
    answers,
    errors::{of_family, to},
    packet::Packet,
};

use crate::{
    case::Case,
    cases::modes,
    expected::Expected,
    scenes::{OWN, ip},
};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<_> =
        modes::shapes().into_iter().map(|(name, packet)| OWN.passes(name, packet, Local)).collect();
    for (family, packet) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        let tags = vec![(0x88a8, 5), (0x8100, 6)];
        let with = |packet: Packet| Packet { source_port: 7, ..packet };
        let (ping, answer) = answers::ping(&packet, b"hello");
        let first = Packet { fragment: Some((0, true)), ..packet.clone() };
        let last = Packet { fragment: Some((370, false)), ..packet.clone() };
        let nobody = if packet.source.is_ipv4() { "127.0.0.1" } else { "::1" };
        cases.extend([
            OWN.passes(format!("{family} in QinQ"), Packet { tags, ..with(packet.clone()) }, Local),
            OWN.passes(
                format!("{family} with a hop left"),
                Packet { hops: 1, ..with(packet.clone()) },
                Local,
            ),
            // No way has an MTU that it would have to fit.
            OWN.passes(format!("a long {family} packet"), long(&packet), Local),
            OWN.passes(format!("first {family} fragment"), &first, Local),
            OWN.passes(format!("last {family} fragment"), &last, Local).after(&first),
            OWN.drops(format!("last {family} fragment alone"), strange(&last), FragmentUnknown),
            OWN.passes(format!("an {family} error about a flow"), to(&packet, of_family(&packet)[0]), Local),
            OWN.gives(format!("an {family} ping"), ping, Echo, Expected::exactly(answer)),
            OWN.passes(
                format!("{family} to another port"),
                Packet { destination_port: 81, ..packet.clone() },
                NotOurs,
            ),
            OWN.drops(
                format!("{family} from nobody"),
                Packet { source: ip(nobody), ..packet.clone() },
                BogusSource,
            ),
        ]);
    }
    let mut cut = Packet::default().build();
    cut[16..18].copy_from_slice(&39_u16.to_be_bytes());
    cases.push(OWN.drops("a TCP header with a byte missing", cut, Truncated));
    cases
}

fn long(packet: &Packet) -> Packet {
    Packet { payload: vec![7; 3_000], ..packet.clone() }
}

/// From a source that has sent no first fragment.
fn strange(last: &Packet) -> Packet {
    let source = if last.source.is_ipv4() { "192.0.2.99" } else { "2001:db8:c::99" };
    Packet { source: ip(source), ..last.clone() }
}
