//! What `sluice explain` asks and gets: `POST /v1/explain`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::explain::frame;

/// A question: a flow, or a packet. One of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExplainRequest)]
pub struct Request {
    /// Where the flow comes from, such as `192.0.2.7:5555`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it goes to, such as `203.0.113.10:80/tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Whether the packet opens the flow (a SYN), and does not go on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub syn: bool,
    /// A whole frame in hexadecimal digits, from the Ethernet header on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The interface that it comes by; the first of the configuration where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The interface that it was taken to come by.
    pub interface: String,
    /// The packet's flow; of an ICMP error the one that it is about.
    pub flow: Option<String>,
    /// The service that it is for.
    pub service: Option<Service>,
    /// The flow's hash, 16 hex digits.
    pub hash: Option<String>,
    /// The slot that the hash, or by `affinity` the source's, chooses.
    pub slot: Option<Slot>,
    /// What is remembered of the flow.
    pub remembered: Vec<Remembered>,
    /// Why it goes where it goes: one of the reasons that `sluice status` counts.
    pub reason: String,
    /// `forwarded`, `answered`, `passes` or `dropped`.
    pub fate: String,
    /// What the reason means.
    pub meaning: String,
    /// What to do about it; empty where nothing is wrong.
    pub remedy: String,
    /// What is wrong where the tables, asked without the program, say something else than it has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<String>,
    /// What a real packet would have been remembered by: the table, and the backend.
    pub would_remember: Vec<String>,
    /// The backend that gets it.
    pub backend: Option<Backend>,
    /// Whether another XDP program decides about it next, since it passes.
    pub next_program: bool,
    /// The packet's headers as it arrives.
    pub headers: Vec<String>,
    /// The packet as it arrives, in hexadecimal digits.
    pub bytes: String,
    /// How it leaves; none where it does not.
    pub leaves: Option<Leaves>,
}

/// A service, as its table is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExplainedService)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How many tables were published.
    pub generation: u32,
    /// Digest of the table, 16 hex digits.
    pub digest: String,
    /// Length of the table.
    pub slots: u32,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExplainedSlot)]
pub struct Slot {
    /// Its index in the table.
    pub index: u32,
    /// The backend of new flows.
    pub current: Option<String>,
    /// The backend of flows from before the slot moved; none where it has not.
    pub previous: Option<String>,
    /// Whether the slot alone decides.
    pub settled: bool,
}

/// An entry of a table of flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExplainedEntry)]
pub struct Remembered {
    /// `connections`, `openings`, `nat_sessions` or `nat_openings`.
    pub table: String,
    /// The backend.
    pub backend: String,
    /// Seconds since the flow's last packet.
    pub silent_for: f64,
    /// Whether a side has said that the connection ends.
    pub ends: bool,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExplainedBackend)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// How it is forwarded to.
    pub forwarding: String,
    /// The way to it.
    pub next_hop: String,
}

/// A packet as it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExplainedPacket)]
pub struct Leaves {
    /// The interface.
    pub interface: String,
    /// Its headers.
    pub headers: Vec<String>,
    /// Its bytes, in hexadecimal digits.
    pub bytes: String,
}

/// The most bytes of a frame that is given.
const MAX_FRAME: usize = 3_400;

impl Request {
    /// The frame that is asked about.
    ///
    /// # Errors
    ///
    /// What is wrong with the question, with the key that it is about.
    pub fn frame(&self) -> Result<Vec<u8>, (&'static str, String)> {
        match (&self.packet, &self.source, &self.destination) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err((
                "packet",
                "a packet has its own source and destination: give one or the other".to_owned(),
            )),
            (Some(packet), None, None) if self.syn => {
                Err(("syn", format!("whether the packet is a SYN stands in it ({} digits)", packet.len())))
            }
            (Some(packet), None, None) => from_hex(packet).map_err(|error| ("packet", error)),
            (None, Some(source), Some(destination)) => built(source, destination, self.syn),
            (None, None, _) => {
                Err(("source", "expected an address and a port, such as 192.0.2.7:5555".to_owned()))
            }
            (None, Some(_), None) => Err((
                "destination",
                "expected an address, a port and a protocol, such as 203.0.113.10:80/tcp".to_owned(),
            )),
        }
    }
}

fn built(source: &str, destination: &str, syn: bool) -> Result<Vec<u8>, (&'static str, String)> {
    let end = |key, text: &str| -> Result<SocketAddr, _> {
        text.parse().map_err(|_| {
            (
                key,
                format!("{text:?} is no address with a port; expected 192.0.2.7:5555 or [2001:db8::7]:5555"),
            )
        })
    };
    let source = end("source", source)?;
    let (address, protocol) = destination.rsplit_once('/').unwrap_or((destination, "tcp"));
    let destination = end("destination", address)?;
    let protocol = match protocol {
        "tcp" => 6,
        "udp" | "quic" => 17,
        other => {
            return Err((
                "destination",
                format!("{other:?} is no protocol of a service; expected tcp or udp"),
            ));
        }
    };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(("source", format!("{source} and {destination} are not of one family")));
    }
    if syn && protocol != 6 {
        return Err(("syn", "only tcp has SYNs".to_owned()));
    }
    Ok(frame::build(source, destination, protocol, syn))
}

/// Bytes out of hexadecimal digits, between which there may be spaces, colons and line ends.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let digit = |c: char| c.to_digit(16).ok_or_else(|| format!("{c:?} is no hexadecimal digit"));
    if !digits.len().is_multiple_of(2) {
        return Err(format!("a byte has two digits, and there are {}", digits.len()));
    }
    let bytes = digits.chunks(2).map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8));
    let bytes = bytes.collect::<Result<Vec<u8>, String>>()?;
    if !(14..=MAX_FRAME).contains(&bytes.len()) {
        return Err(format!("expected a frame of 14 to {MAX_FRAME} bytes, and there are {}", bytes.len()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(source: &str, destination: &str, syn: bool) -> Result<Vec<u8>, (&'static str, String)> {
        let (source, destination) = (Some(source.to_owned()), Some(destination.to_owned()));
        Request { source, destination, syn, ..Request::default() }.frame()
    }

    #[test]
    fn question_makes_a_frame_or_says_what_is_wrong() {
        assert_eq!(asked("192.0.2.7:5555", "203.0.113.10:80/tcp", true).unwrap().len(), 54);
        assert_eq!(asked("[2001:db8::7]:5555", "[2001:db8::10]:53/udp", false).unwrap().len(), 62);
        // (source, destination, SYN, key, what is said)
        let wrong = [
            ("192.0.2.7", "203.0.113.10:80", false, "source", "no address with a port"),
            ("192.0.2.7:1", "203.0.113.10/tcp", false, "destination", "no address with a port"),
            ("192.0.2.7:1", "203.0.113.10:80/icmp", false, "destination", "no protocol"),
            ("192.0.2.7:1", "[2001:db8::10]:80", false, "source", "not of one family"),
            ("192.0.2.7:1", "203.0.113.10:53/udp", true, "syn", "only tcp"),
        ];
        for (source, destination, syn, key, says) in wrong {
            let (found, said) = asked(source, destination, syn).unwrap_err();
            assert!(found == key && said.contains(says), "{found}: {said}");
        }
    }

    #[test]
    fn packet_is_read_from_digits() {
        let packet = |text: &str| Request { packet: Some(text.to_owned()), ..Request::default() }.frame();
        assert_eq!(packet("02:00:00:00:00:02 020000000001 0806").unwrap()[12..], [8, 6]);
        assert!(packet("0g").unwrap_err().1.contains("'g'"));
        assert!(packet("000").unwrap_err().1.contains("two digits"));
        assert!(packet("00").unwrap_err().1.contains("14 to"));
    }
}
