//! The headers of a packet, one line each, for people.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{backend::Forwarding, flow::Flow};

/// How a backend is forwarded to, by its entry.
#[must_use]
pub const fn forwarding(forwarding: u8) -> &'static str {
    match forwarding {
        it if it == Forwarding::L2 as u8 => "l2",
        it if it == Forwarding::Ipip4 as u8 || it == Forwarding::Ipip6 as u8 => "ipip",
        it if it >= Forwarding::Gue4 as u8 && it <= Forwarding::Gue6Direct as u8 => "gue",
        it if it == Forwarding::Nat as u8 => "nat",
        it if it == Forwarding::Local as u8 => "local",
        _ => "unresolved",
    }
}

/// A flow as people write it.
#[must_use]
pub fn flow(flow: &Flow) -> String {
    let end = |address, port| SocketAddr::new(address, u16::from_be_bytes(port));
    let source = end(flow.source.into(), flow.source_port);
    let destination = end(flow.destination.into(), flow.destination_port);
    format!("{source} -> {destination}/{}", if flow.protocol == 6 { "tcp" } else { "udp" })
}

/// The headers of a frame. What comes behind a UDP header to `gue_port` is a tunnelled packet.
#[must_use]
pub fn of(frame: &[u8], gue_port: Option<u16>) -> Vec<String> {
    let mut lines = Vec::new();
    if ethernet(&mut lines, frame, gue_port.filter(|port| *port != 0)).is_none() {
        lines.push("cut short".to_owned());
    }
    lines
}

fn ethernet(lines: &mut Vec<String>, frame: &[u8], gue_port: Option<u16>) -> Option<()> {
    let mac = |at: usize| {
        Some(frame.get(at..at + 6)?.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"))
    };
    let mut line = format!("Ethernet {} -> {}", mac(6)?, mac(0)?);
    let mut at = 12;
    let mut ether_type = half_word(frame, at)?;
    while matches!(ether_type, 0x8100 | 0x88a8) && at < 20 {
        let _ = write!(line, ", VLAN {}", half_word(frame, at + 2)? & 0xfff);
        at += 4;
        ether_type = half_word(frame, at)?;
    }
    if !matches!(ether_type, 0x0800 | 0x86dd) {
        let _ = write!(line, ", EtherType {ether_type:#06x}");
    }
    lines.push(line);
    match ether_type {
        0x0800 | 0x86dd => ip(lines, frame.get(at + 2..)?, gue_port),
        _ => Some(()),
    }
}

fn ip(lines: &mut Vec<String>, packet: &[u8], gue_port: Option<u16>) -> Option<()> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let address =
                |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            let (source, destination) = (address(12)?, address(16)?);
            let (length, ttl, protocol) = (half_word(packet, 2)?, packet[8], packet[9]);
            let fragment = half_word(packet, 6)?;
            let mut line = format!("IPv4 {source} -> {destination}, {length} bytes, ttl {ttl}");
            if fragment & 0x3fff != 0 {
                let _ = write!(line, ", fragment at {}", (fragment & 0x1fff) * 8);
            }
            lines.push(line);
            if fragment & 0x1fff != 0 {
                return Some(());
            }
            payload(lines, protocol, packet.get(header..)?, gue_port)
        }
        6 => {
            let address =
                |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            let (source, destination) = (address(8)?, address(24)?);
            let (length, protocol, hops) = (half_word(packet, 4)?, packet[6], packet[7]);
            lines.push(format!(
                "IPv6 {source} -> {destination}, {} bytes, hop limit {hops}",
                u32::from(length) + 40
            ));
            payload(lines, protocol, packet.get(40..)?, gue_port)
        }
        version => {
            lines.push(format!("IP of version {version}"));
            Some(())
        }
    }
}

fn payload(lines: &mut Vec<String>, protocol: u8, bytes: &[u8], gue_port: Option<u16>) -> Option<()> {
    match protocol {
        4 | 41 => ip(lines, bytes, gue_port),
        6 => {
            let names =
                [(0x02, "SYN"), (0x10, "ACK"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x20, "URG")];
            let bits = *bytes.get(13)?;
            let flags: Vec<_> =
                names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
            lines.push(format!(
                "TCP {} -> {}, {}",
                half_word(bytes, 0)?,
                half_word(bytes, 2)?,
                if flags.is_empty() { "no flags".to_owned() } else { flags.join(" ") }
            ));
            Some(())
        }
        17 => {
            let port = half_word(bytes, 2)?;
            lines.push(format!("UDP {} -> {port}, {} bytes", half_word(bytes, 0)?, half_word(bytes, 4)?));
            if gue_port != Some(port) {
                return Some(());
            }
            let inside = bytes.get(8..)?;
            // Variant 0 has a header of its own (draft-ietf-intarea-gue); of variant 1 the packet itself begins here.
            if inside.first()? >> 6 == 0 {
                lines.push(format!("GUE, variant 0, protocol {}", inside.get(1)?));
                payload(lines, inside[1], inside.get(4 + 4 * usize::from(inside[0] & 0x1f)..)?, None)
            } else {
                lines.push("GUE, variant 1".to_owned());
                ip(lines, inside, None)
            }
        }
        1 | 58 => {
            let name = if protocol == 1 { "ICMP" } else { "ICMPv6" };
            lines.push(format!("{name}, type {}, code {}", bytes.first()?, bytes.get(1)?));
            Some(())
        }
        other => {
            lines.push(format!("protocol {other}"));
            Some(())
        }
    }
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::frame::build;

    #[test]
    fn headers_are_told_one_by_one() {
        let frame = build("192.0.2.7:5555".parse().unwrap(), "203.0.113.10:80".parse().unwrap(), 6, true);
        assert_eq!(
            of(&frame, None),
            [
                "Ethernet 02:00:00:00:00:01 -> 02:00:00:00:00:02",
                "IPv4 192.0.2.7 -> 203.0.113.10, 40 bytes, ttl 64",
                "TCP 5555 -> 80, SYN"
            ]
        );
    }

    #[test]
    fn tunnel_is_looked_into() {
        let inner =
            build("[2001:db8::7]:5555".parse().unwrap(), "[2001:db8::10]:443".parse().unwrap(), 17, false);
        let mut outer =
            build("192.0.2.1:49153".parse().unwrap(), "192.0.2.11:6080".parse().unwrap(), 17, false);
        outer.extend([0, 41, 0, 0]);
        outer.extend(&inner[14..]);
        let told = of(&outer, Some(6080));
        assert_eq!(
            told[3..],
            [
                "GUE, variant 0, protocol 41",
                "IPv6 2001:db8::7 -> 2001:db8::10, 48 bytes, hop limit 64",
                "UDP 5555 -> 443, 8 bytes"
            ]
        );
        assert_eq!(of(&outer[..36], None).last().unwrap(), "cut short");
    }
}
