//! Temporary files and directories, named like everything else here, so that those of killed runs can be told.

use std::{env, fs, io};

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::netns::{entries, is_stale};

/// Makes a directory that is removed with its guard.
///
/// # Errors
///
/// The directory for temporary files cannot be written to.
pub fn directory(role: &str) -> io::Result<TempDir> {
    Builder::new().prefix(&prefix(role)).tempdir()
}

/// Makes a file that is removed with its guard.
///
/// # Errors
///
/// The directory for temporary files cannot be written to.
pub fn file(role: &str) -> io::Result<NamedTempFile> {
    Builder::new().prefix(&prefix(role)).tempfile()
}

/// The guard's own random letters tell apart what one process makes.
fn prefix(role: &str) -> String {
    format!("sluice-{}-0-{role}-", std::process::id())
}

/// Removes what killed runs left.
pub(crate) fn remove_stale() {
    let parent = env::temp_dir();
    for name in entries(&parent).iter().filter(|name| is_stale(name)) {
        let path = parent.join(name);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}
