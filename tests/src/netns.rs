//! Network namespaces with a name, removed when their guard drops.
//!
//! A namespace belongs to a thread, not to a process: closures run on a thread of their own that has entered it, and
//! children inherit it from such a thread, so no code runs between fork and exec. `ip netns exec` is not used, since it
//! hides `/sys/fs/bpf` behind a fresh `/sys`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{bpf, process::output, temporary};

/// Where iproute2 keeps named namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace. Dropping it kills what still runs in it and removes it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: File,
}

impl Netns {
    /// Creates a namespace named `sluice-<pid>-<n>-<role>`, with loopback up and IPv6 addresses usable at once.
    ///
    /// # Errors
    ///
    /// Not root, or iproute2 is missing.
    pub fn new(role: &str) -> Result<Self> {
        static STALE: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        STALE.call_once(remove_stale);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-{}-{number}-{role}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))
            .context("cannot create a network namespace; this needs root and iproute2")?;
        let path = path_of(&name);
        let handle = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let netns = Self { name, handle };
        netns.initialise()?;
        Ok(netns)
    }

    /// Turns duplicate address detection off, whose second of tentative addresses would only delay tests, and reverse
    /// path filtering, which a new namespace inherits from the host.
    fn initialise(&self) -> Result<()> {
        for scope in ["all", "default"] {
            self.set_sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
            self.set_sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
            self.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        self.ip("link set lo up")
    }

    /// Its name, for `ip -n` and `nsenter --net=/run/netns/…`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// Runs `task` on a thread inside the namespace, and waits for it. A panic of `task` goes on in the caller.
    ///
    /// # Errors
    ///
    /// The kernel does not let the thread in.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> io::Result<T> {
        let enter = || -> io::Result<T> {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(task())
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Starts a thread inside the namespace that may outlive this call. What it opens belongs to the namespace.
    ///
    /// # Errors
    ///
    /// The kernel starts no thread. Whether it lets the thread in is told by the thread's own result.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &str,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let handle = self.handle.try_clone()?;
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(task())
        })
    }

    /// Starts `command` inside the namespace.
    ///
    /// # Errors
    ///
    /// The command cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let started = self.run(|| command.spawn()).and_then(|child| child);
        started.with_context(|| format!("cannot start {command:?} in {}", self.name))
    }

    /// Runs `command` inside the namespace to its end, and gives its standard output.
    ///
    /// # Errors
    ///
    /// The command cannot be started, or ends with a failure; the error holds what it printed.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        self.run(|| output(command))?.with_context(|| format!("in {}", self.name))
    }

    /// Runs `ip` with `arguments`, separated by spaces, inside the namespace.
    ///
    /// # Errors
    ///
    /// `ip` fails.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        self.output(Command::new("ip").args(arguments.split(' '))).map(drop)
    }

    /// Writes `/proc/sys/net/KEY` of the namespace.
    ///
    /// # Errors
    ///
    /// There is no such setting, or it does not take `value`.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.run(|| fs::write(&path, value))?.with_context(|| format!("cannot set {key} in {}", self.name))
    }

    /// Reads `/proc/sys/net/KEY` of the namespace.
    ///
    /// # Errors
    ///
    /// There is no such setting.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        let path = Path::new("/proc/sys/net").join(key);
        let value = self.run(|| fs::read_to_string(&path))?;
        Ok(value.with_context(|| format!("cannot read {key} in {}", self.name))?.trim().to_owned())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Kills what runs in a namespace and removes its name. A failure leaves it to the next run's [`remove_stale`].
fn remove(name: &str) {
    let pids = output(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = output(Command::new("ip").args(["netns", "del", name]));
}

/// Removes the namespaces, with what runs in them, the BPF pins and the temporary files of runs that were killed before they could do so
/// themselves. [`Netns::new`] does it once.
pub fn remove_stale() {
    for name in entries(Path::new(DIRECTORY)).iter().filter(|name| is_stale(name)) {
        remove(name);
    }
    bpf::remove_stale_pins();
    temporary::remove_stale();
}

/// The names in a directory; none where it cannot be read.
pub(crate) fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Whether `name` is `sluice-<pid>-<n>-<role>` with the pid of a process that is no more.
pub(crate) fn is_stale(name: &str) -> bool {
    let mut parts = name.splitn(4, '-');
    let ours = parts.next() == Some("sluice");
    let pid = parts.next().and_then(|pid| pid.parse::<u32>().ok());
    let number = parts.next().and_then(|number| number.parse::<u32>().ok());
    let (true, Some(pid), Some(_), Some(_)) = (ours, pid, number, parts.next()) else {
        return false;
    };
    !Path::new("/proc").join(OsStr::new(&pid.to_string())).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_dead_runs_are_stale() {
        let alive = std::process::id();
        assert!(!is_stale(&format!("sluice-{alive}-0-client")));
        // Above the largest pid that Linux gives (PID_MAX_LIMIT, 2^22).
        assert!(is_stale("sluice-4194305-0-client"));
        for other in
            ["sluice", "sluice-4194305", "sluice-4194305-client", "blue-4194305-0-x", "sluice-x-0-client"]
        {
            assert!(!is_stale(other), "{other}");
        }
    }
}
