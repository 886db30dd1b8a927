//! Backends that have as many flows as they may have: one, that of the first packet.

use lb_common::counter::Reason::{BackendFull, Refused};
use lb_tests::packet::{Packet, UDP};

use crate::{
    case::{Case, Scene},
    expected::{l2, refusal},
    scenes::{FULL, REFUSING, V4, ip},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, first) in [("IPv4", Packet::default()), ("IPv6", Packet::v6())] {
        let second = Packet { source_port: 2, ..first.clone() };
        let tagged = Packet { tags: vec![(0x88a8, 5), (0x8100, 6)], ..second.clone() };
        for (tags, second) in [("", &second), (" in QinQ", &tagged)] {
            let name = format!("an {family} SYN{tags} for a backend that is full");
            cases.push(FULL.drops(name.clone(), second, BackendFull).after(&first));
            cases.push(
                REFUSING.gives(format!("{name} and refuses"), second, Refused, refusal(second)).after(&first),
            );
        }
        let udp = |packet: &Packet| Packet { protocol: UDP, ..packet.clone() };
        for (scene, what) in [(&FULL, ""), (&REFUSING, " and refuses")] {
            let name = format!("an {family} datagram for a backend that is full{what}");
            cases.push(scene.drops(name, udp(&second), BackendFull).after(udp(&first)));
            cases.extend(those_that_are_there(scene, family, what, &first));
        }
    }
    cases
}

fn those_that_are_there(scene: &'static Scene, family: &str, what: &str, first: &Packet) -> [Case; 2] {
    let goes_on = Packet { syn: false, ack: true, ..first.clone() };
    let datagram = Packet { protocol: UDP, ..first.clone() };
    [("connection", goes_on), ("UDP flow", datagram)].map(|(kind, packet)| {
        let opening = Packet { syn: true, ack: false, ..packet.clone() };
        let name = format!("the {family} {kind} that a full backend{what} has");
        scene.sends(name, &packet, l2(&packet, ip(V4))).after(opening)
    })
}
