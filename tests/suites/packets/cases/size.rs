//! What fits the way to the backend, to the byte.

use lb_common::counter::Reason::TooBig;
use lb_tests::{
    answers,
    packet::{Packet, UDP},
};

use crate::{
    case::Case,
    expected::Expected,
    scenes::{WAYS, ip},
};

/// MTU of every next hop.
const MTU: usize = 1500;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in &WAYS {
        for (kind, packet) in kinds() {
            let headers = Packet { payload: Vec::new(), ..packet.clone() }.ip().len();
            let sized = |bytes: usize| Packet { payload: vec![0x5a; bytes - headers], ..packet.clone() };
            let largest = sized(MTU - way.overhead);
            let expected = (way.expected)(&largest, ip(way.backend));
            let name = |what| format!("{}: {kind} {what}", way.name);
            cases.push(way.scene.sends(name("that just fits"), &largest, expected));
            let larger = sized(MTU - way.overhead + 1);
            let told = Expected::exactly(answers::too_big(&larger, (MTU - way.overhead) as u16));
            cases.push(way.scene.gives(name("a byte too long"), larger, TooBig, told));
        }
    }
    cases
}

fn kinds() -> [(&'static str, Packet); 4] {
    let udp = |packet: Packet| Packet { protocol: UDP, ..packet };
    [
        ("IPv4 TCP", Packet::default()),
        ("IPv4 UDP", udp(Packet::default())),
        ("IPv6 TCP", Packet::v6()),
        ("IPv6 UDP", udp(Packet::v6())),
    ]
}
