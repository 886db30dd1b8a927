//! The MSS of SYNs, where a service bounds it.

use lb_common::{
    counter::Reason::{Transmitted, TtlExpired},
    knobs::FEATURE_MSS,
};
use lb_tests::{
    answers,
    packet::{Packet, UDP},
};

use crate::harness::{Harness, V4_BACKEND, WAYS, service};

fn services(rest: &str, backend: &str) -> String {
    let rest = format!("protocol = \"tcp\"\n{rest}");
    let udp = service("udp", "203.0.113.10", "80", "protocol = \"udp\"\nforwarding = \"l2\"", &[backend]);
    [
        service("v4", "203.0.113.10", "80", &rest, &[backend]),
        service("v6", "2001:db8:113::10", "80", &rest, &[backend]),
        udp,
    ]
    .concat()
}

fn balancer(mss: &str, forwarding: &str, backend: &str) -> Harness {
    let rest = format!("mss = {mss}\nforwarding = \"{forwarding}\"");
    Harness::with_features(FEATURE_MSS, "", &services(&rest, backend))
}

/// An option that announces `mss`.
fn announces(mss: u16) -> Vec<u8> {
    [&[2, 4][..], &mss.to_be_bytes()].concat()
}

/// A SYN with options.
fn syn(packet: &Packet, options: &[u8]) -> Packet {
    Packet { tcp_options: options.to_vec(), ..packet.clone() }
}

/// What the backend gets: by `l2`, the IP packet.
fn ip_behind(balancer: &mut Harness, packet: &Packet, outer: usize) -> Vec<u8> {
    let outcome = balancer.run(&packet.build());
    assert_eq!(outcome.reason, Transmitted);
    let link = 14 + 4 * packet.tags.len();
    outcome.frame[link + outer..].to_vec()
}

/// `before`, with the same options but for the MSS. The checksum is etherparse's.
fn assert_becomes(balancer: &mut Harness, before: &Packet, after: &[u8]) {
    let expected = Packet { tcp_options: after.to_vec(), ..before.clone() };
    assert_eq!(ip_behind(balancer, before, 0), expected.ip(), "{before:?}");
}

#[test]
fn larger_mss_is_lowered_and_no_other_byte_but_the_checksum() {
    let mut balancer = balancer("1360", "l2", V4_BACKEND);
    for packet in [Packet::default(), Packet::v6()] {
        for tags in [vec![], vec![(0x88a8, 5), (0x8100, 6)]] {
            for (mss, bounded) in
                [(1460, 1360), (65_535, 1360), (1361, 1360), (1360, 1360), (536, 536), (0, 0)]
            {
                let before = Packet { tags: tags.clone(), ..syn(&packet, &announces(mss)) };
                assert_becomes(&mut balancer, &before, &announces(bounded));
            }
        }
    }
}

#[test]
fn mss_is_found_at_any_place_among_the_options() {
    let mut balancer = balancer("1360", "l2", V4_BACKEND);
    for packet in [Packet::default(), Packet { options: vec![1; 40], ..Packet::default() }, Packet::v6()] {
        for before in 0..16 {
            let options = |mss| [vec![1; before], announces(mss)].concat();
            assert_becomes(&mut balancer, &syn(&packet, &options(1460)), &options(1360));
        }
        // As Linux orders them: MSS, SACK permitted, timestamps, nothing, window scale.
        let linux =
            |mss: u16| [announces(mss), vec![4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]].concat();
        assert_becomes(&mut balancer, &syn(&packet, &linux(1460)), &linux(1360));
        let last = |mss: u16| [vec![8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 3, 3, 7], announces(mss)].concat();
        assert_becomes(&mut balancer, &syn(&packet, &last(1460)), &last(1360));
    }
}

#[test]
fn what_announces_no_mss_is_left_alone() {
    let mut balancer = balancer("536", "l2", V4_BACKEND);
    let odd: [&[u8]; 10] = [
        &[],
        &[1; 40],
        // Behind the end of options.
        &[0, 2, 4, 5, 0xb4],
        // Behind more options than anybody has.
        &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 0xb4],
        // Of a length that no MSS has.
        &[2, 3, 5, 1],
        &[2, 6, 5, 0xb4, 1, 1],
        // Options of no length, and of one byte.
        &[3, 0, 2, 4, 5, 0xb4],
        &[3, 1, 2, 4, 5, 0xb4],
        // One that ends behind the header.
        &[8, 40, 2, 4, 5, 0xb4],
        &[1, 2, 4, 5],
    ];
    for packet in [Packet::default(), Packet::v6()] {
        for options in odd {
            assert_becomes(&mut balancer, &syn(&packet, options), options);
        }
    }
    let not_syns = [
        Packet { syn: false, ack: true, ..syn(&Packet::default(), &announces(1460)) },
        Packet { syn: true, ack: true, ..syn(&Packet::default(), &announces(1460)) },
        Packet { protocol: UDP, payload: announces(1460), ..Packet::default() },
    ];
    for packet in not_syns {
        assert_eq!(ip_behind(&mut balancer, &packet, 0), packet.ip(), "{packet:?}");
    }
}

#[test]
fn automatic_mss_is_what_fits_on_the_way_to_the_backend() {
    for (forwarding, backend, overhead) in WAYS {
        let mut balancer = balancer("\"auto\"", forwarding, backend);
        for (packet, headers) in [(Packet::default(), 40), (Packet::v6(), 60)] {
            let before = syn(&packet, &announces(9000));
            let fits = 1500 - overhead - headers;
            let after = syn(&packet, &announces(fits));
            let after = if overhead > 0 { after.passed_on() } else { after };
            let got = ip_behind(&mut balancer, &before, usize::from(overhead));
            assert_eq!(got, after.ip(), "{forwarding} to {backend}");
        }
    }
}

#[test]
fn automatic_mss_never_asks_for_less_than_every_host_takes() {
    let toml = services("mss = \"auto\"\nforwarding = \"l2\"", V4_BACKEND);
    let mut balancer = Harness::with_features(FEATURE_MSS, "", &toml);
    balancer.view.next_hops.values_mut().for_each(|hop| std::sync::Arc::make_mut(hop).mtu = 200);
    balancer.advance(std::time::Duration::ZERO);
    assert_becomes(&mut balancer, &syn(&Packet::default(), &announces(1460)), &announces(536));
}

#[test]
fn service_that_says_nothing_leaves_syns_as_they_are() {
    let mut balancer = Harness::with_features(FEATURE_MSS, "", &services("forwarding = \"l2\"", V4_BACKEND));
    assert_becomes(&mut balancer, &syn(&Packet::default(), &announces(65_535)), &announces(65_535));
}

#[test]
fn syn_that_goes_no_further_is_answered_all_the_same() {
    let mut balancer = balancer("1360", "ipip", V4_BACKEND);
    let packet = Packet { hops: 1, ..syn(&Packet::default(), &announces(1460)) };
    let outcome = balancer.run(&packet.build());
    assert_eq!(outcome.reason, TtlExpired);
    let bounded = Packet { tcp_options: announces(1360), ..packet };
    assert_eq!(outcome.frame, answers::time_exceeded(&bounded));
}
