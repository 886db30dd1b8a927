//! Which type of value each key of a service takes, by tables of [`schema`](super::schema): for the document of the API.
//!
//! What a value means beyond its type is for the parser to say; a test holds the two together.

use std::ops::RangeInclusive;

use lb_common::{
    maglev::MAX_LENGTH,
    quic::{MAX_SERVER_ID, UNROUTABLE},
};

use super::{
    MAX_WEIGHT,
    backend::{MAX_CONNECTIONS, MAX_PRIORITY},
    flap,
    guard::MOST,
    mss, passive, probe,
    schema::{self, Schema},
    sharing::{MAX_BACKENDS, OVERPROVISIONING},
};

/// A type of value.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text,
    Boolean,
    Integer(RangeInclusive<u32>),
    /// A number with or without a fraction.
    Number(RangeInclusive<f64>),
    List(&'static Shape),
    Table(&'static Schema),
    /// A table with any keys.
    Texts,
    Either(&'static [Shape]),
}

use Shape::{Boolean, Either, Integer, List, Number, Table, Text, Texts};

const TEXTS: Shape = List(&Text);
const PORT: Shape = Integer(1..=u16::MAX as u32);
const RATE: Shape = Integer(1..=MOST);
const COUNT: Shape = Integer(probe::COUNTS);

/// The keys of a table, each with its type. Those that are left out are texts.
type Shapes = &'static [(&'static str, Shape)];

const SERVICE: Shapes = &[
    ("port", Either(&[PORT, Text])),
    ("slots", Integer(2..=MAX_LENGTH)),
    ("affinity", Either(&[Text, Table(&schema::AFFINITY)])),
    ("tunnel_source", TEXTS),
    ("gue", Table(&schema::GUE)),
    ("echo", Boolean),
    ("fragments", Boolean),
    ("mss", Either(&[Integer(mss::RANGE), Text])),
    ("flap", Either(&[Text, Table(&schema::FLAP)])),
    ("rollout", Table(&schema::ROLLOUT)),
    ("overprovisioning", Number(OVERPROVISIONING.0 as f64 / 100.0..=OVERPROVISIONING.1 as f64 / 100.0)),
    ("min_healthy", Either(&[Integer(0..=MAX_BACKENDS), Text])),
    ("probe", Table(&schema::PROBE)),
    ("guard", Table(&schema::GUARD)),
    ("passive", Table(&schema::PASSIVE)),
    ("quic", Table(&schema::QUIC)),
    ("backend", List(&Table(&schema::BACKEND))),
];

const BACKEND: Shapes = &[
    ("port", PORT),
    ("weight", Integer(0..=MAX_WEIGHT)),
    ("priority", Integer(0..=MAX_PRIORITY)),
    ("max_new_per_sec", RATE),
    ("max_connections", Integer(1..=MAX_CONNECTIONS)),
];

const PROBE: Shapes = &[
    ("rise", COUNT),
    ("fall", COUNT),
    ("concurrency", Integer(probe::CONCURRENCIES)),
    ("port", PORT),
    ("headers", Texts),
    ("status", List(&Either(&[Integer(probe::STATUSES), Text]))),
    ("verify", Boolean),
    ("tls", Boolean),
    ("command", TEXTS),
];

const GUARD: Shapes = &[
    ("allow", TEXTS),
    ("deny", TEXTS),
    ("max_new_per_source", Either(&[RATE, Table(&schema::SOURCE_RATE)])),
    ("max_new", Either(&[RATE, Table(&schema::RATE)])),
    ("syn_cookies", Either(&[Text, Table(&schema::SYN_COOKIES)])),
];

const ROLLOUT: Shapes = &[("compatible", Either(&[Text, TEXTS]))];
const GUE: Shapes = &[("port", PORT), ("variant", Integer(0..=1))];
const PASSIVE: Shapes = &[("connections", Integer(passive::CONNECTIONS))];
const QUIC: Shapes = &[
    ("server_id_length", Integer(1..=MAX_SERVER_ID as u32)),
    ("config_id", Integer(0..=UNROUTABLE as u32 - 1)),
];
const FLAP: Shapes = &[("changes", Integer(flap::CHANGES))];
const AFFINITY: Shapes = &[("ipv4", Integer(1..=32)), ("ipv6", Integer(1..=128))];
const MAX_NEW: Shapes = &[("rate", RATE), ("burst", RATE)];
const MAX_NEW_PER_SOURCE: Shapes =
    &[("rate", RATE), ("burst", RATE), ("ipv4", Integer(1..=32)), ("ipv6", Integer(1..=128))];
const SYN_COOKIES: Shapes = &[("above", RATE)];

/// The tables of a service, with what is no text in them.
const ALL: [(&Schema, Shapes); 13] = [
    (&schema::SERVICE, SERVICE),
    (&schema::BACKEND, BACKEND),
    (&schema::PROBE, PROBE),
    (&schema::GUARD, GUARD),
    (&schema::ROLLOUT, ROLLOUT),
    (&schema::GUE, GUE),
    (&schema::PASSIVE, PASSIVE),
    (&schema::QUIC, QUIC),
    (&schema::FLAP, FLAP),
    (&schema::AFFINITY, AFFINITY),
    (&schema::RATE, MAX_NEW),
    (&schema::SOURCE_RATE, MAX_NEW_PER_SOURCE),
    (&schema::SYN_COOKIES, SYN_COOKIES),
];

/// The keys of a service's table, in the order of its schema, each with its type.
pub(super) fn keys(table: &Schema) -> impl Iterator<Item = (&'static str, &'static Shape)> {
    let shapes = ALL.iter().find(|(schema, _)| schema.header == table.header).map_or(&[][..], |(_, all)| all);
    let of = |key: &str| shapes.iter().find(|(name, _)| *name == key).map_or(&Text, |(_, shape)| shape);
    table.keys.iter().map(move |key| (*key, of(key)))
}
