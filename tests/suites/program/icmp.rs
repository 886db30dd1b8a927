//! ICMP errors about a flow go where the flow's packets go, whatever has become of its slot.

use std::collections::HashMap;

use lb_common::counter::Reason::{self, Transmitted};
use lb_tests::{
    errors::{FRAGMENTATION_NEEDED, PACKET_TOO_BIG, to},
    packet::{Packet, TCP, UDP},
};
use sluice::dataplane::DataPlane as _;

use crate::harness::{Harness, service};

const TCP_L2: &str = "protocol = \"tcp\"\nforwarding = \"l2\"";
const ALL: [&str; 4] = ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"];

fn web(rest: &str, backends: &[&str]) -> String {
    service("web", "203.0.113.10", "80", rest, backends)
}

fn syn(port: u16) -> Packet {
    Packet { source_port: port, ..Packet::default() }
}

fn ack(port: u16) -> Packet {
    Packet { syn: false, ack: true, ..syn(port) }
}

fn udp(port: u16) -> Packet {
    Packet { protocol: UDP, ..syn(port) }
}

/// The error about the flow of a packet.
fn error(packet: &Packet) -> Packet {
    to(packet, FRAGMENTATION_NEEDED)
}

fn backends(balancer: &mut Harness, packet: impl Fn(u16) -> Packet) -> HashMap<u16, u8> {
    (10_000..10_200).map(|port| (port, balancer.backend_of(&packet(port).build()))).collect()
}

fn remembered(balancer: &mut Harness) -> (u32, u32) {
    let day = |_| Some(std::time::Duration::from_hours(24));
    balancer.dataplane.sweep(sluice::daemon::now(), &day).expect("the kernel walks the tables");
    let tracking = balancer.dataplane.tracking();
    (tracking.openings, tracking.connections)
}

#[test]
fn error_reaches_the_backend_of_a_settled_slot() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    assert_eq!(backends(&mut balancer, |port| error(&syn(port))), opened);
}

#[test]
fn program_without_guards_has_errors_too() {
    let mut balancer = Harness::unguarded(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    assert_eq!(backends(&mut balancer, |port| error(&syn(port))), opened);
}

#[test]
fn error_follows_what_is_remembered_of_a_moved_flow() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..3]));
    let old = backends(&mut balancer, syn);
    balancer.reload(&web(TCP_L2, &ALL));
    // Those of before stay, those of since then are with the current backend; both among openings, then connections.
    let new: HashMap<_, _> =
        (20_000..20_200).map(|port| (port, balancer.backend_of(&syn(port).build()))).collect();
    for second in [false, true] {
        if second {
            backends(&mut balancer, ack);
            for &port in new.keys() {
                balancer.backend_of(&ack(port).build());
            }
        }
        assert_eq!(backends(&mut balancer, |port| error(&ack(port))), old, "{second}");
        for (&port, &backend) in &new {
            assert_eq!(balancer.backend_of(&error(&ack(port)).build()), backend, "port {port}");
        }
    }
}

#[test]
fn error_about_a_silent_flow_of_a_moved_slot_goes_to_the_previous_backend() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..3]));
    let old = backends(&mut balancer, syn);
    balancer.reload(&web(TCP_L2, &ALL[3..]));
    assert_eq!(backends(&mut balancer, |port| error(&ack(port))), old);
}

#[test]
fn error_about_a_flow_that_its_backend_gives_up_goes_to_the_current_one() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    backends(&mut balancer, syn);
    balancer.reload(&format!("{}admin = \"maintenance\"\n", web(TCP_L2, &ALL)));
    let after = backends(&mut balancer, |port| error(&ack(port)));
    assert!(after.values().all(|&backend| backend != 14));
    assert_eq!(backends(&mut balancer, ack), after);
}

#[test]
fn error_follows_the_table_of_before_while_there_is_one() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let old = backends(&mut balancer, syn);
    balancer.reload(&web(&format!("{TCP_L2}\nslots = 2039"), &ALL));
    assert_eq!(backends(&mut balancer, |port| error(&ack(port))), old);
}

#[test]
fn error_follows_the_affinity_of_its_service() {
    let mut balancer = Harness::new(&web(&format!("{TCP_L2}\naffinity = \"source\""), &ALL));
    for client in 1..100 {
        let packet = Packet { source: [192, 0, 2, client].into(), ..Packet::default() };
        let backend = balancer.backend_of(&packet.build());
        assert_eq!(balancer.backend_of(&error(&packet).build()), backend, "client {client}");
    }
}

#[test]
fn error_about_an_untracked_flow_goes_where_its_next_packet_goes() {
    let never = format!("{TCP_L2}\ntrack = \"never\"");
    let mut balancer = Harness::new(&web(&never, &ALL[..3]));
    balancer.reload(&web(&never, &ALL));
    let now = backends(&mut balancer, ack);
    assert_eq!(backends(&mut balancer, |port| error(&ack(port))), now);
}

#[test]
fn error_about_a_tracked_datagram_goes_to_its_backend() {
    let always = "protocol = \"udp\"\nforwarding = \"l2\"";
    let mut balancer = Harness::new(&web(always, &ALL[..3]));
    let old = backends(&mut balancer, udp);
    balancer.reload(&web(always, &ALL));
    assert_eq!(backends(&mut balancer, |port| error(&udp(port))), old);
}

#[test]
fn nothing_is_remembered_by_an_error() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..3]));
    balancer.reload(&web(TCP_L2, &ALL[3..]));
    backends(&mut balancer, |port| error(&ack(port)));
    assert_eq!(remembered(&mut balancer), (0, 0));
    balancer.run(&ack(1).build());
    assert_eq!(remembered(&mut balancer), (1, 0));
}

#[test]
fn errors_are_counted_for_service_and_backend() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..1]));
    let frame = error(&syn(1)).build();
    assert_eq!(balancer.run(&frame).reason, Transmitted);
    let id = balancer.service_id("203.0.113.10".parse().unwrap(), 80, TCP);
    let traffic = balancer.dataplane.service_traffic(id);
    assert_eq!((traffic.packets, traffic.bytes), (1, frame.len() as u64));
    let (_, service) = balancer.applied.services().find(|(_, service)| service.id == id).unwrap();
    let backend = service.backend_id(ALL[0].parse().unwrap()).unwrap();
    assert_eq!(balancer.dataplane.backend_traffic(backend), traffic);
}

#[test]
fn error_leaves_by_the_interface_and_vlan_of_its_backend() {
    let elsewhere = |hop: &mut sluice::neighbours::NextHop| (hop.ifindex, hop.vlan) = (2, 7);
    for mode in ["l2", "ipip", "gue"] {
        let rest = format!("protocol = \"tcp\"\nforwarding = \"{mode}\"");
        let mut balancer = Harness::with_next_hops(&web(&rest, &ALL[..1]), elsewhere);
        let outcome = balancer.run(&error(&syn(1)).build());
        assert_eq!(outcome.reason, Reason::Redirected, "{mode}");
        assert_eq!(outcome.frame[12..18], [0x81, 0, 0, 7, 8, 0], "{mode}");
    }
}

#[test]
fn outer_header_of_errors_is_the_same_for_a_flow_and_varies_with_it() {
    let source = "tunnel_source = [\"2001:db8:ff::/64\"]";
    let rest = format!("protocol = \"tcp\"\nforwarding = \"ipip\"\n{source}");
    let mut balancer = Harness::new(&service("v6", "2001:db8:113::10", "80", &rest, &["2001:db8:51::11"]));
    let packet = |port| Packet { source_port: port, ..Packet::v6() };
    let mut outer = |port| balancer.run(&to(&packet(port), PACKET_TOO_BIG).build()).frame[14..54].to_vec();
    assert_eq!(outer(1), outer(1));
    let distinct: std::collections::HashSet<_> = (0..64).map(outer).collect();
    assert!(distinct.len() > 40, "64 flows have {} outer headers", distinct.len());
}
