//! Files and directories that the daemon has to write.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key of the configuration that names it.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What there is of it: itself, or the nearest directory above it.
    pub there: PathBuf,
    /// The user that has what is there.
    pub owner: u32,
    /// Whether this process may write what is there.
    pub writable: bool,
}

impl Place {
    /// Looks at what is there of `path`.
    pub(super) fn look(key: &'static str, path: &Path) -> Self {
        let there = path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
        Self {
            key,
            path: path.to_owned(),
            there: there.to_owned(),
            owner: fs::metadata(there).map_or(0, |found| found.uid()),
            writable: access(there, Access::WRITE_OK).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_judged_by_what_it_would_lie_in() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::look("balancer.state_path", &directory.path().join("a/b.json"));
        assert_eq!((place.there.as_path(), place.writable), (directory.path(), true));
        assert_eq!(place.owner, rustix::process::geteuid().as_raw());
        let nowhere = Place::look("balancer.state_path", Path::new("/proc/sluice/state.json"));
        assert_eq!(nowhere.there, Path::new("/proc"));
    }
}
