//! What has to be true of every run, whatever the frame.

use etherparse::{Ipv4Header, Ipv6Header, LaxPacketHeaders, NetHeaders, TransportHeader};
use lb_common::counter::{Fate, Reason};

/// XDP's actions (linux/bpf.h, `enum xdp_action`), which are numbered from 0.
pub const ACTIONS: usize = 5;

const ABORTED: u32 = 0;
const DROP: u32 = 1;
const PASS: u32 = 2;
const REDIRECT: usize = 4;

/// Judges one run.
pub fn judge(frame: &[u8], action: u32, out: &[u8]) -> Result<(), String> {
    match action {
        ABORTED => Err("the program was aborted".to_owned()),
        DROP => Ok(()),
        PASS if out == frame => Ok(()),
        PASS => Err("a passed packet is not what arrived".to_owned()),
        action if action as usize >= ACTIONS => Err(format!("there is no action {action}")),
        _ => sent(frame, out),
    }
}

/// Judges what a batch was counted under: each run once, under a reason of its action, and none as a fault.
pub fn counts(grown: &[u64; Reason::COUNT], actions: [u64; ACTIONS]) -> Result<(), String> {
    let mut expected = [0; ACTIONS];
    for (reason, count) in Reason::ALL.into_iter().zip(grown) {
        expected[action_of(reason)] += count;
    }
    if grown[Reason::Internal as usize] > 0 {
        return Err("the maps are said to contradict each other".to_owned());
    }
    // What returns to a client may leave by another interface than it came.
    let [_, drop, pass, tx, redirect] = actions;
    let [_, counted_drop, counted_pass, counted_tx, counted_redirect] = expected;
    if (drop, pass, tx + redirect) != (counted_drop, counted_pass, counted_tx + counted_redirect) {
        return Err(format!(
            "the reasons counted are those of actions {expected:?}, but there were {actions:?}"
        ));
    }
    Ok(())
}

fn action_of(reason: Reason) -> usize {
    match (reason.fate(), reason) {
        (Fate::Drop, _) => 1,
        (Fate::Pass, _) => 2,
        (_, Reason::Redirected) => REDIRECT,
        _ => 3,
    }
}

/// A frame that leaves is one that a receiver can read: addressed by us, its outer IP header whole, true to the frame's
/// length and right in its checksum; all further checksums right, where those of the frame that came were.
fn sent(frame: &[u8], out: &[u8]) -> Result<(), String> {
    // An answer turns the addresses around, which is nothing where both are the same.
    if frame.get(..12) == out.get(..12) && frame[..6] != frame[6..12] {
        return Err("a sent packet has the MAC addresses that it came with".to_owned());
    }
    let ip = ip_offset(out).ok_or("a sent packet is cut before its IP header")?;
    let length = if out[ip] >> 4 == 4 {
        let (header, _) = Ipv4Header::from_slice(&out[ip..]).map_err(|error| format!("sent: {error}"))?;
        usize::from(header.total_len)
    } else {
        let (header, _) = Ipv6Header::from_slice(&out[ip..]).map_err(|error| format!("sent: {error}"))?;
        usize::from(header.payload_length) + 40
    };
    if ip + length > out.len() {
        return Err(format!("a sent packet of {} bytes says that it has {}", out.len(), ip + length));
    }
    match (sound(frame), sound(out)) {
        (Ok(()), Err(what)) => {
            Err(format!("all was right in the packet that came, but in the one sent {what}"))
        }
        _ => Ok(()),
    }
}

/// Where the IP header lies, behind at most two tags.
fn ip_offset(frame: &[u8]) -> Option<usize> {
    let kind = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let is_tag = |at| matches!(kind(at), Some(0x8100 | 0x88a8));
    let tags = if !is_tag(12) {
        0
    } else if is_tag(16) {
        2
    } else {
        1
    };
    let ip = 14 + 4 * tags;
    let version = frame.get(ip)? >> 4;
    let wanted = if version == 4 { 0x0800 } else { 0x86dd };
    (frame.len() >= ip + 20 && kind(ip - 2) == Some(wanted)).then_some(ip)
}

/// Whether all checksums that can be read are right.
fn sound(frame: &[u8]) -> Result<(), &'static str> {
    let headers = LaxPacketHeaders::from_ethernet(frame).map_err(|_| "nothing can be read")?;
    if headers.stop_err.is_some() {
        return Err("a header contradicts itself");
    }
    let payload = headers.payload.slice();
    let right = match (&headers.net, &headers.transport) {
        (Some(NetHeaders::Ipv4(ip, _)), _) if ip.header_checksum != ip.calc_header_checksum() => {
            return Err("the IPv4 header's checksum is wrong");
        }
        (Some(NetHeaders::Ipv4(ip, _)), Some(transport)) => over_ipv4(ip, transport, payload),
        (Some(NetHeaders::Ipv6(ip, _)), Some(transport)) => over_ipv6(ip, transport, payload),
        _ => Some(true),
    };
    if right == Some(true) { Ok(()) } else { Err("the transport's checksum is wrong") }
}

fn over_ipv4(ip: &Ipv4Header, transport: &TransportHeader, payload: &[u8]) -> Option<bool> {
    Some(match transport {
        TransportHeader::Tcp(tcp) => tcp.checksum == tcp.calc_checksum_ipv4(ip, payload).ok()?,
        TransportHeader::Udp(udp) if udp.checksum == 0 => true,
        TransportHeader::Udp(udp) => udp.checksum == udp.calc_checksum_ipv4(ip, payload).ok()?,
        TransportHeader::Icmpv4(icmp) => icmp.checksum == icmp.icmp_type.calc_checksum(payload),
        TransportHeader::Icmpv6(_) | TransportHeader::Igmp(_) => true,
    })
}

fn over_ipv6(ip: &Ipv6Header, transport: &TransportHeader, payload: &[u8]) -> Option<bool> {
    Some(match transport {
        TransportHeader::Tcp(tcp) => tcp.checksum == tcp.calc_checksum_ipv6(ip, payload).ok()?,
        // Tunnels do without (RFC 6936).
        TransportHeader::Udp(udp) if udp.checksum == 0 => true,
        TransportHeader::Udp(udp) => udp.checksum == udp.calc_checksum_ipv6(ip, payload).ok()?,
        TransportHeader::Icmpv6(icmp) => {
            icmp.checksum == icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload).ok()?
        }
        TransportHeader::Icmpv4(_) | TransportHeader::Igmp(_) => true,
    })
}

/// What a frame looks like from afar: family, tags, protocol.
pub fn shape(frame: &[u8]) -> String {
    let Some(ip) = ip_offset(frame) else { return "other".to_owned() };
    let tags = (ip - 14) / 4;
    let (family, protocol) = match frame[ip] >> 4 {
        4 => (4, frame[ip + 9]),
        _ => (6, frame[ip + 6]),
    };
    match protocol {
        0 | 1 | 4 | 6 | 17 | 41 | 43 | 44 | 58 | 60 => format!("ipv{family} protocol-{protocol} tags-{tags}"),
        _ => format!("ipv{family} tags-{tags}"),
    }
}

#[cfg(test)]
mod tests {
    use lb_tests::packet::{Packet, UDP};

    use super::*;

    const TX: u32 = 3;

    /// The frame to other MAC addresses.
    fn addressed(packet: &Packet) -> Vec<u8> {
        let mut frame = packet.build();
        frame[..12].rotate_left(6);
        frame
    }

    #[test]
    fn frame_that_is_sent_as_it_came_but_for_its_addresses_is_right() {
        for packet in [Packet::default(), Packet::v6(), Packet { protocol: UDP, ..Packet::v6() }] {
            assert_eq!(judge(&packet.build(), TX, &addressed(&packet)), Ok(()), "{packet:?}");
        }
    }

    #[test]
    fn every_wrong_byte_of_a_header_is_seen() {
        for packet in [Packet::default(), Packet { protocol: UDP, ..Packet::default() }] {
            let (frame, right) = (packet.build(), addressed(&packet));
            for at in 14..right.len() {
                let mut wrong = right.clone();
                wrong[at] ^= 0x40;
                assert!(judge(&frame, TX, &wrong).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn passed_packet_that_changed_is_seen() {
        let frame = Packet::default().build();
        let mut other = frame.clone();
        other[20] ^= 1;
        assert_eq!(judge(&frame, PASS, &frame), Ok(()));
        assert!(judge(&frame, PASS, &other).is_err());
        assert!(judge(&frame, ABORTED, &frame).is_err());
    }

    #[test]
    fn run_that_is_counted_twice_or_not_at_all_is_seen() {
        let mut grown = [0; Reason::COUNT];
        grown[Reason::NotOurs as usize] = 1;
        assert_eq!(counts(&grown, [0, 0, 1, 0, 0]), Ok(()));
        assert!(counts(&grown, [0, 1, 0, 0, 0]).is_err());
        assert!(counts(&grown, [0, 0, 2, 0, 0]).is_err());
        grown[Reason::Fragment as usize] = 1;
        assert!(counts(&grown, [0, 0, 1, 0, 0]).is_err());
    }
}
