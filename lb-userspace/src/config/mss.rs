//! `mss`: the largest segment that a client may say it takes.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::{Protocol, section::Entry, service::Reading};

/// From what every host takes (RFC 9293 section 3.7.1) to what fits into an IPv4 packet.
pub(super) const RANGE: RangeInclusive<u32> = 536..=65_495;

/// The largest MSS that a client's SYN may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mss {
    /// What fits on the way to the flow's backend.
    Auto,
    /// So much.
    Bytes(u16),
}

pub(super) fn mss(entry: &Entry<'_>) -> Option<Mss> {
    match entry.value {
        DeValue::Integer(_) => entry.integer(&RANGE).map(|bytes| Mss::Bytes(bytes as u16)),
        DeValue::String(text) if text == "auto" => Some(Mss::Auto),
        DeValue::String(_) => entry.refuse(format!("{} is not an MSS", entry.excerpt()), expected()),
        _ => entry.refuse_type(expected()),
    }
}

fn expected() -> String {
    format!("expected \"auto\", or {} to {} bytes", RANGE.start(), RANGE.end())
}

impl Reading<'_> {
    /// Only TCP announces what it takes.
    pub(super) fn check_mss(&self) {
        let Some(protocol) = self.protocol.filter(|protocol| *protocol != Protocol::Tcp) else { return };
        let Some(mss) = self.policy.mss.as_ref().filter(|_| self.section.has("mss")) else { return };
        let file = self.section.file;
        let message = format!("{} is {}, which has no MSS", self.label(), protocol.name());
        let error = file.error(&mss.place, message).expected("expected no `mss`");
        file.report(error.help("only SYNs of TCP announce one: leave `mss` out"));
    }
}
