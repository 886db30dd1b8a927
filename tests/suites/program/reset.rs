//! The answer to flows that a backend gives up, byte by byte.

use std::{net::IpAddr, time::Duration};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader};
use lb_common::counter::Reason::{self, Reset, Transmitted};
use lb_tests::packet::{BALANCER_MAC, CLIENT_MAC, End, Packet, TCP, link};
use sluice::health::Health;

use crate::harness::{Harness, service};

const RESETS: &str = "protocol = \"tcp\"\nforwarding = \"l2\"\ndown_grace = \"30s\"\non_down = \"reset\"\n\
                      probe = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }";
const HOSTS: [&str; 2] = ["198.51.100.11", "198.51.100.12"];

/// A balancer one of whose two backends has been down for longer than its grace, and a port whose flow it had.
fn after_the_grace(packet: &Packet) -> (Harness, u16) {
    after_the_grace_with("", packet)
}

/// The same with more in the service's table.
fn after_the_grace_with(more: &str, packet: &Packet) -> (Harness, u16) {
    let vip = packet.destination.to_string();
    let mut balancer = Harness::new(&service("web", &vip, "80", &format!("{RESETS}\n{more}"), &HOSTS));
    let at_b11 =
        |port: &u16| balancer.backend_of(&Packet { source_port: *port, ..packet.clone() }.build()) == 11;
    let port = (10_000..10_100).find(at_b11).expect("half of all flows");
    balancer.set_health("web", "b11", Health::Down);
    balancer.advance(Duration::from_secs(31));
    (balancer, port)
}

fn goes_on(packet: &Packet, port: u16) -> Packet {
    Packet { source_port: port, syn: false, ack: true, acknowledges: 0xfedc_ba98, ..packet.clone() }
}

/// A reset as another implementation writes it.
fn expected(packet: &Packet) -> Vec<u8> {
    let mut tcp = TcpHeader::new(80, packet.source_port, 0xfedc_ba98, 0);
    tcp.rst = true;
    let ip = match (packet.source, packet.destination) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let mut ip = Ipv4Header::new(20, 64, IpNumber(TCP), vip.octets(), client.octets()).expect("fits");
            ip.header_checksum = ip.calc_header_checksum();
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).expect("fits");
            ip.to_bytes().to_vec()
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            let ip = Ipv6Header {
                payload_length: 20,
                next_header: IpNumber(TCP),
                hop_limit: 64,
                source: vip.octets(),
                destination: client.octets(),
                ..Ipv6Header::default()
            };
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, &[]).expect("fits");
            ip.to_bytes().to_vec()
        }
        _ => unreachable!("one family"),
    };
    let link = link(CLIENT_MAC, BALANCER_MAC, &packet.tags, packet.ether_type());
    [link, ip, tcp.to_bytes().to_vec()].concat()
}

#[test]
fn flow_of_a_backend_that_gives_it_up_is_reset_with_the_number_that_its_client_expects() {
    let tagged = vec![(0x88a8, 100), (0x8100, 200)];
    let hop_by_hop = (0, vec![0, 1, 4, 0, 0, 0, 0]);
    let packets = [
        Packet::default(),
        Packet { payload: vec![7; 1400], ..Packet::default() },
        Packet { payload: Vec::new(), padding: 6, ..Packet::default() },
        Packet { options: vec![1; 12], tags: tagged, ..Packet::default() },
        Packet::v6(),
        Packet { extensions: vec![hop_by_hop], ..Packet::v6() },
    ];
    for packet in packets {
        let (mut balancer, port) = after_the_grace(&packet);
        let packet = goes_on(&packet, port);
        let outcome = balancer.run(&packet.build());
        assert_eq!(outcome.reason, Reset, "{packet:?}");
        assert_eq!(outcome.frame, expected(&packet), "{packet:?}");
    }
}

#[test]
fn flow_that_is_remembered_is_reset_too() {
    let (mut balancer, port) = after_the_grace(&Packet::default());
    balancer.set_health("web", "b11", Health::Up);
    let packet = goes_on(&Packet::default(), port).build();
    assert_eq!((balancer.backend_of(&packet), balancer.backend_of(&packet)), (11, 11));
    balancer.set_health("web", "b11", Health::Down);
    balancer.advance(Duration::from_secs(31));
    assert_eq!(balancer.run(&packet).reason, Reset);
}

/// What becomes of the packet of a flow that is being reset.
fn reason_of(change: impl Fn(Packet) -> Packet) -> Reason {
    let (mut balancer, port) = after_the_grace(&Packet::default());
    balancer.run(&change(goes_on(&Packet::default(), port)).build()).reason
}

#[test]
fn reset_is_no_answer_to_a_reset() {
    assert_eq!(reason_of(|packet| Packet { end: Some(End::Rst), ..packet }), Transmitted);
}

#[test]
fn nothing_is_reset_that_acknowledges_nothing() {
    let packet = goes_on(&Packet::default(), 1);
    let silent = Packet { ack: false, ..packet };
    let forwards = "[service.guard]\nmalformed = \"forward\"\n";
    let (mut balancer, port) = after_the_grace_with(forwards, &silent);
    assert_eq!(balancer.run(&Packet { source_port: port, ..silent }.build()).reason, Transmitted);
}

#[test]
fn client_that_connects_anew_gets_another_backend() {
    let (mut balancer, port) = after_the_grace(&Packet::default());
    assert_eq!(balancer.run(&goes_on(&Packet::default(), port).build()).reason, Reset);
    let syn = Packet { source_port: port, ..Packet::default() };
    assert_eq!(balancer.backend_of(&syn.build()), 12);
    assert_eq!(balancer.backend_of(&goes_on(&Packet::default(), port).build()), 12);
}

#[test]
fn backend_that_comes_back_has_its_silent_flows_again() {
    let (mut balancer, port) = after_the_grace(&Packet::default());
    balancer.set_health("web", "b11", Health::Up);
    assert_eq!(balancer.backend_of(&goes_on(&Packet::default(), port).build()), 11);
}
