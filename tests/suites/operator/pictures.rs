//! Pictures of screens for the documents, taken where `SLUICE_PICTURES` names a directory for them.

use std::{env, fs, path::PathBuf, thread, time::Duration};

/// Where they are wanted, if they are.
pub(crate) fn wanted() -> Option<PathBuf> {
    let directory = PathBuf::from(env::var_os("SLUICE_PICTURES")?);
    fs::create_dir_all(&directory).unwrap();
    Some(directory.canonicalize().unwrap())
}

/// Until there is a past to be drawn.
pub(crate) fn pause() {
    thread::sleep(Duration::from_mins(1));
}
