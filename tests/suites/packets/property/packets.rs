//! Any packet.

use std::net::IpAddr;

use lb_tests::packet::{End, Packet, TCP, UDP};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::scenes::{VIPS, ip};

/// A packet for a VIP that a backend gets, of any shape.
pub fn for_a_vip() -> impl Strategy<Value = Packet> {
    (shape(), flow()).prop_map(|(shape, flow)| Packet {
        source: flow.source,
        destination: flow.destination,
        protocol: flow.protocol,
        source_port: flow.source_port,
        options: if flow.destination.is_ipv4() { shape.options } else { Vec::new() },
        extensions: if flow.destination.is_ipv4() { Vec::new() } else { shape.extensions },
        ..shape
    })
}

/// Any bytes; those of a packet, and those with some of a packet's.
pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<Index>(), any::<u8>()), 0..6);
    let damaged =
        (for_a_vip(), damage, any::<Index>(), any::<bool>()).prop_map(|(packet, damage, end, cut)| {
            let mut frame = packet.build();
            for (at, value) in damage {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            let end = if cut { 14 + end.index(frame.len() - 13) } else { frame.len() };
            frame.truncate(end);
            frame
        });
    prop_oneof![1 => vec(any::<u8>(), 14..200), 9 => damaged]
}

/// Addresses, protocol, source port.
fn flow() -> impl Strategy<Value = Packet> {
    let v4 = any::<[u8; 3]>().prop_map(|[a, b, c]| (IpAddr::from([10, a, b, c]), ip(VIPS[0])));
    let v6 = any::<[u16; 4]>()
        .prop_map(|[a, b, c, d]| (IpAddr::from([0x2001, 0xdb8, 0xc, 0, a, b, c, d]), ip(VIPS[1])));
    let addresses = prop_oneof![v4.boxed(), v6.boxed()];
    let protocol = prop_oneof![Just(TCP), Just(UDP)];
    (addresses, protocol, 1..=u16::MAX).prop_map(|((source, destination), protocol, source_port)| Packet {
        source,
        destination,
        protocol,
        source_port,
        ..Packet::default()
    })
}

/// Everything but the flow.
fn shape() -> impl Strategy<Value = Packet> {
    let tags = prop_oneof![
        Just(Vec::new()),
        any::<u16>().prop_map(|tag| vec![(0x8100, tag)]),
        any::<[u16; 2]>().prop_map(|[outer, inner]| vec![(0x88a8, outer), (0x8100, inner)]),
    ];
    let options = vec(Just(1), 0..=10).prop_map(|words: Vec<u8>| words.repeat(4));
    let extension = (prop_oneof![Just(0), Just(43), Just(60)], 0..4u8).prop_map(|(number, units)| {
        let mut rest = vec![units];
        rest.resize(7 + usize::from(units) * 8, 0);
        (number, rest)
    });
    let end = prop_oneof![Just(None), Just(Some(End::Fin)), Just(Some(End::Rst))];
    let flags = (any::<bool>(), any::<bool>(), any::<u32>(), end);
    let carried = (vec(any::<u8>(), 0..600), 0..20usize, any::<u8>());
    (tags, options, vec(extension, 0..=4), flags, carried).prop_map(
        |(tags, options, extensions, (syn, ack, acknowledges, end), (payload, padding, traffic_class))| {
            Packet {
                tags,
                options,
                extensions,
                // Bits that contradict each other are dropped where a service wants it.
                syn: syn && end.is_none(),
                ack: ack || end == Some(End::Fin) || !syn && end.is_none(),
                acknowledges,
                end,
                payload,
                padding,
                traffic_class,
                ..Packet::default()
            }
        },
    )
}
