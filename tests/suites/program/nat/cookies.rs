//! Connections that cookies open: the bytes of either handshake, and of what follows.

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_common::knobs::{FEATURE_MSS, FEATURE_STRICT};
use lb_common::{
    cookie::AGAIN_NS,
    counter::Reason::{Acknowledged, BadCookie, Cookie, NoSession, NotOpenYet, Returned, Transmitted},
};
use lb_tests::{
    errors,
    packet::{CLIENT_MAC, End, Packet, UDP},
};
use sluice::dataplane::DataPlane as _;

use super::{
    backend_address, forwarded, pool, pool_address, reason, reply, send, services, source_port, to_backend,
    to_client,
};
use crate::harness::{Harness, service};

/// Where the backends begin to count.
const BACKEND: u32 = 0xffff_ff00;

/// A balancer whose services, where they can, answer SYNs as `syn_cookies` says. It is loaded for little else, which the
/// verifier is done with sooner.
fn balancer(syn_cookies: &str) -> Harness {
    Harness::only_for(FEATURE_STRICT, &toml(syn_cookies))
}

fn toml(syn_cookies: &str) -> String {
    let guard = format!("[defaults.guard]\nsyn_cookies = {syn_cookies}\n");
    guard + &pool("20000-20999") + &services("", Some(8080))
}

/// SYNs of both families, which announce an MSS.
fn syns() -> [Packet; 2] {
    let syn =
        |packet, bytes| Packet { sequence: 7_000, tcp_options: mss(bytes), payload: Vec::new(), ..packet };
    [syn(Packet::default(), 1460), syn(Packet::v6(), 1440)]
}

fn mss(bytes: u16) -> Vec<u8> {
    let [high, low] = bytes.to_be_bytes();
    vec![2, 4, high, low]
}

/// Sequence number of a frame without tags and options.
fn sequence(frame: &[u8]) -> u32 {
    let at = if frame[12..14] == [0x08, 0x00] { 38 } else { 58 };
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

/// Sends a SYN that is answered; gives the cookie.
fn ask(balancer: &mut Harness, syn: &Packet) -> u32 {
    let outcome = balancer.run(&syn.build());
    assert_eq!(outcome.reason, Cookie, "{syn:?}");
    sequence(&outcome.frame)
}

/// What the balancer answers a SYN.
fn answer(syn: &Packet, cookie: u32, own_mss: u16) -> Packet {
    Packet {
        source: syn.destination,
        source_port: syn.destination_port,
        destination: syn.source,
        destination_port: syn.source_port,
        ack: true,
        sequence: cookie,
        acknowledges: syn.sequence.wrapping_add(1),
        window: 5840,
        tcp_options: mss(own_mss),
        hops: 64,
        payload: Vec::new(),
        ..syn.clone()
    }
}

/// What a client sends with a cookie.
fn back(syn: &Packet, cookie: u32) -> Packet {
    Packet {
        syn: false,
        ack: true,
        sequence: syn.sequence.wrapping_add(1),
        acknowledges: cookie.wrapping_add(1),
        window: 500,
        tcp_options: Vec::new(),
        ..syn.clone()
    }
}

/// The SYN that a backend gets, which lasts one hop less.
fn opening(syn: &Packet, port: u16) -> Packet {
    Packet { window: 500, hops: 63, ..forwarded(syn, port, 8080) }
}

/// What a backend sends that has got such a SYN.
fn from_backend(syn: &Packet, port: u16) -> Packet {
    Packet { tcp_options: Vec::new(), payload: Vec::new(), ..reply(&opening(syn, port)) }
}

/// A connection that its client has opened with a cookie, and its backend's SYN-ACK.
struct Opened {
    port: u16,
    cookie: u32,
    syn_ack: Packet,
}

/// Brings a cookie back, and has the backend answer if it `answers`.
fn open(balancer: &mut Harness, syn: &Packet) -> Opened {
    let cookie = ask(balancer, syn);
    let port = send(balancer, &back(syn, cookie));
    let syn_ack =
        Packet { sequence: BACKEND, acknowledges: syn.sequence.wrapping_add(1), ..from_backend(syn, port) };
    Opened { port, cookie, syn_ack }
}

/// The same, and its backend has answered.
fn establish(balancer: &mut Harness, syn: &Packet) -> Opened {
    let opened = open(balancer, syn);
    assert_eq!(reason(balancer, &opened.syn_ack), Acknowledged);
    opened
}

#[test]
fn below_the_threshold_a_syn_goes_to_its_backend_and_above_it_gets_a_cookie() {
    for syn in syns() {
        let mut balancer = balancer("{ above = 3 }");
        let reasons: Vec<_> = (0..5)
            .map(|n| reason(&mut balancer, &Packet { source_port: 1_000 + n, ..syn.clone() }))
            .collect();
        assert_eq!(reasons, [Transmitted, Transmitted, Transmitted, Cookie, Cookie]);
        let first = Packet { syn: false, ack: true, source_port: 1_000, ..syn.clone() };
        let port = send(&mut balancer, &first);
        let there = forwarded(&first, port, 8080);
        assert_eq!(balancer.run(&first.build()).frame, to_backend(&there), "its session is one as ever");
    }
}

#[test]
fn flow_is_counted_as_opened_once_its_cookie_is_back() {
    let mut balancer = balancer("\"always\"");
    let opened = |balancer: &Harness, vip, count: u64| {
        let id = balancer.service_id(vip, 80, 6);
        assert_eq!(balancer.dataplane.service_opened(id), count);
    };
    for syn in syns() {
        ask(&mut balancer, &syn);
        opened(&balancer, syn.destination, 0);
        let connection = establish(&mut balancer, &syn);
        opened(&balancer, syn.destination, 1);
        send(&mut balancer, &back(&syn, connection.cookie));
        opened(&balancer, syn.destination, 1);
    }
}

#[test]
fn cookies_go_on_to_be_sent_once_the_threshold_was_exceeded() {
    let mut balancer = balancer("{ above = 1000 }");
    let [syn, _] = syns();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut port = 1_000;
    while reason(&mut balancer, &Packet { source_port: port, ..syn.clone() }) != Cookie {
        assert!(Instant::now() < deadline, "more than 1000 SYNs come in a second");
        port += 1;
    }
    thread::sleep(Duration::from_millis(50));
    assert_eq!(reason(&mut balancer, &syn), Cookie, "though fifty more may come by now");
}

#[test]
fn services_that_cannot_send_any_are_not_meant_by_defaults() {
    let tunnelled =
        service("t", "203.0.113.20", "80", "protocol = \"tcp\"\nforwarding = \"ipip\"", &["198.51.100.7"]);
    let mut balancer = Harness::only_for(0, &(toml("\"always\"") + &tunnelled));
    for packet in [Packet { protocol: UDP, ..Packet::default() }, Packet { protocol: UDP, ..Packet::v6() }] {
        assert_eq!(reason(&mut balancer, &packet), Transmitted);
    }
    let other = Packet { destination: "203.0.113.20".parse().expect("an address"), ..Packet::default() };
    assert_eq!(reason(&mut balancer, &other), Transmitted);
}

#[test]
fn syn_is_answered_byte_by_byte_and_leaves_nothing_behind() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let usual = if syn.source.is_ipv4() { 1460 } else { 1440 };
        let tags = vec![(0x88a8, 8), (0x8100, 9)];
        let options = vec![1, 1, 1, 3, 3, 7, 2, 4, 5, 180, 4, 2];
        for syn in [
            syn.clone(),
            Packet { tags, ..syn.clone() },
            Packet { tcp_options: Vec::new(), payload: b"fast open".to_vec(), ..syn.clone() },
            Packet { tcp_options: options, padding: 9, ..syn.clone() },
        ] {
            let outcome = balancer.run(&syn.build());
            let at = 4 * syn.tags.len();
            let cookie = sequence(&[&outcome.frame[..12], &outcome.frame[12 + at..]].concat());
            let expected = Packet { padding: 0, ..answer(&syn, cookie, usual) };
            assert_eq!(
                (outcome.reason, outcome.frame),
                (Cookie, to_client(&expected, CLIENT_MAC)),
                "{syn:?}"
            );
        }
    }
    balancer.dataplane.sweep(sluice::daemon::now(), &|_| Some(Duration::MAX)).expect("the maps are read");
    assert_eq!((balancer.dataplane.translated().sessions, balancer.dataplane.translated().openings), (0, 0));
}

#[test]
fn services_mss_is_what_a_cookie_announces() {
    let guard = "mss = 1200\n[service.guard]\nsyn_cookies = \"always\"";
    let rest = format!("protocol = \"tcp\"\nforwarding = \"nat\"\n{guard}\n");
    let mut balancer = Harness::only_for(
        FEATURE_MSS,
        &(pool("20000-20999") + &service("web", "203.0.113.10", "80", &rest, &[super::V4_BACKEND])),
    );
    let [syn, _] = syns();
    let outcome = balancer.run(&syn.build());
    let cookie = sequence(&outcome.frame);
    assert_eq!(outcome.frame, to_client(&answer(&syn, cookie, 1200), CLIENT_MAC));
    let outcome = balancer.run(&back(&syn, cookie).build());
    assert_eq!(outcome.frame[outcome.frame.len() - 4..], mss(1200), "and what a backend is told");
}

#[test]
fn cookie_that_comes_back_opens_a_connection_with_the_mss_of_its_syn() {
    let mut balancer = balancer("\"always\"");
    // (announced, told to the backend)
    let v4 = [(None, 536), (Some(536), 536), (Some(1300), 1300), (Some(1459), 1440), (Some(9000), 1460)];
    let v6 = [(None, 1220), (Some(1300), 1220), (Some(1440), 1440), (Some(1500), 1440), (Some(9000), 8940)];
    for (syn, cases) in syns().into_iter().zip([v4, v6]) {
        for (n, (announced, told)) in (0..).zip(cases) {
            let tcp_options = announced.map_or_else(Vec::new, mss);
            let syn = Packet { source_port: 41_000 + n, tcp_options, sequence: u32::MAX, ..syn.clone() };
            let cookie = ask(&mut balancer, &syn);
            let ack = Packet { payload: b"at once".to_vec(), ..back(&syn, cookie) };
            let outcome = balancer.run(&ack.build());
            let port = source_port(&outcome.frame);
            let expected = Packet { tcp_options: mss(told), ..opening(&syn, port) };
            assert_eq!((outcome.reason, outcome.frame), (Transmitted, to_backend(&expected)), "{syn:?}");
        }
    }
}

#[test]
fn backends_answer_is_answered_and_answered_again() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { port, syn_ack, .. } = open(&mut balancer, &syn);
        let ack = Packet {
            syn: false,
            ack: true,
            sequence: syn.sequence + 1,
            acknowledges: BACKEND.wrapping_add(1),
            hops: 64,
            tcp_options: Vec::new(),
            ..opening(&syn, port)
        };
        // It goes back by the way that the other came, as a client's would.
        let expected = to_client(&ack, CLIENT_MAC);
        for time in ["first", "again"] {
            let outcome = balancer.run(&syn_ack.build());
            assert_eq!((outcome.reason, outcome.frame), (Acknowledged, expected.clone()), "{time}: {syn:?}");
        }
    }
}

#[test]
fn data_has_the_numbers_that_its_receiver_knows() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { port, cookie, .. } = establish(&mut balancer, &syn);
        for (sent, received) in [(0, 0), (5, 700), (1 << 20, 1 << 31)] {
            let request = Packet {
                sequence: syn.sequence + 1 + sent,
                acknowledges: cookie.wrapping_add(1 + received),
                payload: b"request".to_vec(),
                ..back(&syn, cookie)
            };
            let there = Packet {
                acknowledges: BACKEND.wrapping_add(1 + received),
                ..forwarded(&request, port, 8080)
            };
            let outcome = balancer.run(&request.build());
            assert_eq!((outcome.reason, outcome.frame), (Transmitted, to_backend(&there)));

            let response = Packet {
                syn: false,
                sequence: BACKEND.wrapping_add(1 + received),
                acknowledges: syn.sequence + 1 + sent,
                payload: b"response".to_vec(),
                ..from_backend(&syn, port)
            };
            let client = Packet {
                source: syn.destination,
                source_port: syn.destination_port,
                destination: syn.source,
                destination_port: syn.source_port,
                sequence: cookie.wrapping_add(1 + received),
                ..response.passed_on()
            };
            let outcome = balancer.run(&response.build());
            assert_eq!((outcome.reason, outcome.frame), (Returned, to_client(&client, CLIENT_MAC)));
        }
    }
}

#[test]
fn number_that_is_no_cookie_opens_nothing() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        assert_eq!(reason(&mut balancer, &back(&syn, 99)), NoSession, "nobody has been sent one yet");
    }
    for syn in syns() {
        let cookie = ask(&mut balancer, &syn);
        let ack = back(&syn, cookie);
        let forged = [
            back(&syn, cookie ^ 0x0080_0000),
            back(&syn, cookie.wrapping_sub(5)),
            Packet { sequence: ack.sequence + 5, ..ack.clone() },
            Packet { source_port: ack.source_port + 1, ..ack.clone() },
            Packet { end: Some(End::Fin), ..back(&syn, cookie.wrapping_add(1 << 24)) },
        ];
        for packet in forged {
            assert_eq!(reason(&mut balancer, &packet), BadCookie, "{packet:?}");
        }
        let reset = Packet { end: Some(End::Rst), ..ack.clone() };
        assert_eq!(reason(&mut balancer, &reset), NoSession);
        assert_eq!(reason(&mut balancer, &ack), Transmitted);
    }
}

#[test]
fn what_comes_before_the_backend_has_answered_makes_another_syn_now_and_then() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { port, cookie, syn_ack } = open(&mut balancer, &syn);
        let data = Packet { payload: b"request".to_vec(), ..back(&syn, cookie) };
        let reset = Packet { end: Some(End::Rst), ..back(&syn, cookie) };
        assert_eq!(reason(&mut balancer, &data), NotOpenYet);
        thread::sleep(Duration::from_nanos(AGAIN_NS));
        assert_eq!(reason(&mut balancer, &reset), NotOpenYet);
        let outcome = balancer.run(&data.build());
        assert_eq!((outcome.reason, outcome.frame), (Transmitted, to_backend(&opening(&syn, port))));
        assert_eq!(reason(&mut balancer, &syn_ack), Acknowledged);
        let there = Packet { acknowledges: BACKEND.wrapping_add(1), ..forwarded(&data, port, 8080) };
        assert_eq!(balancer.run(&data.build()).frame, to_backend(&there));
    }
}

#[test]
fn refusal_of_a_backend_is_one_that_the_client_believes() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { cookie, syn_ack, .. } = open(&mut balancer, &syn);
        let refusal = Packet { syn: false, end: Some(End::Rst), sequence: 0, window: 0, ..syn_ack };
        let outcome = balancer.run(&refusal.build());
        let expected = Packet {
            source: syn.destination,
            source_port: syn.destination_port,
            destination: syn.source,
            destination_port: syn.source_port,
            sequence: cookie.wrapping_add(1),
            ..refusal.passed_on()
        };
        assert_eq!((outcome.reason, outcome.frame), (Returned, to_client(&expected, CLIENT_MAC)));
    }
}

#[test]
fn word_of_a_connection_before_is_reset_at_its_backend() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { syn_ack, .. } = open(&mut balancer, &syn);
        let challenge = Packet { syn: false, sequence: 5, acknowledges: 0x1234_5678, ..syn_ack.clone() };
        let outcome = balancer.run(&challenge.build());
        let expected = Packet {
            source: challenge.destination,
            source_port: challenge.destination_port,
            destination: challenge.source,
            destination_port: challenge.source_port,
            ack: false,
            end: Some(End::Rst),
            sequence: 0x1234_5678,
            acknowledges: 0,
            window: 0,
            ..challenge
        };
        assert_eq!((outcome.reason, outcome.frame), (Acknowledged, to_client(&expected, CLIENT_MAC)));
        assert_eq!(reason(&mut balancer, &syn_ack), Acknowledged, "and the backend may still answer");
    }
}

#[test]
fn client_that_begins_anew_gets_another_cookie() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { port, cookie, .. } = establish(&mut balancer, &syn);
        let fin = Packet { end: Some(End::Fin), ..back(&syn, cookie) };
        assert_eq!(reason(&mut balancer, &fin), Transmitted);
        let reset = Packet { syn: false, end: Some(End::Rst), ..from_backend(&syn, port) };
        assert_eq!(reason(&mut balancer, &reset), Returned);
        assert_eq!(reason(&mut balancer, &fin), Transmitted, "a FIN that is sent again opens nothing");

        let again = Packet { sequence: 900_000, ..syn.clone() };
        let opened = establish(&mut balancer, &again);
        let data = Packet { payload: b"request".to_vec(), ..back(&again, opened.cookie) };
        let there = Packet { acknowledges: BACKEND.wrapping_add(1), ..forwarded(&data, opened.port, 8080) };
        assert_eq!(balancer.run(&data.build()).frame, to_backend(&there));
    }
}

#[test]
fn syn_that_no_backend_has_answered_may_be_followed_by_a_cookie() {
    for syn in syns() {
        let mut balancer = balancer("{ above = 1 }");
        assert_eq!(reason(&mut balancer, &syn), Transmitted);
        let Opened { .. } = establish(&mut balancer, &syn);
    }
}

#[test]
fn late_copy_of_a_syn_leaves_the_numbers_shifted() {
    for syn in syns() {
        let mut balancer = balancer("\"always\"");
        let Opened { port, cookie, .. } = establish(&mut balancer, &syn);
        balancer.reload(&toml("\"off\""));
        assert_eq!(reason(&mut balancer, &syn), Transmitted);
        let data = back(&syn, cookie);
        let there = Packet { acknowledges: BACKEND.wrapping_add(1), ..forwarded(&data, port, 8080) };
        assert_eq!(balancer.run(&data.build()).frame, to_backend(&there));
    }
}

#[test]
fn errors_quote_the_numbers_that_their_receiver_has_sent() {
    let mut balancer = balancer("\"always\"");
    for syn in syns() {
        let Opened { port, cookie, .. } = establish(&mut balancer, &syn);
        let header = if syn.source.is_ipv4() { 20 } else { 40 };
        let kind = errors::of_family(&syn)[0];
        let request = Packet { payload: vec![7; 700], ..back(&syn, cookie) };
        let there =
            Packet { acknowledges: BACKEND.wrapping_add(1), hops: 64, ..forwarded(&request, port, 8080) };
        let answer =
            Packet { sequence: cookie.wrapping_add(1), acknowledges: 7_001, ..errors::reply(&request) };
        let answer_there =
            Packet { sequence: BACKEND.wrapping_add(1), acknowledges: 7_001, ..errors::reply(&there) };
        for bytes in [4, 8, 12, 16, 20, 500] {
            let quoted = |packet: &Packet| {
                let mut bytes_of = packet.ip();
                bytes_of.truncate(header + bytes);
                bytes_of
            };
            // A router on the client's side about what the backend has sent.
            let error = errors::about(&quoted(&answer), request.destination, kind);
            let expected =
                errors::between(pool_address(&syn), backend_address(&syn), &quoted(&answer_there), kind);
            let outcome = balancer.run(&error.build());
            assert_eq!(
                (outcome.reason, outcome.frame),
                (Transmitted, to_backend(&expected.passed_on())),
                "{bytes} bytes"
            );
            // And one on the backend's about what the client has sent.
            let router = errors::ROUTER[usize::from(syn.source.is_ipv6())];
            let error = errors::between(router, pool_address(&syn), &quoted(&there), kind);
            let expected = errors::between(syn.destination, syn.source, &quoted(&request), kind);
            let outcome = balancer.run(&error.build());
            let frame = to_client(&expected.passed_on(), CLIENT_MAC);
            assert_eq!((outcome.reason, outcome.frame), (Returned, frame), "{bytes} bytes");
        }
    }
}
