//! `gue`: the port and the form of a tunnel in UDP.

use super::{Gue, schema, section::Entry};

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
