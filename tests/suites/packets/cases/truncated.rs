//! Frames cut at every byte, and packets whose headers say that they end at every byte.

use lb_common::counter::Reason::{self, BadHeader, NotIp, Transmitted, Truncated};
use lb_tests::packet::{Packet, UDP};
use libtest_mimic::Trial;

use crate::{
    cases::modes,
    scenes::{WAYS, Way},
};

/// Tries every length of a packet.
type Sweep = fn(&'static Way, &Packet);

pub fn trials() -> Vec<Trial> {
    let sweeps: [(&str, Sweep); 2] =
        [("frame cut at every byte", cut_frames), ("packet that ends at every byte", short_packets)];
    let mut trials = Vec::new();
    for (sweep, run) in sweeps {
        for way in &WAYS {
            for (shape, packet) in modes::shapes().into_iter().chain(tagged()) {
                let name = format!("truncated::{}: {shape}, {sweep}", way.name);
                trials.push(Trial::test(name, move || {
                    run(way, &packet);
                    Ok(())
                }));
            }
        }
    }
    trials
}

fn tagged() -> [(&'static str, Packet); 2] {
    let tags = vec![(0x88a8, 5), (0x8100, 6)];
    [
        ("IPv4 in QinQ", Packet { tags: tags.clone(), ..Packet::default() }),
        ("IPv6 UDP in QinQ", Packet { tags, protocol: UDP, ..Packet::v6() }),
    ]
}

/// Bytes before the IP header, and of the IP header without what may follow it.
fn fixed(packet: &Packet) -> (usize, usize) {
    (14 + 4 * packet.tags.len(), if packet.destination.is_ipv4() { 20 } else { 40 })
}

/// The frame ends, and no header knows.
fn cut_frames(way: &'static Way, packet: &Packet) {
    let (link, ip) = fixed(packet);
    let whole = packet.build();
    for length in 14..whole.len() {
        let expected = match length {
            _ if length < link + ip => NotIp,
            _ if length < link + packet.ip().len() => BadHeader,
            _ => Transmitted,
        };
        let frame = &whole[..length];
        let outcome = way.scene.with(|balancer| balancer.run(frame));
        assert_eq!(outcome.reason, expected, "{length} of {} bytes", whole.len());
        assert!(expected != NotIp || outcome.frame == frame, "{length} bytes: a passed packet is unchanged");
    }
}

/// The IP header announces that the packet ends, and the frame does end.
fn short_packets(way: &'static Way, packet: &Packet) {
    let (link, ip) = fixed(packet);
    let whole = packet.build();
    let transport = if packet.protocol == UDP { 8 } else { 20 };
    let headers = packet.ip().len() - packet.payload.len();
    let options_end = if packet.destination.is_ipv4() { headers - transport } else { ip };
    for length in ip..packet.ip().len() {
        let expected: Reason = match length {
            _ if length < options_end => BadHeader,
            _ if length < headers => Truncated,
            // The UDP header announces more.
            _ if packet.protocol == UDP => BadHeader,
            _ => Transmitted,
        };
        let mut frame = whole[..link + length].to_vec();
        let (at, announced) = if ip == 20 { (link + 2, length) } else { (link + 4, length - ip) };
        frame[at..at + 2].copy_from_slice(&(announced as u16).to_be_bytes());
        let outcome = way.scene.with(|balancer| balancer.run(&frame));
        assert_eq!(outcome.reason, expected, "{length} of {} bytes", packet.ip().len());
    }
}
