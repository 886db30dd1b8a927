//! SYNs that are answered with cookies, and what cookies open. What the numbers come to is the affair of the suite `program`;
//! here they are left out where nobody knows them beforehand.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::counter::Reason::{Acknowledged, BadCookie, Cookie, NotOpenYet};
use lb_tests::packet::{End, Packet};

use crate::{
    case::Case,
    expected::{Expected, nat, nat_reply, to_client},
    scenes::{COOKIES, OPENED_BY_COOKIES},
};

pub fn cases() -> Vec<Case> {
    [Packet::default(), Packet::v6()].iter().flat_map(of_family).collect()
}

fn of_family(packet: &Packet) -> Vec<Case> {
    let named = |name: &str| format!("{}: {name}", if packet.source.is_ipv4() { "IPv4" } else { "IPv6" });
    let syn = |source_port| Packet { source_port, payload: Vec::new(), ..packet.clone() };
    let goes_on = |syn: &Packet| Packet { syn: false, ack: true, ..syn.clone() };
    let (asks, forges, waits, answered, open) = (syn(1), syn(2), syn(3), syn(4), syn(5));
    let reset = Packet { end: Some(End::Rst), ..goes_on(&waits) };
    let data = Packet { sequence: 2, payload: b"request".to_vec(), ..goes_on(&open) };
    vec![
        COOKIES.gives(named("a SYN"), &asks, Cookie, cookie(&asks)),
        COOKIES.drops(named("a number that is no cookie"), goes_on(&forges), BadCookie).after(&forges),
        COOKIES
            .drops(named("a reset before the backend has answered"), reset, NotOpenYet)
            .after(&waits)
            .after_answer(bring_back),
        COOKIES
            .gives(named("a backend's answer"), syn_ack(&answered), Acknowledged, acknowledgement(&answered))
            .after(&answered)
            .after_answer(bring_back),
        OPENED_BY_COOKIES
            .sends(named("data"), &data, but_for_number(nat(&data), &data, ACKNOWLEDGEMENT_AT))
            .after(&open)
            .after_answer(bring_back)
            .after(syn_ack(&open)),
    ]
}

/// The answer to a SYN.
fn cookie(syn: &Packet) -> Expected {
    let largest: u16 = if syn.source.is_ipv4() { 1460 } else { 1440 };
    let [high, low] = largest.to_be_bytes();
    let answer = Packet { ack: true, window: 5840, tcp_options: vec![2, 4, high, low], ..turned(syn) };
    but_for_number(to_client(&answer), &answer, SEQUENCE_AT)
}

/// What a backend sends that has got such a SYN.
fn syn_ack(syn: &Packet) -> Packet {
    Packet { ack: true, sequence: 77, acknowledges: 2, ..nat_reply(syn) }
}

/// And what it gets for that.
fn acknowledgement(syn: &Packet) -> Expected {
    let came = syn_ack(syn);
    to_client(&Packet { syn: false, sequence: 2, acknowledges: 78, window: BROUGHT_WINDOW, ..turned(&came) })
}

/// An answer that acknowledges a SYN with the sequence number 1.
fn turned(packet: &Packet) -> Packet {
    let Packet { source, source_port, destination, destination_port, .. } = packet.clone();
    Packet {
        source: destination,
        source_port: destination_port,
        destination: source,
        destination_port: source_port,
        acknowledges: 2,
        ..packet.clone()
    }
}

/// Window of the client that brings a cookie back.
const BROUGHT_WINDOW: u16 = 1_234;

/// What a client sends that gets a frame with a cookie in it.
fn bring_back(frame: &[u8]) -> Vec<u8> {
    let came = SlicedPacket::from_ethernet(frame).expect("an answer is a packet");
    let (source, destination): (IpAddr, IpAddr) = match came.net.expect("with an IP header") {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("no ARP"),
    };
    let Some(TransportSlice::Tcp(tcp)) = came.transport else { panic!("and one of TCP") };
    let back = Packet {
        source: destination,
        source_port: tcp.destination_port(),
        destination: source,
        destination_port: tcp.source_port(),
        syn: false,
        ack: true,
        sequence: tcp.acknowledgment_number(),
        acknowledges: tcp.sequence_number().wrapping_add(1),
        window: BROUGHT_WINDOW,
        payload: Vec::new(),
        ..Packet::default()
    };
    back.build()
}

/// Where numbers and checksum lie in a TCP header.
const SEQUENCE_AT: usize = 4;
const ACKNOWLEDGEMENT_AT: usize = 8;
const CHECK_AT: usize = 16;

/// The same with any number at `at` of the TCP header of `packet`, which has no options of IP.
fn but_for_number(expected: Expected, packet: &Packet, at: usize) -> Expected {
    let tcp_at = 14 + if packet.source.is_ipv4() { 20 } else { 40 };
    expected.but_for(tcp_at + at, &[0xff; 4]).but_for(tcp_at + CHECK_AT, &[0xff; 2])
}
