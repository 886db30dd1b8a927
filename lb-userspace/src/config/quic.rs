//! `[service.quic]`, and the server ids of its backends.

use std::collections::HashMap;

use lb_common::quic::{MAX_SERVER_ID, ServerId, UNROUTABLE};

use super::{
    Protocol, Quic,
    backend::Reading as BackendReading,
    file::{Located, Place},
    schema,
    section::{Entry, Section},
    service::Reading,
};

/// `[service.quic]`, as far as it could be read.
#[derive(Debug)]
pub(super) struct QuicReading {
    place: Place,
    config_id: Option<Located<u32>>,
    server_id_length: Option<Located<u32>>,
}

impl QuicReading {
    pub(super) fn read(service: &Section<'_>) -> Option<Self> {
        let section = service.section("quic", &schema::QUIC)?;
        let lengths = 1..=MAX_SERVER_ID as u32;
        let length = |entry: &Entry<'_>| entry.integer(&lengths);
        Some(Self {
            config_id: section.optional("config_id", |entry| entry.integer(&(0..=u32::from(UNROUTABLE) - 1))),
            server_id_length: section.required("server_id_length", "server_id_length = 2", length),
            place: section.place,
        })
    }

    pub(super) fn resolve(self) -> Option<Quic> {
        Some(Quic {
            config_id: self.config_id.map_or(0, |id| id.value) as u8,
            server_id_length: self.server_id_length?.value as u8,
        })
    }
}

/// A server id: an even number of hexadecimal digits.
pub(super) fn server_id(entry: &Entry<'_>) -> Option<ServerId> {
    let text = entry.string("a server id such as \"0a1b\"")?;
    parse(text).or_else(|| {
        let expected = format!(
            "expected two hexadecimal digits for each of 1 to {MAX_SERVER_ID} bytes, such as \"0a1b\""
        );
        entry.refuse(format!("{} is not a server id", entry.excerpt()), expected)
    })
}

fn parse(text: &str) -> Option<ServerId> {
    if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [_, _] => u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    });
    ServerId::new(&pairs.collect::<Option<Vec<u8>>>()?)
}

impl Reading<'_> {
    /// Server ids are for QUIC's connection ids, and where these name servers, every server has one.
    pub(super) fn check_quic(&self) {
        let Some(protocol) = self.protocol else { return };
        let is_quic = protocol == Protocol::Quic;
        match &self.quic {
            Some(quic) if !is_quic => self.refuse_quic(protocol, &quic.place),
            None if is_quic && !self.section.mentions("quic") => self.warn_of_unread_ids(),
            _ => {}
        }
        if is_quic {
            self.refuse_fragments();
        }
        let length = self.quic.as_ref().and_then(|quic| quic.server_id_length.as_ref());
        let mut seen = HashMap::new();
        for backend in &self.backends.read {
            match (length, backend.backend.server_id) {
                (Some(length), id) if is_quic => self.check_server_id(backend, id, length, &mut seen),
                (None, Some(_)) if self.quic.is_none() => self.refuse_server_id(backend),
                _ => {}
            }
        }
    }

    fn refuse_quic(&self, protocol: Protocol, place: &Place) {
        let file = self.section.file;
        let message = format!("{} is {}, which has no connection ids", self.label(), protocol.name());
        let error = file.error(place, message).expected("expected no [service.quic]");
        file.report(error.help("connection ids are QUIC's: say `protocol = \"quic\"` in this service"));
    }

    fn refuse_fragments(&self) {
        let wanted = self.policy.fragments.as_ref().filter(|fragments| fragments.value);
        if let Some(fragments) = wanted.filter(|_| self.section.has("fragments")) {
            let file = self.section.file;
            let message = format!("{} is quic, whose packets are never fragmented", self.label());
            let error = file.error(&fragments.place, message).expected("expected false");
            file.report(error.help("QUIC forbids it (RFC 9000 section 14): leave `fragments` out"));
        }
    }

    fn warn_of_unread_ids(&self) {
        let file = self.section.file;
        let warning = file.warning(&self.section.place, "connection ids are not read");
        file.warn(warning.expected("expected a [service.quic] below").help(
            "a client whose address changes gets another backend, and its connection breaks; servers that put their \
             ids into connection ids prevent that",
        ));
    }

    fn refuse_server_id(&self, backend: &BackendReading) {
        let file = self.section.file;
        let error = file.error(&backend.server_id, "a server id in a service that reads no connection ids");
        file.report(
            error.expected("expected no `server_id`").help(
                "say `protocol = \"quic\"` and `server_id_length` under [service.quic] in this service",
            ),
        );
    }

    fn check_server_id<'a>(
        &self,
        backend: &'a BackendReading,
        id: Option<ServerId>,
        length: &Located<u32>,
        seen: &mut HashMap<ServerId, &'a Place>,
    ) {
        let (file, place) = (self.section.file, &backend.server_id);
        let bytes = length.value;
        let Some(id) = id else {
            if !backend.mentions_server_id {
                let error =
                    file.error(place, format!("missing key `server_id` in {}", schema::BACKEND.header));
                let example = "0a".repeat(bytes as usize);
                file.report(
                    error.expected(format!("add `server_id = \"{example}\"`, unique in the service")),
                );
            }
            return;
        };
        if u32::from(id.length) != bytes {
            let message = format!("a server id of {} digits", 2 * id.length);
            let error = file.error(place, message).expected(format!("expected {} digits", 2 * bytes));
            file.report(error.related(file.spot(&length.place), "the length of this service's server ids"));
        } else if let Some(first) = seen.insert(id, place) {
            let message = "this server id is used twice in this service".to_owned();
            file.report_second(place, first, message, "expected another id");
        }
    }
}
