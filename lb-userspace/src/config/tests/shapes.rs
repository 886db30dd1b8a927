//! The types that the document of the API has for keys are those that the parser takes.

use super::super::{
    Config, Diagnostics, schema,
    schema::Schema,
    shape::{self, Shape},
};

/// A value of each type, with what the parser calls it where it wants another.
const SAMPLES: [(Sample, &str, &str); 6] = [
    (Sample::Text, "\"sample\"", "a string"),
    (Sample::Integer, "7", "an integer"),
    (Sample::Float, "7.5", "a float"),
    (Sample::Boolean, "true", "a boolean"),
    (Sample::List, "[]", "an array"),
    (Sample::Table, "{}", "a table"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sample {
    Text,
    Integer,
    Float,
    Boolean,
    List,
    Table,
}

/// Where a table of a service stands in a file.
const TABLES: [(&Schema, Place); 13] = [
    (&schema::SERVICE, Place::Service),
    (&schema::BACKEND, Place::Backend),
    (&schema::PROBE, Place::Within("probe")),
    (&schema::GUARD, Place::Within("guard")),
    (&schema::ROLLOUT, Place::Within("rollout")),
    (&schema::GUE, Place::Within("gue")),
    (&schema::PASSIVE, Place::Within("passive")),
    (&schema::QUIC, Place::Within("quic")),
    (&schema::FLAP, Place::Within("flap")),
    (&schema::AFFINITY, Place::Within("affinity")),
    (&schema::RATE, Place::Guard("max_new")),
    (&schema::SOURCE_RATE, Place::Guard("max_new_per_source")),
    (&schema::SYN_COOKIES, Place::Guard("syn_cookies")),
];

#[derive(Clone, Copy)]
enum Place {
    Service,
    Backend,
    /// A table of the service under this key.
    Within(&'static str),
    /// A table of its guard.
    Guard(&'static str),
}

impl Place {
    /// What is said of a file in which `key` of the table has this value.
    fn judge(self, key: &str, value: &str) -> String {
        let pair = format!("{key} = {value}");
        let service = [
            ("name", "\"web\""),
            ("address", "\"203.0.113.10\""),
            ("port", "80"),
            ("protocol", "\"tcp\""),
            ("forwarding", "\"l2\""),
        ];
        let backend = [("name", "\"b1\""), ("address", "\"192.0.2.11\"")];
        let (own, within) = match self {
            Self::Service if key == "backend" => (pair, None),
            Self::Service => (pair, Some(lines(&backend, ""))),
            Self::Backend => (String::new(), Some(lines(&backend, &pair))),
            Self::Within(table) => (format!("{table} = {{ {pair} }}"), Some(lines(&backend, ""))),
            Self::Guard(table) => {
                (format!("guard = {{ {table} = {{ {pair} }} }}"), Some(lines(&backend, "")))
            }
        };
        let within = within.map(|backend| format!("[[service.backend]]\n{backend}")).unwrap_or_default();
        let text =
            format!("[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\n{}{within}", lines(&service, &own));
        Config::parse("sluice.toml", &text)
            .err()
            .map(|said: Diagnostics| said.to_string())
            .unwrap_or_default()
    }
}

/// These keys, but for one that `own` has too, and `own`.
fn lines(keys: &[(&str, &str)], own: &str) -> String {
    let others = keys.iter().filter(|(key, _)| !own.starts_with(&format!("{key} = ")));
    let mut all: Vec<_> = others.map(|(key, value)| format!("{key} = {value}\n")).collect();
    all.extend([own, "\n"].map(str::to_owned));
    all.concat()
}

/// Whether a value of the sample's type is one of the shape's.
fn takes(shape: &Shape, sample: Sample) -> bool {
    match shape {
        Shape::Text => sample == Sample::Text,
        Shape::Boolean => sample == Sample::Boolean,
        Shape::Integer(_) => sample == Sample::Integer,
        Shape::Number(_) => matches!(sample, Sample::Integer | Sample::Float),
        Shape::List(_) => sample == Sample::List,
        Shape::Table(_) | Shape::Texts => sample == Sample::Table,
        Shape::Either(shapes) => shapes.iter().any(|shape| takes(shape, sample)),
    }
}

/// The integers that the shape takes.
fn bounds(shape: &Shape) -> Option<(u32, u32)> {
    match shape {
        Shape::Integer(range) => Some((*range.start(), *range.end())),
        Shape::Either(shapes) => shapes.iter().find_map(bounds),
        _ => None,
    }
}

#[test]
fn value_is_refused_for_its_type_where_the_document_has_another() {
    for (table, place) in TABLES {
        for (key, shape) in shape::keys(table) {
            for (sample, value, kind) in SAMPLES {
                let said = place.judge(key, value);
                let is_refused = said.contains(&format!("{value} is {kind}"))
                    || (sample == Sample::Integer && said.contains("7 is not a duration"));
                assert_eq!(is_refused, !takes(shape, sample), "{}: {key} = {value}: {said}", table.header);
            }
        }
    }
}

#[test]
fn integer_is_refused_where_it_is_beyond_the_bounds_of_the_document() {
    for (table, place) in TABLES {
        for (key, shape) in shape::keys(table) {
            let Some((least, most)) = bounds(shape) else { continue };
            let is_refused = |value: i64| {
                let said = place.judge(key, &value.to_string());
                ["out of range", "not a port"].iter().any(|why| said.contains(&format!("{value} is {why}")))
            };
            let (least, most) = (i64::from(least), i64::from(most));
            let found = [least - 1, least, most, most + 1].map(is_refused);
            assert_eq!(found, [true, false, false, true], "{}: {key}: {least} to {most}", table.header);
        }
    }
}

/// What no list of this module names would be left out of it.
#[test]
fn every_table_of_a_service_is_looked_at() {
    let mut open = vec![&schema::SERVICE];
    let mut seen = Vec::new();
    while let Some(table) = open.pop() {
        seen.push(table.header);
        open.extend(shape::keys(table).flat_map(|(_, shape)| tables(shape)));
    }
    let mut looked_at = TABLES.map(|(table, _)| table.header).to_vec();
    seen.sort_unstable();
    looked_at.sort_unstable();
    assert_eq!(seen, looked_at);
}

fn tables(shape: &'static Shape) -> Vec<&'static Schema> {
    match shape {
        Shape::Table(table) => vec![table],
        Shape::List(element) => tables(element),
        Shape::Either(shapes) => shapes.iter().flat_map(tables).collect(),
        _ => Vec::new(),
    }
}
