//! A configuration as it is written: tables of keys, with neither defaults nor places.

use std::sync::{Arc, OnceLock};

use toml::{Table, Value};

use crate::{config::fingerprint, health::TargetKey};

/// What a file says, or would.
#[derive(Clone, Debug, Default)]
pub struct Document(Arc<Written>);

/// A text, and what it says, for whoever asks for that: mostly nobody does, and of a large file it takes a while.
#[derive(Clone, Debug, Default)]
struct Written {
    text: Arc<String>,
    table: OnceLock<Table>,
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.table() == other.table()
    }
}

impl From<Table> for Document {
    fn from(table: Table) -> Self {
        Self(Arc::new(Written { text: Arc::default(), table: table.into() }))
    }
}

impl Document {
    /// The document that `text` is, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self::from(text.parse::<Table>().ok()?))
    }

    /// The document that `text` is, which has been read as one.
    #[must_use]
    pub fn of(text: Arc<String>) -> Self {
        Self(Arc::new(Written { text, table: OnceLock::new() }))
    }

    fn table(&self) -> &Table {
        self.0.table.get_or_init(|| self.0.text.parse().unwrap_or_default())
    }

    fn change(&mut self, change: impl FnMut(&mut Table)) {
        self.table();
        let written = Arc::make_mut(&mut self.0);
        written.table.get_mut().into_iter().for_each(change);
        written.text = Arc::default();
    }

    /// A text that says the same.
    #[must_use]
    pub fn text(&self) -> String {
        self.table().to_string()
    }

    /// Tells documents apart, as 16 hex digits.
    #[must_use]
    pub fn version(&self) -> String {
        format!("{:016x}", fingerprint(self.text().as_bytes()))
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = &Table> {
        tables(self.table(), "service")
    }

    /// A service.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Table> {
        self.services().find(|service| is_called(service, name))
    }

    /// The keys of a service without its backends.
    #[must_use]
    pub fn own(&self, name: &str) -> Option<Table> {
        let mut own = self.service(name)?.clone();
        own.remove("backend");
        Some(own)
    }

    /// The names of a service's backends.
    pub fn backends(&self, service: &str) -> impl Iterator<Item = &str> {
        let backends = self.service(service).into_iter().flat_map(|service| tables(service, "backend"));
        backends.filter_map(|backend| backend.get("name")?.as_str())
    }

    /// A backend.
    #[must_use]
    pub fn backend(&self, key: &TargetKey) -> Option<&Table> {
        tables(self.service(&key.service)?, "backend").find(|backend| is_called(backend, &key.backend))
    }

    /// The path by which messages call a service, such as `service[2]`.
    #[must_use]
    pub fn path_of_service(&self, name: &str) -> Option<String> {
        let at = self.services().position(|service| is_called(service, name))?;
        Some(format!("service[{at}]"))
    }

    /// The same of a backend, such as `service[2].backend[0]`.
    #[must_use]
    pub fn path_of_backend(&self, key: &TargetKey) -> Option<String> {
        let service = self.service(&key.service)?;
        let at = tables(service, "backend").position(|backend| is_called(backend, &key.backend))?;
        Some(format!("{}.backend[{at}]", self.path_of_service(&key.service)?))
    }

    /// Has a service have these keys beside its backends, or takes it out with them.
    pub(super) fn set_own(&mut self, name: &str, own: Option<&Table>) {
        let own = own.map(|own| {
            let mut own = own.clone();
            let backends = self.service(name).and_then(|service| service.get("backend").cloned());
            own.extend(backends.map(|backends| ("backend".to_owned(), backends)));
            own
        });
        self.change(|table| set(table, "service", name, own.clone()));
    }

    /// Has a backend of a service that there is have these keys, or takes it out.
    pub(super) fn set_backend(&mut self, key: &TargetKey, table: Option<&Table>) {
        self.change(|document| {
            let services = document.get_mut("service").and_then(Value::as_array_mut);
            let services = services.into_iter().flatten().filter_map(Value::as_table_mut);
            for service in services.filter(|service| is_called(service, &key.service)) {
                set(service, "backend", &key.backend, table.cloned());
            }
        });
    }
}

fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> + use<'a> {
    table.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn is_called(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Value::as_str) == Some(name)
}

/// Puts a table of this name into the array `key`, or takes it out.
fn set(table: &mut Table, key: &str, name: &str, value: Option<Table>) {
    let entry = table.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    let Some(array) = entry.as_array_mut() else { return };
    let is_it = |value: &Value| value.as_table().is_some_and(|table| is_called(table, name));
    match (array.iter().position(is_it), value) {
        (Some(at), Some(value)) => array[at] = Value::Table(value),
        (None, Some(value)) => array.push(Value::Table(value)),
        (Some(at), None) => drop(array.remove(at)),
        (None, None) => {}
    }
    if array.is_empty() {
        table.remove(key);
    }
}
