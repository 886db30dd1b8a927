//! Translated packets, to the backend and back.
//!
//! The pool has one port for each protocol and backend, so what a packet becomes is known; an opening gives it up to the next.

use lb_common::counter::Reason::{
    NatFull, NoSession, NotOurs, OtherProtocol, Redirected, Returned, TooBig, TtlExpired,
};
use lb_tests::{
    answers,
    packet::{ICMP, Packet, TCP},
};

use super::modes::shapes;
use crate::{
    case::Case,
    expected::{Expected, nat, nat_reply, returned},
    scenes::{NAT, NAT_ELSEWHERE, NAT_FULL, NAT_POOLS, NAT_PORT, ip},
};

/// What opens the flow of a packet.
fn opening(of: &Packet) -> Packet {
    Packet { syn: true, ack: false, end: None, ..of.clone() }
}

fn is_later(packet: &Packet) -> bool {
    packet.protocol == TCP && (packet.ack || packet.end.is_some())
}

fn v6(packet: &Packet) -> bool {
    packet.source.is_ipv6()
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, packet) in shapes() {
        // One that went on keeps its port, so all of them are of one flow.
        let packet = Packet { source_port: 40_000, ..packet };
        let there = NAT.sends(format!("{name} to the backend"), &packet, nat(&packet));
        cases.push(if is_later(&packet) { there.after(opening(&packet)) } else { there });
        let reply = nat_reply(&packet);
        let back =
            NAT.gives(format!("{name} back to the client"), &reply, Returned, returned(&packet, &reply));
        cases.push(back.after(opening(&packet)));
    }
    cases.extend([Packet::default(), Packet::v6()].iter().flat_map(of_family));
    let tagged = Packet { tags: vec![(0x88a8, 8), (0x8100, 9)], ..Packet::default() };
    let plain = Packet { tags: Vec::new(), ..tagged.clone() };
    let reply = nat_reply(&plain);
    cases.push(
        NAT.gives("a reply gets the tags of its client", &reply, Returned, returned(&tagged, &reply))
            .after(&tagged),
    );
    cases.push(NAT_ELSEWHERE.gives(
        "a way to the backend by another interface has no tags",
        &tagged,
        Redirected,
        nat(&Packet { tags: Vec::new(), ..tagged.clone() }),
    ));
    cases
}

fn of_family(packet: &Packet) -> Vec<Case> {
    let family = if v6(packet) { "IPv6" } else { "IPv4" };
    let named = |name: &str| format!("{family}: {name}");
    let pool = ip(NAT_POOLS[usize::from(v6(packet))]);
    let reply = nat_reply(packet);
    let late = Packet { source_port: 1, ..packet.clone() };
    let ack = |packet: &Packet| Packet { syn: false, ack: true, ..packet.clone() };
    let last_hop = |packet: &Packet| Packet { hops: 1, ..packet.clone() };
    let error = |frame: Vec<u8>| Expected::exactly(frame);
    let long = Packet { payload: vec![7; 1500], ..packet.clone() };
    let to_pool = |destination_port| Packet { destination_port, source_port: 81, ..reply.clone() };
    let ping =
        Packet { protocol: ICMP, destination: pool, payload: vec![8, 0, 0, 0, 1, 2, 3, 4], ..packet.clone() };
    let (held, other) = (packet.clone(), Packet { source_port: 2, ..packet.clone() });
    vec![
        NAT.drops(named("an ACK of no session"), ack(&late), NoSession),
        NAT.drops(named("a reply of no session"), to_pool(NAT_PORT), NoSession),
        NAT.passes(named("another port of the pool's address"), to_pool(22), NotOurs),
        NAT.gives(
            named("a packet at its last hop"),
            last_hop(packet),
            TtlExpired,
            error(answers::time_exceeded(&last_hop(packet))),
        ),
        NAT.gives(
            named("a reply at its last hop"),
            last_hop(&reply),
            TtlExpired,
            error(answers::time_exceeded(&last_hop(&reply))),
        )
        .after(packet),
        NAT.gives(named("a packet that does not fit"), &long, TooBig, error(answers::too_big(&long, 1500))),
        NAT.passes(named("a ping of the pool"), ping, OtherProtocol),
        NAT_FULL
            .drops(named("a flow that finds no port"), other, NatFull)
            .after(&held)
            .after(nat_reply(&held))
            .after(ack(&held)),
        NAT_FULL
            .sends(named("a session that went on"), ack(&held), nat(&ack(&held)))
            .after(&held)
            .after(nat_reply(&held))
            .after(ack(&held)),
    ]
}
