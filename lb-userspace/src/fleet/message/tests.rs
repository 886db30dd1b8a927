//! What is said arrives as it was said, or not at all.

use lb_common::address::Address;
use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(1_000);
const AGE: Duration = Duration::from_secs(3);

fn host(n: u8) -> Host {
    Host { address: Address::from_v4([198, 51, 100, n]), forwarding: Some(Forwarding::Ipip) }
}

fn key(v6: bool) -> ServiceKey {
    let address = if v6 { Address::from_v6([0x20; 16]) } else { Address::from_v4([203, 0, 113, 10]) };
    ServiceKey::new(address, u16::MAX, 17)
}

fn sighting(source: Address) -> Sighting {
    let flow = Flow {
        source,
        destination: key(true).address,
        source_port: [0xff; 2],
        destination_port: [0xff; 2],
        protocol: 17,
    };
    Sighting {
        flow,
        host: Host { address: source, forwarding: None },
        closing: 1,
        seen: NOW.saturating_sub(AGE),
    }
}

fn there_and_back(message: &Message) -> Message {
    Message::decode(&message.encode(NOW), NOW).unwrap()
}

#[test]
fn message_arrives_as_it_was_sent() {
    let past = Past { host: host(1), slots: vec![0, 1, 7, 65_536] };
    let messages = [
        Message::Tables(vec![Published {
            key: key(false),
            length: 65_537,
            source_bits: 24,
            digest: u64::MAX,
        }]),
        Message::AskAll,
        Message::AskFlows,
        Message::History(History { key: key(true), length: 65_537, source_bits: 0, pasts: vec![past] }),
        Message::Flows(vec![sighting(Address::from_v4([192, 0, 2, 7])), sighting(Address::from_v6([9; 16]))]),
        Message::Complete,
        Message::Alive,
    ];
    for message in messages {
        assert_eq!(there_and_back(&message), message);
    }
}

#[test]
fn flow_is_as_old_when_it_arrives_at_another_clock() {
    let there = Duration::from_secs(77_777);
    let sent = sighting(Address::from_v4([192, 0, 2, 7]));
    let arrived = Message::decode(&Message::Flows(vec![sent]).encode(NOW), there).unwrap();
    assert_eq!(arrived, Message::Flows(vec![Sighting { seen: there.saturating_sub(AGE), ..sent }]));
}

#[test]
fn longest_messages_fit_into_a_frame() {
    let flow = Sighting { seen: Duration::ZERO, ..sighting(Address::from_v6([0xff; 16])) };
    let table = Published { key: key(true), length: u32::MAX, source_bits: u8::MAX, digest: u64::MAX };
    // The largest steps that a table allows: one slot at the end of many.
    let past = Past { host: flow.host, slots: vec![MAX_LENGTH - 1; SLOTS] };
    let history = History { key: key(true), length: MAX_LENGTH, source_bits: 0, pasts: vec![past] };
    let long = Duration::from_secs(u64::from(u32::MAX));
    for message in flows(&vec![flow; FLOWS]).chain(tables(&vec![table; TABLES])).chain(pieces(&history)) {
        let length = message.encode(long).len();
        assert!(length <= MAX_PAYLOAD, "{length}");
    }
}

#[test]
fn pieces_of_a_history_are_the_whole() {
    let slots: Vec<u32> = (0..20_000).collect();
    let past = |n, slots: &[u32]| Past { host: host(n), slots: slots.to_vec() };
    let pasts = vec![past(1, &slots[..10_000]), past(2, &slots[10_000..])];
    let history = History { key: key(false), length: 20_011, source_bits: 0, pasts };
    let mut found = [Vec::new(), Vec::new()];
    for piece in pieces(&history) {
        let Message::History(piece) = there_and_back(&piece) else { panic!("{piece:?}") };
        found[usize::from(piece.pasts[0].host == host(2))].extend(piece.pasts[0].slots.clone());
    }
    assert_eq!(found.concat(), slots);
}

#[test]
fn slots_beyond_their_table_and_unknown_words_are_no_message() {
    let past = Past { host: host(1), slots: vec![498, 499] };
    let beyond =
        Message::History(History { key: key(false), length: 499, source_bits: 0, pasts: vec![past] });
    assert_eq!(Message::decode(&beyond.encode(NOW), NOW), Err(NotAMessage));
    let closing = Message::Flows(vec![Sighting { closing: 3, ..sighting(Address::from_v6([9; 16])) }]);
    assert_eq!(Message::decode(&closing.encode(NOW), NOW), Err(NotAMessage));
}

proptest! {
    #[test]
    fn no_bytes_are_more_than_no_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes, NOW);
    }
}
