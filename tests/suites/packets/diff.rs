//! Frames as a person reads them: header by header, in hexadecimal.

use std::{fmt::Write as _, ops::Range};

use lb_tests::packet::{BALANCER_MAC, CLIENT_MAC, Packet, link};
use libtest_mimic::Trial;

/// A part of a frame.
type Part = (&'static str, Range<usize>);

/// Bytes of a part that are shown.
const SHOWN: usize = 64;

/// The frame, a line for each header.
pub fn listing(frame: &[u8]) -> String {
    parts(frame).into_iter().fold(String::new(), |mut text, (name, range)| {
        let _ = writeln!(text, "    {name:<10}{}", hex(&frame[range]));
        text
    })
}

/// The frame that was expected; where a header of the other one differs, that too, with the bytes marked.
pub fn differences(expected: &[u8], got: &[u8]) -> String {
    if expected.is_empty() || got.is_empty() {
        return format!("  - {}\n  + {}\n", kind(expected), kind(got)) + &listing(got);
    }
    parts(expected).into_iter().fold(String::new(), |text, (name, range)| {
        let end = if range.end == expected.len() { got.len() } else { range.end.min(got.len()) };
        let have = got.get(range.start..end).unwrap_or_default();
        text + &difference(name, &expected[range], have)
    })
}

/// A part on one line if both are the same, otherwise on three, from where they begin to differ.
fn difference(name: &str, want: &[u8], have: &[u8]) -> String {
    if want == have {
        return format!("    {name:<10}{}\n", hex(want));
    }
    let same = want.iter().zip(have).take_while(|(want, have)| want == have).count();
    let skipped = if same < SHOWN { 0 } else { same };
    let (want, have) = (&want[skipped..], &have[skipped..]);
    let at = if skipped == 0 {
        String::new()
    } else {
        format!("    {name:<10}the same for {skipped} bytes, then\n")
    };
    let marks = marks(want, have);
    format!("{at}  - {name:<10}{}\n  + {name:<10}{}\n    {:<10}{marks}\n", hex(want), hex(have), "")
}

fn kind(frame: &[u8]) -> &'static str {
    if frame.is_empty() { "nothing" } else { "a frame" }
}

/// `^^` below each byte that differs.
fn marks(want: &[u8], have: &[u8]) -> String {
    let length = want.len().max(have.len()).min(SHOWN);
    let mark = |at| if want.get(at) == have.get(at) { "   " } else { "^^ " };
    (0..length).map(mark).collect::<String>().trim_end().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<_> = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    let rest = bytes.len().saturating_sub(SHOWN);
    if rest == 0 { shown.join(" ") } else { format!("{} and {rest} more", shown.join(" ")) }
}

/// Where the headers lie, tunnels' too. What is no header that is known is payload.
fn parts(frame: &[u8]) -> Vec<Part> {
    let mut parts = vec![("ethernet", 0..frame.len().min(14))];
    let mut at = 14;
    let mut kind = word(frame, 12);
    while matches!(kind, Some(0x8100 | 0x88a8)) && frame.len() >= at + 4 {
        parts.push(("vlan", at..at + 4));
        kind = word(frame, at + 2);
        at += 4;
    }
    let mut next = match kind {
        Some(0x0800) => 4,
        Some(0x86dd) => 41,
        _ => NOTHING,
    };
    while let Some((name, length, following)) = header(next, &frame[at.min(frame.len())..]) {
        parts.push((name, at..at + length));
        (at, next) = (at + length, following);
    }
    if at < frame.len() {
        parts.push(("payload", at..frame.len()));
    }
    parts
}

/// A protocol number that is reserved (IANA).
const NOTHING: u8 = 255;

/// Name, length and the next protocol's number of the header that `bytes` begin with.
fn header(protocol: u8, bytes: &[u8]) -> Option<(&'static str, usize, u8)> {
    let first = *bytes.first()?;
    let (name, length, next) = match protocol {
        4 if first >> 4 == 4 => ("ipv4", usize::from(first & 15) * 4, *bytes.get(9)?),
        41 if first >> 4 == 6 => ("ipv6", 40, *bytes.get(6)?),
        0 | 43 | 60 => ("extension", (usize::from(*bytes.get(1)?) + 1) * 8, first),
        44 => ("fragment", 8, first),
        6 => ("tcp", usize::from(*bytes.get(12)? >> 4) * 4, NOTHING),
        17 => ("udp", 8, NOTHING),
        1 | 58 => ("icmp", 8, NOTHING),
        _ => return None,
    };
    (length > 0 && length <= bytes.len()).then_some((name, length, next))
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// That a failure can be read is tested like anything else.
pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("diff::headers of a tunnelled packet have lines of their own", || {
            let frame =
                [link(BALANCER_MAC, CLIENT_MAC, &[(0x8100, 7)], 0x0800), Packet::default().ip()].concat();
            let names: Vec<_> = parts(&frame).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["ethernet", "vlan", "ipv4", "tcp", "payload"]);
        }),
        crate::trial("diff::bytes that differ are marked below their header", || {
            let expected = Packet::default().build();
            let mut got = expected.clone();
            got[22] = 63;
            let text = differences(&expected, &got);
            let marked = text.lines().find(|line| line.contains('^')).expect("a line of marks");
            let line = text.lines().find(|line| line.starts_with("  + ipv4")).expect("the header");
            assert_eq!(line.find("3f"), marked.find("^^"));
            assert_eq!(text.lines().filter(|line| line.starts_with("  +")).count(), 1, "{text}");
        }),
        crate::trial("diff::frame cut anywhere is shown whole", || {
            let whole = Packet::v6().build();
            for length in 1..whole.len() {
                let shown: usize = parts(&whole[..length]).into_iter().map(|(_, range)| range.len()).sum();
                assert_eq!(shown, length);
            }
        }),
    ]
}
