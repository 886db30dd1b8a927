//! Sources that lists deny, or do not allow; and that no packet sees half of a list.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::programs::Xdp;
use aya_obj::programs::xdp::XdpAttachType;
use lb_common::{
    counter::{
        Fate,
        Reason::{Denied, NotAllowed, NotOurs, Transmitted},
    },
    guard::Refusal,
};
use lb_tests::{
    bpf::{BPFFS, ensure_bpffs},
    packet::{Packet, TCP},
};

use crate::harness::{Harness, run, service};

const VIP: &str = "203.0.113.10";
const HOSTS: [&str; 2] = ["198.51.100.11", "198.51.100.12"];

fn guarded(name: &str, vip: &str, guard: &str) -> String {
    let rest = format!("protocol = \"tcp\"\nforwarding = \"ipip\"\n[service.guard]\n{guard}\n");
    service(name, vip, "80", &rest, &HOSTS)
}

fn list(name: &str, prefixes: &[&str]) -> String {
    format!("[[list]]\nname = \"{name}\"\nprefixes = {prefixes:?}\n")
}

fn from(source: &str) -> Vec<u8> {
    let source: IpAddr = source.parse().expect("an address");
    let packet = if source.is_ipv4() { Packet::default() } else { Packet::v6() };
    Packet { source, ..packet }.build()
}

#[test]
fn sources_meet_what_the_lists_of_their_service_say() {
    let lists = [
        list("offices", &["192.0.2.0/24", "2001:db8:c::/48"]),
        list("bad", &["192.0.2.128/25", "10.0.0.0/8", "2001:db8:c:bad::/64"]),
    ];
    let six = "2001:db8:113::10";
    let both = "allow = [\"offices\"]\ndeny = [\"bad\"]";
    let mut balancer =
        Harness::new(&[lists.concat(), guarded("web", VIP, both), guarded("six", six, both)].concat());
    for (source, reason) in [
        ("192.0.2.1", Transmitted),
        ("192.0.2.127", Transmitted),
        ("192.0.2.128", Denied),
        ("192.0.3.1", NotAllowed),
        ("10.1.2.3", Denied),
        ("2001:db8:c::1", Transmitted),
        ("2001:db8:c:bad::1", Denied),
        ("2001:db8:d::1", NotAllowed),
    ] {
        assert_eq!(balancer.run(&from(source)).reason, reason, "{source}");
    }
    let id = balancer.service_id(VIP.parse().expect("an address"), 80, TCP);
    let refusals = balancer.dataplane.refusals(id);
    assert_eq!(refusals[Refusal::Denied as usize], 2);
    assert_eq!(refusals[Refusal::NotAllowed as usize], 1);
}

#[test]
fn service_without_lists_lets_everybody_in() {
    let bad = list("bad", &["192.0.2.0/24"]);
    let mut balancer = Harness::new(
        &[bad, guarded("web", VIP, "deny = [\"bad\"]"), guarded("open", "203.0.113.20", "")].concat(),
    );
    let open = Packet { destination: "203.0.113.20".parse().expect("an address"), ..Packet::default() };
    let other = Packet { destination: "203.0.113.99".parse().expect("an address"), ..Packet::default() };
    assert_eq!(balancer.run(&from("192.0.2.7")).reason, Denied);
    assert_eq!(balancer.run(&open.build()).reason, Transmitted);
    assert_eq!(balancer.run(&other.build()).reason, NotOurs);
}

#[test]
fn source_that_is_denied_loses_the_flows_that_it_has() {
    let with = |prefixes: &[&str]| [list("bad", prefixes), guarded("web", VIP, "deny = [\"bad\"]")].concat();
    let mut balancer = Harness::new(&with(&[]));
    let goes_on = Packet { syn: false, ack: true, ..Packet::default() }.build();
    assert_eq!(balancer.run(&from("192.0.2.7")).reason, Transmitted);
    assert_eq!(balancer.run(&goes_on).reason, Transmitted);
    balancer.reload(&with(&["192.0.2.7"]));
    assert_eq!(balancer.run(&goes_on).reason, Denied);
    balancer.reload(&with(&["192.0.2.8"]));
    assert_eq!(balancer.run(&goes_on).reason, Transmitted);
}

#[test]
fn list_that_is_named_no_more_says_nothing() {
    let bad = list("bad", &["192.0.2.0/24"]);
    let mut balancer = Harness::new(&[bad.clone(), guarded("web", VIP, "deny = [\"bad\"]")].concat());
    assert_eq!(balancer.run(&from("192.0.2.7")).reason, Denied);
    balancer.reload(&[bad.clone(), guarded("web", VIP, "")].concat());
    assert_eq!(balancer.run(&from("192.0.2.7")).reason, Transmitted);
    balancer.reload(&[bad, guarded("web", VIP, "allow = [\"bad\"]")].concat());
    assert_eq!(balancer.run(&from("192.0.2.7")).reason, Transmitted);
    assert_eq!(balancer.run(&from("198.18.0.1")).reason, NotAllowed);
}

/// A configuration that denies 300,000 prefixes: those whose third byte is even, or those where it is odd.
fn half_of_a_network(odd: bool) -> String {
    const PREFIXES: u32 = 300_000;
    let mut list = "[[list]]\nname = \"bad\"\nprefixes = [\n".to_owned();
    for number in 0..PREFIXES {
        // Every second network of 128 addresses, so that none is merged with its neighbour.
        let address = Ipv4Addr::from_bits(0x1000_0000 + number * 512 + u32::from(odd) * 256);
        writeln!(list, "\"{address}/25\",").expect("a string takes it");
    }
    [list, "]\n".to_owned(), guarded("web", VIP, "deny = [\"bad\"]")].concat()
}

#[test]
fn list_of_300_000_prefixes_is_swapped_as_a_whole() {
    let mut balancer = Harness::new(&half_of_a_network(false));
    let other = half_of_a_network(true);
    // One of the first prefixes and one of the last of each half.
    let frames: Vec<_> = [(0, 0), (0, 256), (299_999, 0), (299_999, 256)]
        .map(|(number, half)| from(&Ipv4Addr::from_bits(0x1000_0000 + number * 512 + half).to_string()))
        .into();
    let program = own_program(&mut balancer);
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                seen.push(frames.iter().map(|frame| is_dropped(&program, frame)).collect::<Vec<_>>());
                seen.dedup();
            }
            seen
        });
        balancer.reload(&other);
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("the watcher ends")
    });
    assert_eq!(seen.first().map(Vec::as_slice), Some(&[true, false, true, false][..]));
    assert!(seen.len() <= 3, "one swap, and a look at each packet before or after it: {seen:?}");
    let turns = seen.iter().flatten().collect::<Vec<_>>();
    assert!(!turns.is_empty());
    // Between the two, what was looked at first may be from before, what was looked at later from after.
    for looks in seen.windows(2) {
        let changed: Vec<_> = looks[0].iter().zip(&looks[1]).map(|(before, after)| before != after).collect();
        assert!(changed.iter().any(|changed| *changed), "{seen:?}");
    }
    for (frame, dropped) in frames.iter().zip([false, true, false, true]) {
        assert_eq!(balancer.run(frame).reason.fate() == Fate::Drop, dropped);
    }
}

/// The balancer's program once more, to be run beside it.
fn own_program(balancer: &mut Harness) -> Xdp {
    ensure_bpffs().expect("a BPF file system");
    let path = format!("{BPFFS}/sluice-test-lists-{}", std::process::id());
    balancer.dataplane.program().expect("it is loaded").pin(&path).expect("a pin");
    let program = Xdp::from_pin(&path, XdpAttachType::Interface);
    std::fs::remove_file(path).expect("the pin goes");
    program.expect("the pinned program")
}

/// `XDP_DROP` is 1 (linux/bpf.h).
fn is_dropped(program: &Xdp, frame: &[u8]) -> bool {
    run(program, frame).0 == 1
}
