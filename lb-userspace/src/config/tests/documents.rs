//! The examples load, and `docs/config.md` lists every key.

use std::{fs, path::PathBuf};

use super::super::{Config, schema, schema::Schema};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_example_loads() {
    let examples = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let tomls: Vec<_> =
        examples.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(tomls.len() >= 2, "{tomls:?}");
    for path in tomls {
        if let Err(diagnostics) = Config::load(&path) {
            panic!("{diagnostics}");
        }
    }
}

#[test]
fn full_example_has_every_key_of_every_table() {
    let text = fs::read_to_string(root().join("examples/full.toml")).unwrap();
    for schema in schema::ALL.into_iter().filter(|schema| schema.header.starts_with('[')) {
        let tables = stretches(&text, &format!("\n{}\n", schema.header), "\n[");
        for key in keys_with_values(schema) {
            assert!(
                tables.contains(&format!("\n{key} = ")),
                "examples/full.toml: no `{key}` in {}",
                schema.header
            );
        }
    }
}

#[test]
fn manual_has_a_row_for_every_key_of_every_table() {
    let text = fs::read_to_string(root().join("docs/config.md")).unwrap();
    for schema in schema::ALL.into_iter().filter(|schema| schema.header.starts_with('[')) {
        let table = stretch(&text, &format!("\n## `{}`\n", schema.header), "\n## ");
        for key in keys_with_values(schema) {
            assert!(
                table.contains(&format!("\n| `{key}` |")),
                "docs/config.md: no `{key}` in {}",
                schema.header
            );
        }
    }
}

/// What [`stretch`] gives of every `start`.
fn stretches(text: &str, start: &str, end: &str) -> String {
    assert!(text.contains(start), "there is no {start:?}");
    let starts = text.match_indices(start);
    starts.map(|(at, _)| stretch(&text[at..], start, end)).collect()
}

/// The text from `start` to the next `end`.
fn stretch<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, after) = text.split_once(start).unwrap_or_else(|| panic!("there is no {start:?}"));
    &text[text.len() - after.len() - 1..][..=after.find(end).unwrap_or(after.len())]
}

/// The keys of a table but its sub-tables, which have headers of their own.
fn keys_with_values(schema: &Schema) -> impl Iterator<Item = &'static str> {
    schema
        .keys
        .iter()
        .copied()
        .filter(|key| !["probe", "guard", "quic", "backend", "nat", "api"].contains(key))
}
