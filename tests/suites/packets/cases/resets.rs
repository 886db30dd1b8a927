//! TCP resets in answer to flows that a backend gives up.

use lb_common::counter::Reason::{NotOurs, Reset};
use lb_tests::packet::{End, Packet};

use crate::{
    case::Case,
    expected::{l2, reset},
    scenes::{RESETS, V4, ip},
};

/// A packet of a flow whose backend gives it up.
fn goes_on(packet: Packet) -> Packet {
    Packet { syn: false, ack: true, acknowledges: 0xfedc_ba98, ..packet }
}

pub fn cases() -> Vec<Case> {
    let tags = vec![(0x88a8, 100), (0x8100, 200)];
    let shapes = [
        ("IPv4", Packet::default()),
        ("IPv4, a full segment", Packet { payload: vec![7; 1400], ..Packet::default() }),
        ("IPv4 in a padded frame", Packet { payload: Vec::new(), padding: 6, ..Packet::default() }),
        ("IPv4 with options in QinQ", Packet { options: vec![1; 12], tags, ..Packet::default() }),
        ("IPv6", Packet::v6()),
        (
            "IPv6 with a hop-by-hop header",
            Packet { extensions: vec![(0, vec![0, 1, 4, 0, 0, 0, 0])], ..Packet::v6() },
        ),
    ];
    let mut cases: Vec<Case> = shapes
        .into_iter()
        .map(|(name, packet)| (name, goes_on(packet)))
        .map(|(name, packet)| RESETS.gives(format!("a reset answers {name}"), &packet, Reset, reset(&packet)))
        .collect();
    let fin = Packet { end: Some(End::Fin), ..goes_on(Packet::default()) };
    cases.push(RESETS.gives("a reset answers a FIN", &fin, Reset, reset(&fin)));
    let rst = Packet { end: Some(End::Rst), ..goes_on(Packet::default()) };
    cases.push(RESETS.sends("no reset answers a reset", &rst, l2(&rst, ip(V4))));
    let other = Packet { destination_port: 81, ..goes_on(Packet::default()) };
    cases.push(RESETS.passes("no reset answers another port", other, NotOurs));
    cases
}
