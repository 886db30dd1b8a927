//! Translated packets, to the backend and back.
//!
//! The pool has one port for each protocol and backend, so what a packet becomes is known; an opening gives it up to the next.

use lb_common::counter::Reason::{
    ErrorLost, NatFull, NoSession, NotOurs, OtherProtocol, Redirected, Returned, TooBig, TtlExpired,
};
use lb_tests::{
    answers, errors,
    packet::{ICMP, Packet, TCP, UDP},
};

use super::modes::shapes;
use crate::{
    case::Case,
    expected::{Expected, l2, nat, nat_reply, returned, to_client, translated},
    scenes::{NAT, NAT_ELSEWHERE, NAT_ERRORS, NAT_FULL, NAT_POOLS, NAT_PORT, ip},
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
    cases.extend(errors());
    cases.extend(lost_errors());
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

/// ICMP errors, about what a client has got and about what a backend has got.
fn errors() -> Vec<Case> {
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let udp = |packet: Packet| Packet { protocol: UDP, ..packet };
    let flows = [Packet::default(), Packet::v6(), udp(Packet::default()), udp(Packet::v6())];
    let mut cases = Vec::new();
    for flow in flows {
        let family = if v6(&flow) { "IPv6" } else { "IPv4" };
        let named =
            |what: &str| format!("{family} {}: {what}", if flow.protocol == UDP { "UDP" } else { "TCP" });
        for &kind in errors::of_family(&flow) {
            let quote = Quote { kind, of: &flow, bytes: 500 };
            cases.push(quote.to_backend(named(&format!("{} to the backend", kind.0))));
            cases.push(quote.to_client(named(&format!("{} to the client", kind.0))));
        }
        let kind = errors::of_family(&flow)[0];
        let header = if v6(&flow) { 40 } else { 20 };
        // The ports alone, what every error quotes at least, TCP up to its checksum, and that too.
        for bytes in [4, 8, 16, 18] {
            let quote = Quote { kind, of: &flow, bytes: header + bytes };
            cases.push(quote.to_backend(named(&format!("{bytes} bytes quoted to the backend"))));
            cases.push(quote.to_client(named(&format!("{bytes} bytes quoted to the client"))));
        }
        let special = if v6(&flow) {
            Packet { extensions: vec![hop_by_hop.clone()], ..flow.clone() }
        } else {
            Packet { options: vec![1; 40], ..flow.clone() }
        };
        let quote = Quote { kind, of: &special, bytes: 500 };
        cases.push(quote.to_backend(named("a quote of a longer header to the backend")));
        cases.push(quote.to_client(named("a quote of a longer header to the client")));
    }
    cases
}

/// An error that quotes so many bytes of a packet in the flow of another, or of its answer.
struct Quote<'a> {
    kind: errors::Kind,
    of: &'a Packet,
    bytes: usize,
}

impl Quote<'_> {
    fn of(&self, packet: &Packet) -> Vec<u8> {
        let mut bytes = packet.ip();
        bytes.truncate(self.bytes);
        bytes
    }

    fn opening(&self) -> Packet {
        Packet { options: Vec::new(), extensions: Vec::new(), ..self.of.clone() }
    }

    /// About what the client has got.
    fn to_backend(&self, name: String) -> Case {
        let answer = errors::reply(self.of);
        let error = errors::about(&self.of(&answer), self.of.destination, self.kind);
        let there = translated(self.of);
        let answer_there = errors::reply(&there);
        let expected = errors::between(there.source, there.destination, &self.of(&answer_there), self.kind);
        let frame = l2(&expected.passed_on(), there.destination);
        NAT.sends(name, error, frame).after(self.opening())
    }

    /// About what the backend has got.
    fn to_client(&self, name: String) -> Case {
        let there = translated(self.of);
        let router = errors::ROUTER[usize::from(v6(self.of))];
        let error = errors::between(router, there.source, &self.of(&there), self.kind);
        let Packet { source, destination, .. } = *self.of;
        let expected = errors::between(destination, source, &self.of(self.of), self.kind);
        NAT.gives(name, error, Returned, to_client(&expected.passed_on())).after(self.opening())
    }
}

/// What is no error about a session, or reaches nobody.
fn lost_errors() -> Vec<Case> {
    let packet = Packet { source_port: 9, ..Packet::default() };
    let kind = errors::FRAGMENTATION_NEEDED;
    let stranger = Packet { destination_port: 9, ..translated(&packet) };
    let to_pool = errors::between(errors::ROUTER[0], stranger.source, &stranger.ip(), kind);
    let last_hop = |packet: Packet| Packet { hops: 1, ..packet };
    let held = Packet::default();
    let late = errors::between(errors::ROUTER[0], stranger.source, &translated(&held).ip(), kind);
    vec![
        NAT_ERRORS.drops("an error about a reply of no session", errors::to(&packet, kind), NoSession),
        NAT_ERRORS.passes("an error to the pool about no session", to_pool, OtherProtocol),
        NAT_ERRORS
            .drops("an error to a backend at its last hop", last_hop(errors::to(&held, kind)), ErrorLost)
            .after(&held),
        NAT_ERRORS.drops("an error to a client at its last hop", last_hop(late), ErrorLost).after(&held),
    ]
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
