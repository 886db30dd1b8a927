//! Which service and which backend a packet gets, and that a flow keeps it.

use std::{collections::HashMap, ops::Range, time::Duration};

use lb_common::{
    address::Address,
    counter::Reason::{NoBackend, NotOurs, Transmitted},
    flow::Flow,
    hash::{KeyWords as _, Seed},
    service::ServiceKey,
};
use lb_tests::packet::{Packet, TCP, UDP};
use sluice::{health::Health, reconcile::ReadSlots as _};

use crate::harness::{Harness, service};

const TCP_L2: &str = "protocol = \"tcp\"\nforwarding = \"l2\"";
const PROBED: &str = "protocol = \"tcp\"\nforwarding = \"l2\"\ndown_grace = \"30s\"\n\
                      probe = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }";
const ALL: [&str; 4] = ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"];

fn web(rest: &str, backends: &[&str]) -> String {
    service("web", "203.0.113.10", "80", rest, backends)
}

fn syn(port: u16) -> Vec<u8> {
    Packet { source_port: port, ..Packet::default() }.build()
}

fn ack(port: u16) -> Vec<u8> {
    Packet { source_port: port, syn: false, ack: true, ..Packet::default() }.build()
}

/// Which backend each of 400 flows has, by `frame`.
fn backends(balancer: &mut Harness, frame: fn(u16) -> Vec<u8>) -> HashMap<u16, u8> {
    backends_of(balancer, 10_000..10_400, frame)
}

fn backends_of(balancer: &mut Harness, ports: Range<u16>, frame: fn(u16) -> Vec<u8>) -> HashMap<u16, u8> {
    ports.map(|port| (port, balancer.backend_of(&frame(port)))).collect()
}

#[test]
fn program_and_daemon_agree_on_the_slot_of_a_flow() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let seed = Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let service =
        balancer.applied.service(&ServiceKey::new(Address::from_v4([203, 0, 113, 10]), 80, TCP)).unwrap();
    let (table, members) = (service.entry.table, service.members.clone());
    let slots = balancer.dataplane.slots(table);
    for port in 20_000..20_100u16 {
        let flow = Flow {
            source: Address::from_v4([192, 0, 2, 7]),
            destination: Address::from_v4([203, 0, 113, 10]),
            source_port: port.to_be_bytes(),
            destination_port: 80u16.to_be_bytes(),
            protocol: u32::from(TCP),
        };
        let at = table.slot_of((seed.flow_key().flow(&flow) >> 32) as u32) - table.base;
        let member = members[usize::from(slots[at as usize].current())].as_ref().unwrap();
        assert_eq!(balancer.backend_of(&syn(port)), member.entry.next_hop_mac[5], "port {port}");
    }
}

#[test]
fn flows_are_spread_over_all_backends_and_stay() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    for backend in 11..=14 {
        let flows = opened.values().filter(|&&has| has == backend).count();
        assert!((60..140).contains(&flows), "backend {backend} has {flows} of 400 flows");
    }
    assert_eq!(backends(&mut balancer, ack), opened);
}

#[test]
fn most_specific_service_wins() {
    let any = service("any", "203.0.113.10", "\"any\"", TCP_L2, &["198.51.100.12"]);
    let dns =
        service("dns", "203.0.113.10", "80", "protocol = \"udp\"\nforwarding = \"l2\"", &["198.51.100.13"]);
    let mut balancer = Harness::new(&[web(TCP_L2, &["198.51.100.11"]), any, dns].concat());
    let to = |destination_port, protocol| Packet { destination_port, protocol, ..Packet::default() }.build();
    assert_eq!(balancer.backend_of(&to(80, TCP)), 11);
    assert_eq!(balancer.backend_of(&to(443, TCP)), 12);
    assert_eq!(balancer.backend_of(&to(80, UDP)), 13);
    assert_eq!(balancer.run(&to(443, UDP)).reason, NotOurs);
}

#[test]
fn service_without_backends_drops_by_name() {
    let mut balancer = Harness::new(&web(TCP_L2, &[]));
    assert_eq!(balancer.run(&syn(1)).reason, NoBackend);
}

#[test]
fn added_backend_takes_new_flows_and_no_old_one() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..3]));
    let opened = backends(&mut balancer, syn);
    balancer.reload(&web(TCP_L2, &ALL));
    assert_eq!(backends(&mut balancer, ack), opened, "old flows stay where they are");
    let new = backends_of(&mut balancer, 20_000..20_400, syn);
    let taken = new.values().filter(|&&backend| backend == 14).count();
    assert!((60..140).contains(&taken), "b14 got {taken} of 400 new flows");
    assert_eq!(backends_of(&mut balancer, 20_000..20_400, ack), new, "and they stay there");
}

#[test]
fn removed_backend_keeps_its_old_flows_and_gets_no_new_ones() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    balancer.reload(&web(TCP_L2, &ALL[..3]));
    assert_eq!(backends(&mut balancer, ack), opened);
    assert!(backends(&mut balancer, syn).values().all(|&backend| backend != 14));
}

#[test]
fn backend_that_is_down_keeps_old_flows_for_its_grace_and_then_loses_them() {
    let mut balancer = Harness::new(&web(PROBED, &ALL));
    let opened = backends(&mut balancer, syn);
    balancer.set_health("web", "b14", Health::Down);
    assert_eq!(backends(&mut balancer, ack), opened);
    balancer.advance(Duration::from_secs(31));
    let after = backends(&mut balancer, ack);
    for (port, backend) in &opened {
        assert!(after[port] != 14, "port {port} is still with a backend that is down");
        assert!(*backend == 14 || after[port] == *backend, "port {port} moved without need");
    }
}

#[test]
fn backend_in_maintenance_loses_its_flows_at_once() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    balancer.reload(&format!("{}admin = \"maintenance\"\n", web(TCP_L2, &ALL)));
    let after = backends(&mut balancer, ack);
    assert!(opened.iter().all(|(port, backend)| after[port] == *backend || *backend == 14));
    assert!(after.values().all(|&backend| backend != 14));
}

#[test]
fn draining_backend_keeps_old_flows_and_gets_no_new_ones() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    balancer.reload(&format!("{}admin = \"drain\"\n", web(TCP_L2, &ALL)));
    assert_eq!(backends(&mut balancer, ack), opened);
    assert!(backends(&mut balancer, syn).values().all(|&backend| backend != 14));
}

#[test]
fn moved_slot_that_moves_back_still_keeps_the_flows_of_the_time_between() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL[..3]));
    balancer.reload(&web(TCP_L2, &ALL));
    let between = backends(&mut balancer, syn);
    balancer.reload(&web(TCP_L2, &ALL[..3]));
    assert_eq!(backends(&mut balancer, ack), between);
}

#[test]
fn settled_service_remembers_no_flow() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    backends(&mut balancer, syn);
    backends(&mut balancer, ack);
    assert_eq!(remembered(&mut balancer), 0);
    balancer.reload(&web(TCP_L2, &ALL[..3]));
    backends(&mut balancer, ack);
    assert!(remembered(&mut balancer) > 0, "flows of moved slots are remembered");
}

fn remembered(balancer: &mut Harness) -> usize {
    use sluice::dataplane::DataPlane as _;
    let forever = |_| Some(Duration::from_hours(1));
    balancer.dataplane.sweep(sluice::daemon::now(), &forever).expect("the kernel walks the table").len()
}

#[test]
fn udp_flow_stays_whatever_moves_when_all_flows_are_tracked() {
    let udp = |port| Packet { protocol: UDP, source_port: port, ..Packet::default() }.build();
    let always = "protocol = \"udp\"\nforwarding = \"l2\"";
    let mut balancer = Harness::new(&web(always, &ALL[..3]));
    let first = backends(&mut balancer, udp);
    balancer.reload(&web(always, &ALL));
    assert_eq!(backends(&mut balancer, udp), first);
}

#[test]
fn untracked_flows_follow_the_table() {
    let never = "protocol = \"tcp\"\nforwarding = \"l2\"\ntrack = \"never\"";
    let mut balancer = Harness::new(&web(never, &ALL[..3]));
    backends(&mut balancer, syn);
    balancer.reload(&web(never, &ALL));
    let syns = backends(&mut balancer, syn);
    assert_eq!(backends(&mut balancer, ack), syns);
    assert_eq!(remembered(&mut balancer), 0);
}

#[test]
fn other_service_is_not_touched_by_a_reload() {
    let other = |backends: &[&str]| service("other", "203.0.113.20", "80", TCP_L2, backends);
    let mut balancer = Harness::new(&[web(TCP_L2, &ALL), other(&ALL[..2])].concat());
    let key = ServiceKey::new(Address::from_v4([203, 0, 113, 10]), 80, TCP);
    let before = balancer.applied.service(&key).unwrap().entry;
    balancer.reload(&[web(TCP_L2, &ALL), other(&ALL)].concat());
    assert_eq!(balancer.applied.service(&key).unwrap().entry, before);
    assert_eq!(balancer.run(&syn(1)).reason, Transmitted);
}

#[test]
fn removed_service_passes_its_packets() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    balancer.reload("");
    assert_eq!(balancer.run(&syn(1)).reason, NotOurs);
}

#[test]
fn table_of_another_length_moves_no_old_flow() {
    let mut balancer = Harness::new(&web(TCP_L2, &ALL));
    let opened = backends(&mut balancer, syn);
    let others = backends_of(&mut balancer, 20_000..20_400, syn);
    balancer.reload(&web(&format!("{TCP_L2}\nslots = 2039"), &ALL));
    assert_eq!(backends(&mut balancer, ack), opened);
    let new = backends_of(&mut balancer, 20_000..20_400, syn);
    assert_ne!(new, others, "new flows follow the new table");
}
