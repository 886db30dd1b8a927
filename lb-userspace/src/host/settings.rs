//! The kernel settings that direct server return needs, below `/proc/sys/net`.
//!
//! The kernel takes the larger of the value for `all` and the one for the interface, so values are only ever raised,
//! and never those of interfaces that have no part in this.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{HostError, file_error};

/// One changed setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Path below `/proc/sys/net`.
    pub key: String,
    /// What it was.
    pub before: String,
    /// What it was set to.
    pub set: String,
}

/// A tree of settings.
#[derive(Clone, Debug)]
pub struct Settings {
    root: PathBuf,
}

impl Settings {
    /// The kernel's own, of the network namespace of the calling thread.
    #[must_use]
    pub fn of_kernel() -> Self {
        Self { root: PathBuf::from("/proc/sys/net") }
    }

    /// What has to change so that `interface` serves a backend.
    ///
    /// # Errors
    ///
    /// A setting cannot be read.
    pub fn needed(&self, interface: &str) -> Result<Vec<Change>, HostError> {
        let mut changes = Vec::new();
        for scope in ["all", interface] {
            // Every interface of the host would otherwise answer ARP requests for a VIP on `lo`: answer only for
            // addresses of the interface that is asked, and ask with such an address, since a request that names the
            // VIP as sender teaches neighbours the wrong place too.
            changes.extend(self.raise(&format!("ipv4/conf/{scope}/arp_ignore"), 1)?);
            changes.extend(self.raise(&format!("ipv4/conf/{scope}/arp_announce"), 2)?);
        }
        changes.extend(self.loosen_reverse_path_filter(interface)?);
        Ok(changes)
    }

    /// Strict filtering (1) drops a client's packet where the way back to the client is another interface, as it may
    /// be here: packets come from the balancer, answers go to the router. Loose (2) still wants some way back.
    fn loosen_reverse_path_filter(&self, interface: &str) -> Result<Option<Change>, HostError> {
        let key = format!("ipv4/conf/{interface}/rp_filter");
        let strictest = self.number("ipv4/conf/all/rp_filter")?.max(self.number(&key)?);
        if strictest == 1 { self.raise(&key, 2) } else { Ok(None) }
    }

    fn raise(&self, key: &str, least: u32) -> Result<Option<Change>, HostError> {
        let before = self.number(key)?;
        let change = || Change { key: key.to_owned(), before: before.to_string(), set: least.to_string() };
        Ok((before < least).then(change))
    }

    /// Makes the changes.
    ///
    /// # Errors
    ///
    /// A setting cannot be written.
    pub fn apply(&self, changes: &[Change]) -> Result<(), HostError> {
        changes.iter().try_for_each(|change| self.write(&change.key, &change.set))
    }

    /// Takes the changes back, except where somebody has set another value since, or the interface is gone.
    ///
    /// # Errors
    ///
    /// A setting cannot be read or written.
    pub fn restore(&self, changes: &[Change]) -> Result<(), HostError> {
        for change in changes {
            if self.read(&change.key)?.as_deref() == Some(&change.set) {
                self.write(&change.key, &change.before)?;
            }
        }
        Ok(())
    }

    /// The changes that no longer hold, with the present value.
    ///
    /// # Errors
    ///
    /// A setting cannot be read.
    pub fn overridden(&self, changes: &[Change]) -> Result<Vec<(Change, String)>, HostError> {
        let mut overridden = Vec::new();
        for change in changes {
            let present = self.read(&change.key)?.unwrap_or_else(|| "gone".to_owned());
            if present != change.set {
                overridden.push((change.clone(), present));
            }
        }
        Ok(overridden)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The present value; `None` where there is no such setting.
    fn read(&self, key: &str) -> Result<Option<String>, HostError> {
        match fs::read_to_string(self.path(key)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("read", &self.path(key))(error)),
        }
    }

    fn number(&self, key: &str) -> Result<u32, HostError> {
        let path = self.path(key);
        let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
        text.trim().parse().map_err(|error| invalid(&path, error))
    }

    fn write(&self, key: &str, value: &str) -> Result<(), HostError> {
        let path = self.path(key);
        fs::write(&path, value).map_err(file_error("write", &path))
    }
}

fn invalid(path: &Path, error: std::num::ParseIntError) -> HostError {
    file_error("understand", path)(io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const KEYS: [&str; 3] = ["arp_ignore", "arp_announce", "rp_filter"];

    /// A tree with `values` of [`KEYS`] for all interfaces, and for eth0.
    fn tree(values: [(u32, u32); 3]) -> (TempDir, Settings) {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { root: directory.path().to_owned() };
        for scope in ["all", "eth0"] {
            fs::create_dir_all(settings.path(&format!("ipv4/conf/{scope}"))).unwrap();
        }
        for (key, (all, eth0)) in KEYS.into_iter().zip(values) {
            settings.write(&format!("ipv4/conf/all/{key}"), &format!("{all}\n")).unwrap();
            settings.write(&format!("ipv4/conf/eth0/{key}"), &format!("{eth0}\n")).unwrap();
        }
        (directory, settings)
    }

    fn keys(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.strip_prefix("ipv4/conf/").unwrap()).collect()
    }

    #[test]
    fn plain_host_needs_silent_arp() {
        let (_directory, settings) = tree([(0, 0), (0, 0), (0, 0)]);
        let changes = settings.needed("eth0").unwrap();
        let expected = ["all/arp_ignore", "all/arp_announce", "eth0/arp_ignore", "eth0/arp_announce"];
        assert_eq!(keys(&changes), expected);
    }

    #[test]
    fn values_that_are_high_enough_stay() {
        let (_directory, settings) = tree([(1, 2), (2, 2), (0, 2)]);
        assert_eq!(settings.needed("eth0").unwrap(), []);
    }

    #[test]
    fn only_strict_reverse_path_filter_is_loosened() {
        // (all, eth0, whether eth0 has to change)
        for (all, eth0, change) in [(0, 0, false), (1, 0, true), (0, 1, true), (1, 2, false), (2, 1, false)] {
            let (_directory, settings) = tree([(1, 1), (2, 2), (all, eth0)]);
            let changes = settings.needed("eth0").unwrap();
            assert_eq!(keys(&changes) == ["eth0/rp_filter"], change, "all {all}, eth0 {eth0}");
        }
    }

    #[test]
    fn restore_gives_everything_back_but_what_somebody_else_changed() {
        let (_directory, settings) = tree([(0, 0), (1, 0), (1, 1)]);
        let changes = settings.needed("eth0").unwrap();
        settings.apply(&changes).unwrap();
        settings.write("ipv4/conf/all/arp_ignore", "8").unwrap();
        settings.restore(&changes).unwrap();
        let value = |key: &str| settings.number(&format!("ipv4/conf/{key}")).unwrap();
        assert_eq!(value("all/arp_ignore"), 8);
        assert_eq!(
            (value("all/arp_announce"), value("eth0/arp_announce"), value("eth0/rp_filter")),
            (1, 0, 1)
        );
    }

    #[test]
    fn interface_that_is_gone_has_nothing_to_restore() {
        let (directory, settings) = tree([(0, 0), (0, 0), (0, 0)]);
        let changes = settings.needed("eth0").unwrap();
        settings.apply(&changes).unwrap();
        fs::remove_dir_all(directory.path().join("ipv4/conf/eth0")).unwrap();
        settings.restore(&changes).unwrap();
        assert_eq!(settings.number("ipv4/conf/all/arp_ignore").unwrap(), 0);
    }
}
