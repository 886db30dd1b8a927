//! Ctrl-C and SIGTERM, turned into a flag so that drop guards run.
//!
//! Without [`watch`] the signals keep their default effect: a test binary dies at once, and the next run cleans up.

use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::bail;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Makes SIGINT and SIGTERM set the flag instead of ending the process.
///
/// # Errors
///
/// The kernel refuses to install a handler.
pub fn watch() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&REQUESTED))?;
    }
    Ok(())
}

/// Whether the process was asked to end.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Fails where the process was asked to end, so that `?` unwinds through the guards.
///
/// # Errors
///
/// The process was asked to end.
pub fn check() -> anyhow::Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}
