//! `gue`: the port and the form of a tunnel in UDP.

use super::{schema, section::Entry};

/// A tunnel in UDP (draft-ietf-intarea-gue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gue {
    /// Destination port: 6080 is IANA's.
    pub port: u16,
    /// 0: with a header of its own. 1: the IP packet right behind the UDP header.
    pub variant: u8,
}

impl Default for Gue {
    fn default() -> Self {
        Self { port: 6080, variant: 0 }
    }
}

/// A table with one or both keys.
pub(super) fn gue(entry: &Entry<'_>) -> Option<Gue> {
    let section = entry.section(&schema::GUE)?;
    let port = section.optional("port", |entry| entry.integer(&(1..=u32::from(u16::MAX))));
    let variant = section.optional("variant", |entry| entry.integer(&(0..=1)));
    let default = Gue::default();
    Some(Gue {
        port: port.map_or(default.port, |port| port.value as u16),
        variant: variant.map_or(default.variant, |variant| variant.value as u8),
    })
}
