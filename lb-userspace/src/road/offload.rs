//! Has the kernel compute the checksums of what it sends through a device, by ethtool's netlink family (Linux 5.6).
//!
//! A veth device takes packets with unfinished checksums, as if hardware were behind it; XDP, which takes them on from there,
//! would send them so.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// `linux/genetlink.h`: the family that knows the others.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `linux/ethtool_netlink.h`.
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const CHANNELS_GET: u8 = 17;
const CHANNELS_HEADER: u16 = 1;
const RX_MAX: u16 = 2;
const COMBINED_MAX: u16 = 5;
const RX_COUNT: u16 = 6;
const COMBINED_COUNT: u16 = 9;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;

/// `linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;
const REQUEST_AND_ACK: u16 = 1 | 4;
const NESTED: u16 = 1 << 15;

/// Bytes of a message's header, of a generic message's, and of an attribute's.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const ATTRIBUTE: usize = 4;

/// The checksums of what is sent, in ethtool's words.
const FEATURE: &str = "tx-checksum-ip-generic";

/// Turns the offload of checksums off, and with it that of segmentation.
///
/// # Errors
///
/// What the kernel says.
pub(super) fn compute_checksums(device: &str) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = family(&socket)?;
    // A bit that is listed without a value is turned off.
    let bit = attribute(BIT | NESTED, &attribute(BIT_NAME, &text(FEATURE)));
    let wanted = attribute(FEATURES_WANTED | NESTED, &attribute(BITSET_BITS | NESTED, &bit));
    let header = attribute(FEATURES_HEADER | NESTED, &attribute(HEADER_DEV_NAME, &text(device)));
    ask(&socket, family, FEATURES_SET, &[header, wanted].concat()).map(drop)
}

/// What a device's driver does by itself, in ethtool's words.
///
/// # Errors
///
/// What the kernel says.
pub(crate) fn active_features(device: &str) -> io::Result<Vec<String>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = family(&socket)?;
    let header = attribute(FEATURES_HEADER | NESTED, &attribute(HEADER_DEV_NAME, &text(device)));
    let answer = ask(&socket, family, FEATURES_GET, &header)?;
    Ok(active(answer.get(HEADER + GENERIC..).unwrap_or_default()))
}

/// The receive queues that a device has, and may have.
///
/// # Errors
///
/// What the kernel says; many virtual devices have no such thing.
pub(crate) fn receive_queues(device: &str) -> io::Result<(u32, u32)> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = family(&socket)?;
    let header = attribute(CHANNELS_HEADER | NESTED, &attribute(HEADER_DEV_NAME, &text(device)));
    let answer = ask(&socket, family, CHANNELS_GET, &header)?;
    Ok(queues(answer.get(HEADER + GENERIC..).unwrap_or_default()))
}

/// Those that receive alone, and those that send too.
fn queues(answer: &[u8]) -> (u32, u32) {
    let number = |wanted| {
        let found = attributes(answer).find(|(kind, _)| *kind == wanted);
        let bytes = found.and_then(|(_, value)| value.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    (number(RX_COUNT) + number(COMBINED_COUNT), number(RX_MAX) + number(COMBINED_MAX))
}

/// The names of the bits of an answer that are set: a set without a mask lists no others.
fn active(answer: &[u8]) -> Vec<String> {
    let bits = attributes(answer).find(|(kind, _)| *kind == FEATURES_ACTIVE);
    let bits = bits.and_then(|(_, set)| attributes(set).find(|(kind, _)| *kind == BITSET_BITS));
    let bits = bits.map(|(_, bits)| bits).unwrap_or_default();
    let name = |bit| attributes(bit).find(|(kind, _)| *kind == BIT_NAME);
    let names = attributes(bits).filter_map(|(_, bit)| name(bit));
    names.map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()).collect()
}

/// The attributes of a message, or of another attribute, by kind.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (&[a, b, c, d], _) = rest.split_first_chunk::<ATTRIBUTE>()?;
        let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind & !NESTED, value))
    })
}

/// The number of ethtool's family on this host.
fn family(socket: &Socket) -> io::Result<u16> {
    let answer = ask(socket, CONTROLLER, GET_FAMILY, &attribute(FAMILY_NAME, &text("ethtool")))?;
    let unknown =
        || io::Error::new(io::ErrorKind::Unsupported, "the kernel has no netlink family of ethtool");
    let mut rest = answer.get(HEADER + GENERIC..).unwrap_or_default();
    while let Some((&[a, b, c, d], _)) = rest.split_first_chunk::<ATTRIBUTE>() {
        let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        if kind == FAMILY_ID
            && let Some(&[a, b]) = rest.get(ATTRIBUTE..ATTRIBUTE + 2)
        {
            return Ok(u16::from_ne_bytes([a, b]));
        }
        rest = rest.get(aligned(length).max(ATTRIBUTE)..).unwrap_or_default();
    }
    Err(unknown())
}

/// Sends a command and waits until it is acknowledged; gives the answer before that, if there was one.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(&message(family, command, attributes), 0)?;
    let mut answer = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let (message, others) = rest.split_at(length.clamp(HEADER, rest.len()));
            match (u16::from_ne_bytes([message[4], message[5]]), message.get(HEADER..HEADER + 4)) {
                (NLMSG_ERROR, Some(&[a, b, c, d])) => match i32::from_ne_bytes([a, b, c, d]) {
                    0 => return Ok(answer),
                    code => return Err(io::Error::from_raw_os_error(-code)),
                },
                _ => answer = message.to_vec(),
            }
            rest = others.get(aligned(length) - length..).unwrap_or_default();
        }
    }
}

fn message(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER + GENERIC + attributes.len()) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE + value.len();
    let mut attribute = Vec::with_capacity(aligned(length));
    attribute.extend_from_slice(&(length as u16).to_ne_bytes());
    attribute.extend_from_slice(&kind.to_ne_bytes());
    attribute.extend_from_slice(value);
    attribute.resize(aligned(length), 0);
    attribute
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_is_filled_up_and_does_not_count_that() {
        assert_eq!(attribute(2, &text("eth0")), [&[9, 0, 2, 0][..], b"eth0\0", &[0; 3]].concat());
    }

    #[test]
    fn message_says_its_own_length() {
        let message = message(0x15, FEATURES_SET, &attribute(1, &[1, 2, 3, 4]));
        assert_eq!(message.len(), 28);
        assert_eq!(message[..8], [28, 0, 0, 0, 0x15, 0, 5, 0]);
        assert_eq!(message[16..], [12, 1, 0, 0, 8, 0, 1, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn active_features_are_those_that_are_listed() {
        let bit = |name: &str| {
            attribute(BIT | NESTED, &[attribute(1, &[7, 0, 0, 0]), attribute(BIT_NAME, &text(name))].concat())
        };
        let bits = attribute(BITSET_BITS | NESTED, &[bit("rx-lro"), bit("tx-tcp-segmentation")].concat());
        let answer =
            [attribute(FEATURES_HEADER | NESTED, &[]), attribute(FEATURES_ACTIVE | NESTED, &bits)].concat();
        assert_eq!(active(&answer), ["rx-lro", "tx-tcp-segmentation"]);
        assert_eq!(active(&answer[..9]), Vec::<String>::new(), "cut short");
    }

    #[test]
    fn queues_that_receive_are_added_up() {
        let number = |kind, number: u32| attribute(kind, &number.to_ne_bytes());
        let answer =
            [number(COMBINED_MAX, 8), number(RX_MAX, 1), number(3, 9), number(COMBINED_COUNT, 2)].concat();
        assert_eq!(queues(&answer), (2, 9));
        assert_eq!(queues(&answer[..6]), (0, 0), "cut short");
    }

    #[test]
    fn device_that_is_not_there_is_told() {
        let error = compute_checksums("sluice-none").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NODEV.raw_os_error()));
    }
}
