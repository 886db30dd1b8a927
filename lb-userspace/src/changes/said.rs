//! What the file says, what was changed over it, and what both come to.

use std::time::Duration;

use serde_json::{Map, Value};
use toml::Table;

use super::{Changes, Document, EditError, Lease};
use crate::health::TargetKey;

/// The key of a service's backends.
const BACKENDS: &str = "backend";

/// A merge patch: keys with what they are to be, null for those that are to go.
pub type Patch = Map<String, Value>;

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
    /// Has some keys of a service be so (RFC 7396). Backends that it does not list stay where it lists none.
    PatchService(String, Patch),
    /// Takes a service out.
    DeleteService(String),
    /// Has a backend be so, for a time where one is said.
    PutBackend(TargetKey, Table, Option<Duration>),
    /// Has some keys of a backend be so (RFC 7396). A lease stays what it is.
    PatchBackend(TargetKey, Patch),
    /// Takes a backend out.
    DeleteBackend(TargetKey),
}

impl Edit {
    /// What it is about, as messages about `document` call it; none where it is not in there.
    #[must_use]
    pub fn path(&self, document: &Document) -> Option<String> {
        match self {
            Self::PutService(name, _) | Self::PatchService(name, _) | Self::DeleteService(name) => {
                document.path_of_service(name)
            }
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
            Edit::PatchService(name, patch) => {
                let table = self.document.service(name).ok_or_else(|| EditError::NoService(name.clone()))?;
                changes.put_service(&file, name, patched_service(table, patch)?)?;
            }
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

/// A service with what a patch says of it; without its backends where it says nothing of them, so that they are let be.
fn patched_service(table: &Table, patch: &Patch) -> Result<Table, EditError> {
    let mut table = patched(table, patch)?;
    match patch.get(BACKENDS) {
        None => drop(table.remove(BACKENDS)),
        Some(Value::Null) => drop(table.insert(BACKENDS.to_owned(), toml::Value::Array(Vec::new()))),
        Some(_) => {}
    }
    Ok(table)
}

fn patched(table: &Table, patch: &Patch) -> Result<Table, EditError> {
    let mut table = table.clone();
    merge(&mut table, patch)?;
    Ok(table)
}

/// `MergePatch` of RFC 7396, section 2.
fn merge(table: &mut Table, patch: &Patch) -> Result<(), EditError> {
    for (key, value) in patch {
        match value {
            Value::Null => drop(table.remove(key)),
            Value::Object(patch) => {
                let mut own = match table.remove(key) {
                    Some(toml::Value::Table(own)) => own,
                    _ => Table::new(),
                };
                merge(&mut own, patch)?;
                table.insert(key.clone(), toml::Value::Table(own));
            }
            value => {
                let value = toml::Value::try_from(value);
                let value = value.map_err(|error| EditError::NoValue(error.to_string()))?;
                table.insert(key.clone(), value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(patch: Value) -> Patch {
        serde_json::from_value(patch).unwrap()
    }

    /// The cases of RFC 7396, appendix A, that are tables before and after.
    #[test]
    fn patch_is_merged_as_the_rfc_says() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": "foo"}), json!({"a": {"b": 1, "c": null}}), json!({"a": {"b": 1}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (before, patch, after) in cases {
            let table = |value: &Value| Table::try_from(value).unwrap();
            assert_eq!(patched(&table(&before), &keys(patch.clone())), Ok(table(&after)), "{before} {patch}");
        }
        assert!(matches!(patched(&Table::new(), &keys(json!({"a": [null]}))), Err(EditError::NoValue(_))));
    }

    #[test]
    fn patch_of_a_service_lets_its_backends_be_unless_it_lists_them() {
        let text = "[[service]]\nname = 'web'\nprobe = {type = 'tcp', rise = 2}\nbackend = [{name = 'b1'}, {name = 'b2'}]";
        let (said, _) = Said::new(Document::parse(text).unwrap(), Changes::default());
        let key = TargetKey { service: "web".to_owned(), backend: "b3".to_owned() };
        let lease =
            Edit::PutBackend(key.clone(), "name = 'b3'".parse().unwrap(), Some(Duration::from_secs(30)));
        let said = said.edited(&lease, Duration::ZERO).unwrap();
        let after = |patch: Value| {
            let said =
                said.edited(&Edit::PatchService("web".to_owned(), keys(patch)), Duration::ZERO).unwrap();
            let backends = said.document().backends("web").collect::<Vec<_>>().join(" ");
            let probe = said.document().service("web").unwrap()["probe"].to_string();
            (backends, probe, said.changes().leases().count())
        };
        let own = |backends: &str, rise: u8, leases| {
            (backends.to_owned(), format!("{{ rise = {rise}, type = \"tcp\" }}"), leases)
        };
        assert_eq!(after(json!({"probe": {"rise": 5}})), own("b1 b2 b3", 5, 1));
        assert_eq!(after(json!({"backend": [{"name": "b3"}]})), own("b3", 2, 1), "by lease as before");
        assert_eq!(after(json!({"backend": null})), own("", 2, 0));
        let nothing = said.edited(&Edit::PatchService("dns".to_owned(), keys(json!({}))), Duration::ZERO);
        assert_eq!(nothing, Err(EditError::NoService("dns".to_owned())));
    }

    #[test]
    fn lease_outlives_a_patch() {
        let file = Document::parse("[[service]]\nname = 'web'\n").unwrap();
        let (said, _) = Said::new(file, Changes::default());
        let key = TargetKey { service: "web".to_owned(), backend: "b1".to_owned() };
        let at = Duration::from_secs;
        let put = Edit::PutBackend(key.clone(), "name = 'b1'".parse().unwrap(), Some(at(30)));
        let said = said.edited(&put, at(1)).unwrap();
        let said = said.edited(&Edit::PatchBackend(key.clone(), keys(json!({"weight": 2}))), at(5)).unwrap();
        assert_eq!(said.changes().lease(&key), Some(Lease { ttl: at(30), until: at(31) }));
        assert_eq!(said.lapsed(at(30)).1, []);
        let (said, lapsed) = said.lapsed(at(31));
        assert_eq!((lapsed, said.document().backend(&key)), (vec![key], None));
    }
}
