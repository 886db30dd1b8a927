//! The directory in the BPF file system where maps, programs and links are pinned, and who owns it.
//!
//! ```text
//! /sys/fs/bpf/sluice/services, service_index, backends, …   maps
//! /sys/fs/bpf/sluice/program                                the balancing program
//! /sys/fs/bpf/sluice/next-17                                the map by which it jumps to another program
//! /sys/fs/bpf/sluice/link-eth0                              one link per interface
//! /sys/fs/bpf/sluice/road-5a500000                          the road of probes, while a daemon has one
//! ```
//!
//! A pinned link keeps its program attached, whatever becomes of the daemon.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::next;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open, statfs},
    mount::{MountFlags, mount},
};

/// The maps that are pinned, by name.
pub const MAPS: [&str; 27] = [
    "control",
    "services",
    "policies",
    "service_index",
    "backends",
    "arena",
    "connections",
    "openings",
    "server_ids",
    "nat_openings",
    "nat_sessions",
    "nat_pools",
    "budgets",
    "rules",
    "sources",
    "service_rates",
    "backend_limits",
    "backend_loads",
    "refusals",
    "service_counters",
    "backend_counters",
    "service_opened",
    "backend_opened",
    "reasons",
    "cookie_rates",
    "cookie_states",
    "nat_splices",
];

/// Those that pins of the same layout may lack: a sluice before this one knew nothing of them.
pub const ADDED: [&str; 5] =
    ["cookie_rates", "cookie_states", "nat_splices", "service_opened", "backend_opened"];

/// Name of the pinned program.
pub const PROGRAM: &str = "program";

/// Directory of pins that are not yet in their place.
const STAGED: &str = "next";

/// Prefix of the names of pinned links; the interface's name follows.
const LINK: &str = "link-";

/// Prefix of the name of the pin that stands for a road of probes; its mark follows.
const ROAD: &str = "road-";

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Where BPF file systems are mounted by convention.
const BPF_FS: &str = "/sys/fs/bpf";

/// Why the directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No BPF file system, and it could not be mounted.
    #[error("cannot mount a BPF file system at {BPF_FS}: {0}; try `mount -t bpf bpf {BPF_FS}` as root")]
    Mount(io::Error),
    /// The directory is elsewhere.
    #[error("{} is not in a BPF file system; set balancer.pin_path to a directory below {BPF_FS}", .0.display())]
    NotBpfFs(PathBuf),
    /// A daemon is running on the same directory.
    #[error("another sluice is running with {}; stop it, or set another balancer.pin_path", .0.display())]
    InUse(PathBuf),
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// The directory, locked for this process.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    /// Holds the lock.
    _directory: rustix::fd::OwnedFd,
}

impl Pins {
    /// Makes the directory, mounting the BPF file system where it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// [`PinError`] says what is in the way.
    pub fn open(path: &Path) -> Result<Self, PinError> {
        if path.starts_with(BPF_FS) && !is_bpf_fs(Path::new(BPF_FS)) {
            mount("bpf", BPF_FS, "bpf", MountFlags::empty(), None).map_err(|e| PinError::Mount(e.into()))?;
        }
        // Asked before it is made, so that a directory elsewhere is not left behind.
        if !path.ancestors().find(|existing| existing.exists()).is_some_and(is_bpf_fs) {
            return Err(PinError::NotBpfFs(path.to_owned()));
        }
        fs::create_dir_all(path).map_err(file_error("create", path))?;
        let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| file_error("open", path)(e.into()))?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| PinError::InUse(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), _directory: directory })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the link of `interface` is pinned.
    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        Self::link_in(&self.path, interface)
    }

    /// The same below a directory that somebody else may have locked.
    #[must_use]
    pub fn link_in(path: &Path, interface: &str) -> PathBuf {
        path.join(format!("{LINK}{interface}"))
    }

    /// Interfaces with a pinned link.
    ///
    /// # Errors
    ///
    /// [`PinError::File`] where the directory cannot be read.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, PinError> {
        self.names_after(LINK)
    }

    /// Where the road of a mark is pinned.
    #[must_use]
    pub fn road(&self, mark: u32) -> PathBuf {
        self.path.join(format!("{ROAD}{mark:08x}"))
    }

    /// Marks of the roads of probes that are there, or were left behind.
    ///
    /// # Errors
    ///
    /// [`PinError::File`] where the directory cannot be read.
    pub fn roads(&self) -> Result<Vec<u32>, PinError> {
        let marks = self.names_after(ROAD)?;
        Ok(marks.iter().filter_map(|mark| u32::from_str_radix(mark, 16).ok()).collect())
    }

    /// What follows `prefix` in the names of pins.
    fn names_after(&self, prefix: &str) -> Result<Vec<String>, PinError> {
        let names = names_below(&self.path)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(prefix).map(str::to_owned)).collect())
    }

    /// Whether any map is pinned.
    #[must_use]
    pub fn has_maps(&self) -> bool {
        MAPS.iter().any(|map| self.path.join(map).exists())
    }

    /// Makes an empty directory for the pins of maps that are to take the place of the pinned ones.
    ///
    /// # Errors
    ///
    /// [`PinError::File`].
    pub fn stage(&self) -> Result<PathBuf, PinError> {
        let staged = self.path.join(STAGED);
        self.unstage()?;
        fs::create_dir(&staged).map_err(file_error("create", &staged))?;
        Ok(staged)
    }

    /// Puts the staged pins in the place of the others.
    ///
    /// # Errors
    ///
    /// [`PinError::File`].
    pub fn commit(&self) -> Result<(), PinError> {
        let staged = self.path.join(STAGED);
        for map in MAPS {
            fs::rename(staged.join(map), self.path.join(map))
                .map_err(file_error("move", &staged.join(map)))?;
        }
        self.unstage()
    }

    fn unstage(&self) -> Result<(), PinError> {
        let staged = self.path.join(STAGED);
        MAPS.iter().try_for_each(|map| unpin(&staged.join(map)))?;
        match fs::remove_dir(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file_error("remove", &staged)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the pins of maps and program. What is attached keeps using them.
    ///
    /// # Errors
    ///
    /// [`PinError::File`] names the pin that stayed.
    pub fn remove_maps(&self) -> Result<(), PinError> {
        let names = names_below(&self.path)?;
        let next = names.iter().map(String::as_str).filter(|name| name.starts_with(next::PIN));
        MAPS.into_iter().chain([PROGRAM]).chain(next).try_for_each(|name| unpin(&self.path.join(name)))
    }

    /// Removes all pins, links included, which detaches the programs; then the directory.
    ///
    /// # Errors
    ///
    /// [`PinError::File`] names the pin that stayed.
    pub fn remove(self) -> Result<(), PinError> {
        for interface in self.linked_interfaces()? {
            unpin(&self.link(&interface))?;
        }
        self.unstage()?;
        self.remove_maps()?;
        fs::remove_dir(&self.path).map_err(file_error("remove", &self.path))
    }
}

/// The names of what is pinned in a directory.
pub(super) fn names_below(path: &Path) -> Result<Vec<String>, PinError> {
    let entries = fs::read_dir(path).map_err(file_error("read", path))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Removes a pin; one that is not there is no error.
///
/// # Errors
///
/// [`PinError::File`] where it stays.
pub fn unpin(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        _ => Ok(()),
    }
}

fn is_bpf_fs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.f_type.cast_unsigned() & 0xffff_ffff == BPF_FS_MAGIC)
}

pub(super) fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinError {
    let path = path.to_owned();
    move |source| PinError::File { action, path, source }
}
