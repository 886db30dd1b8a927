//! Tests that cannot run here: said aloud and written down, never silent.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write as _},
};

/// Names the file that collects reasons, one line each. Where it is unset, a skip is only printed.
pub const SKIPS_FILE: &str = "SLUICE_SKIPS";

/// Says that the calling test is skipped, and why. The caller returns after it.
///
/// # Panics
///
/// The file that [`SKIPS_FILE`] names cannot be written: a skip that nobody counts would pass for a success.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("unnamed test").to_owned();
    println!("SKIP {test}: {reason}");
    if let Err(error) = record(&test, reason) {
        panic!("cannot record the skip of {test}: {error}");
    }
}

fn record(test: &str, reason: &str) -> io::Result<()> {
    let Some(path) = env::var_os(SKIPS_FILE) else {
        return Ok(());
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{test}: {reason}")
}
