//! The places on this host that the sandbox shares with a real daemon, and the right to use them.

use std::{fs, os::unix::net::UnixStream, path::Path};

use anyhow::{Context as _, Result, bail};
use lb_tests::{bpf::Pins, netns};

/// Where the daemon pins.
pub(crate) const PIN_PATH: &str = "/sys/fs/bpf/sluice";
/// Where the daemon listens.
pub(crate) const SOCKET: &str = "/run/sluice/sluice.sock";
/// Where the daemon keeps what it was told by commands: beside its socket.
const STATE: &str = "/run/sluice/sluice.json";
/// Holds the process id of the sandbox that has them.
const OWNER: &str = "/run/sluice/sandbox.pid";

/// The right to use them. Dropping it removes what is left there.
pub(crate) struct Claim {
    _pins: Pins,
}

impl Claim {
    /// Takes the right, from nobody or from a sandbox that was killed.
    pub(crate) fn take() -> Result<Self> {
        let owner = fs::read_to_string(OWNER).ok();
        match owner.as_deref().map(str::trim) {
            Some(pid) if Path::new("/proc").join(pid).exists() => {
                bail!("another sandbox runs as process {pid}; end it first (`kill {pid}`)")
            }
            Some(_) => remove_leftovers()?,
            None => check_free()?,
        }
        fs::create_dir_all("/run/sluice").context("cannot create /run/sluice")?;
        fs::write(OWNER, std::process::id().to_string()).with_context(|| format!("cannot write {OWNER}"))?;
        Ok(Self { _pins: Pins::at(Path::new(PIN_PATH))? })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        remove_files();
        let _ = fs::remove_file(OWNER);
        // Stays where somebody else keeps something in it.
        let _ = fs::remove_dir("/run/sluice");
    }
}

/// Removes what a killed sandbox left. Its daemon goes first, with its namespace.
fn remove_leftovers() -> Result<()> {
    println!("==> removing what a sandbox left that was killed");
    netns::remove_stale();
    drop(Pins::at(Path::new(PIN_PATH))?);
    remove_files();
    Ok(())
}

/// Removes what a daemon leaves beside its pins.
fn remove_files() {
    let _ = fs::remove_file(SOCKET);
    let _ = fs::remove_file(STATE);
}

fn check_free() -> Result<()> {
    if UnixStream::connect(SOCKET).is_ok() {
        bail!("a sluice is running on this host (it answers at {SOCKET}); stop it first");
    }
    if Path::new(PIN_PATH).exists() {
        bail!(
            "{PIN_PATH} exists: a sluice on this host was stopped, and its data plane forwards on; \
             take it down with `sluice detach`"
        );
    }
    Ok(())
}
