//! The configuration file, replaced as a whole.
//!
//! What it is to hold is on the disk before anything follows it, so that a full disk or a missing permission is found
//! out while there is nothing to take back. The one before stays beside it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

/// A text that is to take the place of a file. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub(super) struct Draft {
    file: PathBuf,
    draft: PathBuf,
}

impl Draft {
    /// Writes `text` beside the file at `path`, with its owner and mode. Where that is a symbolic link, what it leads to is
    /// meant, and the link stays.
    pub(super) fn write(path: &Path, text: &str) -> io::Result<Self> {
        let file = fs::canonicalize(path)?;
        let draft = Self { draft: beside(&file, ".draft"), file };
        draft.fill(text)?;
        Ok(draft)
    }

    fn fill(&self, text: &str) -> io::Result<()> {
        let known = fs::metadata(&self.file)?;
        remove(&self.draft)?;
        // For nobody else until it has the owner and mode of the one before: it may hold a seed.
        let mut draft = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.draft)?;
        let own = draft.metadata()?;
        if (own.uid(), own.gid()) != (known.uid(), known.gid()) {
            chown(&self.draft, Some(known.uid()), Some(known.gid()))?;
        }
        draft.set_permissions(fs::Permissions::from_mode(known.mode() & 0o7777))?;
        draft.write_all(text.as_bytes())?;
        draft.sync_all()
    }

    /// Puts it in the place of the file, and gives where the one before lies now.
    pub(super) fn commit(self) -> io::Result<PathBuf> {
        let before = beside(&self.file, ".previous");
        remove(&before)?;
        fs::hard_link(&self.file, &before)?;
        fs::rename(&self.draft, &self.file)?;
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        File::open(directory)?.sync_all()?;
        Ok(before)
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more once it has taken its place.
        let _ = fs::remove_file(&self.draft);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn file_is_replaced_with_its_mode_and_the_one_before_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sluice.toml");
        fs::write(&path, "first").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        for (text, former) in [("second", "first"), ("third", "second")] {
            let before = Draft::write(&path, text).unwrap().commit().unwrap();
            assert_eq!(
                (fs::read_to_string(&path).unwrap(), fs::read_to_string(before).unwrap()),
                (text.into(), former.into())
            );
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        }
        assert_eq!(names(directory.path()), ["sluice.toml", "sluice.toml.previous"]);
    }

    #[test]
    fn draft_that_is_not_wanted_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sluice.toml");
        fs::write(&path, "first").unwrap();
        drop(Draft::write(&path, "second").unwrap());
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), names(directory.path())),
            ("first".into(), vec!["sluice.toml".to_owned()])
        );
    }

    #[test]
    fn link_stays_and_what_it_leads_to_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real.toml"), directory.path().join("sluice.toml"));
        fs::write(&path, "first").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Draft::write(&link, "second").unwrap().commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    }
}
