//! One table of the file, read key by key.
//!
//! Deserializing with serde would stop at the first mistake, so tables are read from the spanned document itself.
//! Readers return `None` for what is absent and for what they have reported; whether anything was reported is the
//! file's to know, and a configuration is only made when nothing was.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    file::{File, Located, Place},
    schema::{self, Schema},
    suggest::closest,
};

/// A table whose unknown keys have been reported.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) place: Place,
    schema: &'static Schema,
    table: &'a DeTable<'a>,
    /// Known keys that unknown ones were taken for: not to be reported as missing too.
    meant: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The table that is the whole document.
    pub(super) fn root(file: &'a File<'a>, table: &'a DeTable<'a>) -> Self {
        let place = Place { key: String::new(), span: Some(0..0) };
        Self::open(file, place, &schema::ROOT, table)
    }

    fn open(file: &'a File<'a>, place: Place, schema: &'static Schema, table: &'a DeTable<'a>) -> Self {
        let mut section = Self { file, place, schema, table, meant: Vec::new() };
        for key in table.keys().filter(|key| !schema.keys.contains(&&**key.get_ref())) {
            section.refuse_key(key.get_ref(), key.span());
        }
        section
    }

    fn refuse_key(&mut self, key: &str, span: Range<usize>) {
        let absent: Vec<_> =
            self.schema.keys.iter().copied().filter(|known| !self.table.contains_key(*known)).collect();
        let meant = closest(key, &absent);
        self.meant.extend(meant);
        let place = Place { key: self.path_of(key), span: Some(span) };
        let error = self.file.error(&place, format!("unknown key `{key}` in {}", self.schema.header));
        let homes = schema::homes_of(key);
        self.file.report(match meant {
            Some(meant) => error.expected(format!("did you mean `{meant}`?")),
            None if homes.is_empty() => error.expected(format!("known keys: {}", self.schema.keys.join(", "))),
            None => error.expected(format!("`{key}` belongs in {}", homes.join(" or "))).help(
                "a key belongs to the nearest header above it: write a table's own keys before its sub-tables",
            ),
        });
    }

    fn path_of(&self, key: &str) -> String {
        if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) }
    }

    /// Whether the file has `key`, right or wrong, or something that was taken for it.
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.has(key) || self.meant.contains(&key)
    }

    /// Whether the file has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether `place` lies in this table, and not in one that its values are taken from.
    pub(super) fn holds(&self, place: &Place) -> bool {
        place.key.strip_prefix(&self.place.key).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Whether this kind of table may have `key`.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.schema.keys.contains(&key)
    }

    /// Where `key` is; what is not there would be at the header.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let span = self.table.get(key).map(Spanned::span).or_else(|| self.place.span.clone());
        Place { key: self.path_of(key), span }
    }

    /// Reads `key` if it is there.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Entry<'a>) -> Option<T>,
    ) -> Option<Located<T>> {
        let entry = self.entry(key)?;
        read(&entry).map(|value| Located { value, place: entry.place })
    }

    /// Reads `key`, which must be there; `example` is what to add if it is not.
    pub(super) fn required<T>(
        &self,
        key: &str,
        example: &str,
        read: impl FnOnce(&Entry<'a>) -> Option<T>,
    ) -> Option<Located<T>> {
        if !self.mentions(key) {
            self.refuse_absence(key, example);
        }
        self.optional(key, read)
    }

    /// Reports that `key` is missing.
    pub(super) fn refuse_absence(&self, key: &str, example: &str) {
        let message = format!("missing key `{key}` in {}", self.schema.header);
        self.file.report(self.file.error(&self.place_of(key), message).expected(format!("add `{example}`")));
    }

    /// The sub-table `key`.
    pub(super) fn section(&self, key: &str, schema: &'static Schema) -> Option<Self> {
        self.entry(key)?.section(schema)
    }

    /// The sub-tables that the array `key` consists of.
    pub(super) fn sections(&self, key: &str, schema: &'static Schema) -> Vec<Self> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = entry.value else {
            return entry.refuse_table(schema).unwrap_or_default();
        };
        let entries = (0..).zip(array.iter()).map(|(index, value)| entry.element(index, value));
        entries.filter_map(|entry| entry.section(schema)).collect()
    }

    fn entry(&self, key: &str) -> Option<Entry<'a>> {
        debug_assert!(
            self.schema.keys.contains(&key),
            "{key} is not in the schema of {}",
            self.schema.header
        );
        let value = self.table.get(key)?.get_ref();
        Some(Entry { file: self.file, place: self.place_of(key), value })
    }
}

/// A value of the file under its key.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) place: Place,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Entry<'a> {
    /// Reports the value as `message` says, `expected` being what would be right. Always `None`.
    pub(super) fn refuse<T>(&self, message: impl Into<String>, expected: impl Into<String>) -> Option<T> {
        self.file.report(self.file.error(&self.place, message).expected(expected));
        None
    }

    /// Reports that the value is not even of the right type. Always `None`.
    pub(super) fn refuse_type<T>(&self, expected: impl Into<String>) -> Option<T> {
        let kind = self.value.type_str();
        let article = if matches!(self.value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        self.refuse(format!("{} is {article} {kind}", self.excerpt()), expected)
    }

    /// The value as it is written.
    pub(super) fn excerpt(&self) -> String {
        self.file.excerpt(&self.place)
    }

    pub(super) fn element(&self, index: usize, value: &'a Spanned<DeValue<'a>>) -> Self {
        let place = Place { key: format!("{}[{index}]", self.place.key), span: Some(value.span()) };
        Self { file: self.file, place, value: value.get_ref() }
    }

    pub(super) fn section(&self, schema: &'static Schema) -> Option<Section<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Section::open(self.file, self.place.clone(), schema, table)),
            _ => self.refuse_table(schema),
        }
    }

    fn refuse_table<T>(&self, schema: &Schema) -> Option<T> {
        self.refuse_type(format!("expected a table with the header {}", schema.header))
    }
}
