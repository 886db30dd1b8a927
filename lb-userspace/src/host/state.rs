//! What `sluice backend up` changed, as a JSON file. It is written before anything is changed, so it may name changes
//! that were never made; undoing those does nothing.

use std::{fs, io, net::IpAddr, path::Path};

use serde::{Deserialize, Serialize};

use super::{HostError, file_error, settings::Change};
use crate::interface::Mode;

/// The changes to one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The interface that packets from the balancer arrive at.
    pub interface: String,
    /// The VIPs.
    pub vips: Vec<IpAddr>,
    /// Those of them that were not on `lo` before.
    pub addresses: Vec<IpAddr>,
    /// Kernel settings and what they were before.
    pub settings: Vec<Change>,
    /// How the decapsulator is attached, if it is.
    pub decap: Option<Mode>,
    /// Whether it is pinned, and attached to nothing.
    #[serde(default)]
    pub pinned: bool,
}

/// What has to happen on `lo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressChange {
    /// Addresses to add.
    pub add: Vec<IpAddr>,
    /// Addresses to remove.
    pub remove: Vec<IpAddr>,
}

impl State {
    /// The state of a host that nothing was done to.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        let interface = interface.to_owned();
        let (vips, addresses, settings) = (Vec::new(), Vec::new(), Vec::new());
        Self { interface, vips, addresses, settings, decap: None, pinned: false }
    }

    /// Adds changes. Of a setting that is remembered already, the value before the first change is the one to restore.
    pub fn remember_settings(&mut self, changes: Vec<Change>) {
        for change in changes {
            match self.settings.iter_mut().find(|known| known.key == change.key) {
                Some(known) => known.set = change.set,
                None => self.settings.push(change),
            }
        }
    }

    /// Makes `vips` the VIPs, where `present` are the addresses of `lo`, and says what that takes. Addresses that are to
    /// be removed stay in the state until [`State::forget_addresses`].
    pub(super) fn change_vips(&mut self, vips: &[IpAddr], present: &[IpAddr]) -> AddressChange {
        vips.clone_into(&mut self.vips);
        let remove = self.addresses.iter().filter(|ip| !vips.contains(ip)).copied().collect();
        let add: Vec<IpAddr> = vips.iter().filter(|ip| !present.contains(ip)).copied().collect();
        self.addresses.retain(|ip| !add.contains(ip));
        self.addresses.extend(&add);
        AddressChange { add, remove }
    }

    /// Drops addresses that have been removed from `lo`.
    pub(super) fn forget_addresses(&mut self, removed: &[IpAddr]) {
        self.addresses.retain(|ip| !removed.contains(ip));
    }

    /// Reads the file; `None` where there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, HostError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("read", path)(error)),
        };
        let parsed = serde_json::from_slice(&text);
        parsed.map(Some).map_err(|source| HostError::State { path: path.to_owned(), source })
    }

    /// Replaces the file as a whole, so that a crash leaves the one or the other.
    pub(super) fn save(&self, path: &Path) -> Result<(), HostError> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(file_error("create", directory))?;
        }
        let text =
            serde_json::to_string_pretty(self).expect("strings, numbers and lists are all JSON has to hold");
        let draft = path.with_extension("draft");
        fs::write(&draft, text + "\n").map_err(file_error("write", &draft))?;
        fs::rename(&draft, path).map_err(file_error("replace", path))
    }

    pub(super) fn remove(path: &Path) -> Result<(), HostError> {
        fs::remove_file(path).map_err(file_error("remove", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: &str, set: &str) -> Change {
        Change { key: "ipv4/conf/all/arp_ignore".to_owned(), before: before.to_owned(), set: set.to_owned() }
    }

    #[test]
    fn state_survives_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/backend.json");
        assert_eq!(State::load(&path).unwrap(), None);
        let mut state = State::new("eth0");
        state.change_vips(&["203.0.113.10".parse().unwrap(), "2001:db8::10".parse().unwrap()], &[]);
        state.decap = Some(Mode::Generic);
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), Some(state));
    }

    #[test]
    fn second_change_keeps_the_first_value_to_restore() {
        let mut state = State::new("eth0");
        state.remember_settings(vec![change("0", "1")]);
        state.remember_settings(vec![change("1", "2")]);
        assert_eq!(state.settings, [change("0", "2")]);
    }

    #[test]
    fn only_addresses_that_were_added_are_removed() {
        let [first, second, third] = [1, 2, 3].map(|last| IpAddr::from([203, 0, 113, last]));
        let mut state = State::new("eth0");
        // The first was there before; the second is added.
        let change = state.change_vips(&[first, second], &[first]);
        assert_eq!(change, AddressChange { add: vec![second], remove: vec![] });
        let change = state.change_vips(&[third], &[first, second]);
        assert_eq!(change, AddressChange { add: vec![third], remove: vec![second] });
        state.forget_addresses(&change.remove);
        assert_eq!(state.addresses, [third]);
    }

    #[test]
    fn foreign_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{}").unwrap();
        let error = State::load(file.path()).unwrap_err().to_string();
        assert!(error.contains("is no state file"), "{error}");
    }
}
