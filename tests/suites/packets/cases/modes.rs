//! Every shape of packet through every way of forwarding.

use lb_tests::packet::{End, Packet, UDP};

use crate::{
    case::Case,
    scenes::{WAYS, ip},
};

/// Every shape that a backend gets as it came, of both families.
pub fn shapes() -> Vec<(&'static str, Packet)> {
    let (v4, v6) = (Packet::default, Packet::v6);
    let ack = |packet: Packet| Packet { syn: false, ack: true, ..packet };
    let udp = |packet: Packet| Packet { protocol: UDP, ..packet };
    let empty = |packet: Packet| Packet { payload: Vec::new(), ..packet };
    vec![
        ("IPv4 SYN", v4()),
        ("IPv4 ACK", ack(v4())),
        ("IPv4 FIN", Packet { end: Some(End::Fin), ..ack(v4()) }),
        ("IPv4 RST", Packet { end: Some(End::Rst), ..ack(v4()) }),
        ("IPv4 SYN without data", empty(v4())),
        ("IPv4 ACK without data in a padded frame", Packet { padding: 6, ..empty(ack(v4())) }),
        ("IPv4 UDP", udp(v4())),
        ("IPv4 UDP without data in a padded frame", Packet { padding: 18, ..empty(udp(v4())) }),
        ("IPv4 with DSCP and ECN", Packet { traffic_class: 0xb9, ..v4() }),
        ("IPv4 with congestion experienced", Packet { traffic_class: 0x03, ..v4() }),
        ("IPv4 with one option", Packet { options: vec![0x94, 4, 0, 0], ..v4() }),
        ("IPv4 with all the options there can be", Packet { options: vec![1; 40], ..v4() }),
        ("IPv4 UDP with options", Packet { options: vec![1; 8], ..udp(v4()) }),
        ("IPv4 from the last port", Packet { source_port: 65_535, ..v4() }),
        ("IPv6 SYN", v6()),
        ("IPv6 ACK", ack(v6())),
        ("IPv6 FIN", Packet { end: Some(End::Fin), ..ack(v6()) }),
        ("IPv6 RST", Packet { end: Some(End::Rst), ..ack(v6()) }),
        ("IPv6 SYN without data", empty(v6())),
        ("IPv6 UDP", udp(v6())),
        ("IPv6 UDP without data in a padded frame", Packet { padding: 9, ..empty(udp(v6())) }),
        ("IPv6 with a traffic class", Packet { traffic_class: 0xb9, ..v6() }),
        (
            "IPv6 with a hop-by-hop header",
            Packet { extensions: vec![(0, vec![0, 1, 4, 0, 0, 0, 0])], ..v6() },
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in &WAYS {
        for (name, packet) in shapes() {
            let expected = (way.expected)(&packet, ip(way.backend));
            cases.push(way.scene.sends(format!("{}: {name}", way.name), packet, expected));
        }
    }
    cases
}
