//! What balancers say to each other, as bytes.
//!
//! One message is one frame, so what can be long is told in pieces ([`pieces`]). Times are told as ages, since clocks
//! differ: a flow seems younger to the receiver by what the message takes.

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lb_common::{connection::Closing, flow::Flow, service::ServiceKey};
use serde::{Deserialize, Serialize};

use super::secure::MAX_PAYLOAD;
use crate::{
    config::Forwarding,
    reconcile::fleet::{History, Host, Past, Published, Sighting},
};

/// Flows in one message; one takes at most 71 bytes.
pub(super) const FLOWS: usize = 800;

/// Tables in one message; one takes at most 37 bytes.
const TABLES: usize = 1_000;

/// Slots in one message; one takes at most 5 bytes.
const SLOTS: usize = 8_192;

/// The longest table that the configuration allows.
const MAX_LENGTH: u32 = 1 << 24;

const _: () =
    assert!(71 * FLOWS + 16 < MAX_PAYLOAD && 37 * TABLES + 16 < MAX_PAYLOAD && 5 * SLOTS + 64 < MAX_PAYLOAD);

/// What one balancer says to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// These are tables that the sender has published. Before [`Self::AskAll`], and whenever one is another.
    Tables(Vec<Published>),
    /// Tell histories, of which the sender knows nothing, all flows, and those to come.
    AskAll,
    /// Tell all flows, and those to come.
    AskFlows,
    /// A part of a history.
    History(History),
    /// Flows that are remembered.
    Flows(Vec<Sighting>),
    /// That was all there was until now.
    Complete,
    /// Nothing to tell.
    Alive,
}

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it says what is no message")]
pub(super) struct NotAMessage;

/// Tables, in as many messages as they need.
pub(super) fn tables(tables: &[Published]) -> impl Iterator<Item = Message> {
    tables.chunks(TABLES).map(|tables| Message::Tables(tables.to_vec()))
}

/// Flows, in as many messages as they need.
pub(super) fn flows(flows: &[Sighting]) -> impl Iterator<Item = Message> {
    flows.chunks(FLOWS).map(|flows| Message::Flows(flows.to_vec()))
}

/// A history, in as many messages as it needs. Put together again, its pieces are the whole.
pub(super) fn pieces(history: &History) -> impl Iterator<Item = Message> {
    history.pasts.iter().flat_map(|past| {
        past.slots.chunks(SLOTS).map(|slots| {
            let past = Past { host: past.host, slots: slots.to_vec() };
            Message::History(History { pasts: vec![past], ..*history })
        })
    })
}

impl Message {
    /// Its bytes, at most [`MAX_PAYLOAD`], for sending at `now`.
    pub(super) fn encode(&self, now: Duration) -> Vec<u8> {
        postcard::to_stdvec(&Wire::of(self, now)).expect("plain data in memory can be written")
    }

    /// The message that `bytes` are, received at `now`.
    pub(super) fn decode(bytes: &[u8], now: Duration) -> Result<Self, NotAMessage> {
        let wire: Wire = postcard::from_bytes(bytes).map_err(|_| NotAMessage)?;
        wire.message(now).ok_or(NotAMessage)
    }
}

#[derive(Serialize, Deserialize)]
enum Wire {
    Tables(Vec<WireTable>),
    AskAll,
    AskFlows,
    History(WireHistory),
    Flows(Vec<WireFlow>),
    Complete,
    Alive,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct WireKey {
    vip: IpAddr,
    port: u16,
    protocol: u8,
}

#[derive(Serialize, Deserialize)]
struct WireTable {
    key: WireKey,
    length: u32,
    source_bits: u8,
    digest: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct WireHost {
    address: IpAddr,
    /// 0: not known, 1: `l2`, 2: `ipip`.
    forwarding: u8,
}

#[derive(Serialize, Deserialize)]
struct WireHistory {
    key: WireKey,
    length: u32,
    source_bits: u8,
    host: WireHost,
    /// Each slot less the one before: small numbers take a byte.
    steps: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireFlow {
    source: SocketAddr,
    destination: SocketAddr,
    protocol: u8,
    host: WireHost,
    closing: u8,
    silent_ms: u32,
}

impl Wire {
    fn of(message: &Message, now: Duration) -> Self {
        match message {
            Message::Tables(tables) => Self::Tables(tables.iter().map(WireTable::of).collect()),
            Message::AskAll => Self::AskAll,
            Message::AskFlows => Self::AskFlows,
            Message::History(history) => Self::History(WireHistory::of(history)),
            Message::Flows(flows) => Self::Flows(flows.iter().map(|flow| WireFlow::of(flow, now)).collect()),
            Message::Complete => Self::Complete,
            Message::Alive => Self::Alive,
        }
    }

    fn message(self, now: Duration) -> Option<Message> {
        Some(match self {
            Self::Tables(tables) => Message::Tables(tables.iter().map(WireTable::published).collect()),
            Self::AskAll => Message::AskAll,
            Self::AskFlows => Message::AskFlows,
            Self::History(history) => Message::History(history.history()?),
            Self::Flows(flows) => {
                Message::Flows(flows.iter().map(|flow| flow.sighting(now)).collect::<Option<_>>()?)
            }
            Self::Complete => Message::Complete,
            Self::Alive => Message::Alive,
        })
    }
}

impl WireKey {
    fn of(key: &ServiceKey) -> Self {
        Self { vip: key.address.into(), port: u16::from_be_bytes(key.port), protocol: key.protocol }
    }

    fn key(self) -> ServiceKey {
        ServiceKey::new(self.vip.into(), self.port, self.protocol)
    }
}

impl WireTable {
    fn of(table: &Published) -> Self {
        let Published { key, length, source_bits, digest } = *table;
        Self { key: WireKey::of(&key), length, source_bits, digest }
    }

    fn published(&self) -> Published {
        let Self { key, length, source_bits, digest } = *self;
        Published { key: key.key(), length, source_bits, digest }
    }
}

impl WireHost {
    fn of(host: &Host) -> Self {
        let forwarding = match host.forwarding {
            None => 0,
            Some(Forwarding::L2) => 1,
            Some(Forwarding::Ipip) => 2,
            Some(Forwarding::Gue) => 3,
            Some(Forwarding::Nat) => 4,
        };
        Self { address: host.address.into(), forwarding }
    }

    fn host(self) -> Option<Host> {
        let forwarding = match self.forwarding {
            0 => None,
            1 => Some(Forwarding::L2),
            2 => Some(Forwarding::Ipip),
            3 => Some(Forwarding::Gue),
            4 => Some(Forwarding::Nat),
            _ => return None,
        };
        Some(Host { address: self.address.into(), forwarding })
    }
}

impl WireHistory {
    /// Of a piece, which has one past.
    fn of(history: &History) -> Self {
        let Past { host, slots } = history.pasts.first().cloned().unwrap_or_else(|| Past {
            host: Host { address: history.key.address, forwarding: None },
            slots: Vec::new(),
        });
        let before = std::iter::once(0).chain(slots.iter().copied());
        let steps = slots.iter().zip(before).map(|(slot, before)| slot.wrapping_sub(before)).collect();
        let History { key, length, source_bits, .. } = history;
        Self {
            key: WireKey::of(key),
            length: *length,
            source_bits: *source_bits,
            host: WireHost::of(&host),
            steps,
        }
    }

    fn history(self) -> Option<History> {
        if self.length > MAX_LENGTH {
            return None;
        }
        let mut slot = 0u32;
        let slots = self.steps.into_iter().map(|step| {
            slot = slot.checked_add(step).filter(|&slot| slot < self.length)?;
            Some(slot)
        });
        let past = Past { host: self.host.host()?, slots: slots.collect::<Option<_>>()? };
        let Self { key, length, source_bits, .. } = self;
        Some(History { key: key.key(), length, source_bits, pasts: vec![past] })
    }
}

impl WireFlow {
    fn of(sighting: &Sighting, now: Duration) -> Self {
        let Sighting { flow, host, closing, seen } = sighting;
        let silent = now.saturating_sub(*seen).as_millis();
        Self {
            source: SocketAddr::new(flow.source.into(), u16::from_be_bytes(flow.source_port)),
            destination: SocketAddr::new(flow.destination.into(), u16::from_be_bytes(flow.destination_port)),
            protocol: flow.protocol as u8,
            host: WireHost::of(host),
            closing: *closing,
            silent_ms: u32::try_from(silent).unwrap_or(u32::MAX),
        }
    }

    fn sighting(&self, now: Duration) -> Option<Sighting> {
        let flow = Flow {
            source: self.source.ip().into(),
            destination: self.destination.ip().into(),
            source_port: self.source.port().to_be_bytes(),
            destination_port: self.destination.port().to_be_bytes(),
            protocol: u32::from(self.protocol),
        };
        let seen = now.saturating_sub(Duration::from_millis(u64::from(self.silent_ms)));
        let closing = (self.closing <= Closing::Reset as u8).then_some(self.closing)?;
        Some(Sighting { flow, host: self.host.host()?, closing, seen })
    }
}
