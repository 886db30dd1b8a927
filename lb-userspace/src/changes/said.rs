//! What the file says, what was changed over it, and what both come to.

use std::time::Duration;

use serde_json::Value;
use toml::Table;

use super::{Changes, Document, EditError, Lease};
use crate::health::TargetKey;

/// A file with the changes that hold over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    file: Document,
    changes: Changes,
    document: Document,
}

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Has a service be so, and its backends, where they are in it.
    PutService(String, Table),
    /// Takes a service out.
    DeleteService(String),
    /// Has a backend be so, for a time where one is said.
    PutBackend(TargetKey, Table, Option<Duration>),
    /// Has some keys of a backend be so (RFC 7396). A lease stays what it is.
    PatchBackend(TargetKey, Value),
    /// Takes a backend out.
    DeleteBackend(TargetKey),
}

impl Edit {
    /// What it is about, as messages about `document` call it; none where it is not in there.
    #[must_use]
    pub fn path(&self, document: &Document) -> Option<String> {
        match self {
            Self::PutService(name, _) | Self::DeleteService(name) => document.path_of_service(name),
            Self::PutBackend(key, ..) | Self::PatchBackend(key, _) | Self::DeleteBackend(key) => {
                document.path_of_backend(key)
            }
        }
    }
}

impl Said {
    /// A file with these changes over it, as far as they hold; the names of those that do not are given.
    #[must_use]
    pub fn new(file: Document, mut changes: Changes) -> (Self, Vec<String>) {
        let overruled = changes.follow(&file);
        (Self::of(file, changes), overruled)
    }

    fn of(file: Document, changes: Changes) -> Self {
        let document = changes.merge(&file);
        Self { file, changes, document }
    }

    /// What runs.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The changes.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What it is after an edit.
    ///
    /// # Errors
    ///
    /// [`EditError`]; whether it makes sense is not asked.
    pub fn edited(&self, edit: &Edit, now: Duration) -> Result<Self, EditError> {
        let (file, mut changes) = (self.file.clone(), self.changes.clone());
        match edit {
            Edit::PutService(name, table) => changes.put_service(&file, name, table.clone())?,
            Edit::DeleteService(name) => changes.delete_service(&file, name)?,
            Edit::PutBackend(key, table, ttl) => {
                let lease = ttl.map(|ttl| Lease { ttl, until: now.saturating_add(ttl) });
                changes.put_backend(&file, key, table.clone(), lease)?;
            }
            Edit::PatchBackend(key, patch) => {
                let table = self.document.backend(key).ok_or_else(|| EditError::NoBackend(key.clone()))?;
                let lease = changes.lease(key);
                changes.put_backend(&file, key, patched(table, patch)?, lease)?;
            }
            Edit::DeleteBackend(key) => changes.delete_backend(&file, key)?,
        }
        Ok(Self::of(file, changes))
    }

    /// What it is once the leases have ended that have lapsed, with the names of their backends.
    #[must_use]
    pub fn lapsed(&self, now: Duration) -> (Self, Vec<TargetKey>) {
        let mut changes = self.changes.clone();
        let lapsed = changes.lapse(now);
        (Self::of(self.file.clone(), changes), lapsed)
    }
}

fn patched(table: &Table, patch: &Value) -> Result<Table, EditError> {
    let Value::Object(patch) = patch else { return Err(EditError::NoTable) };
    let mut table = table.clone();
    for (key, value) in patch {
        if value.is_null() {
            table.remove(key);
            continue;
        }
        let value = toml::Value::try_from(value).map_err(|error| EditError::NoValue(error.to_string()))?;
        table.insert(key.clone(), value);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patch_sets_and_takes_out_single_keys() {
        let table: Table = "name = 'b1'\nweight = 5\nport = 81".parse().unwrap();
        let after = patched(&table, &json!({"weight": 7, "port": null, "admin": "drain"})).unwrap();
        assert_eq!(after, "name = 'b1'\nweight = 7\nadmin = 'drain'".parse().unwrap());
        assert_eq!(patched(&table, &json!([])), Err(EditError::NoTable));
    }

    #[test]
    fn lease_outlives_a_patch() {
        let file = Document::parse("[[service]]\nname = 'web'\n").unwrap();
        let (said, _) = Said::new(file, Changes::default());
        let key = TargetKey { service: "web".to_owned(), backend: "b1".to_owned() };
        let at = Duration::from_secs;
        let put = Edit::PutBackend(key.clone(), "name = 'b1'".parse().unwrap(), Some(at(30)));
        let said = said.edited(&put, at(1)).unwrap();
        let said = said.edited(&Edit::PatchBackend(key.clone(), json!({"weight": 2})), at(5)).unwrap();
        assert_eq!(said.changes().lease(&key), Some(Lease { ttl: at(30), until: at(31) }));
        assert_eq!(said.lapsed(at(30)).1, []);
        let (said, lapsed) = said.lapsed(at(31));
        assert_eq!((lapsed, said.document().backend(&key)), (vec![key], None));
    }
}
