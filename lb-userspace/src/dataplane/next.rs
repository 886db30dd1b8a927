//! The XDP program that gets what passes (`balancer.next_program`), and the map of one entry that the balancing program
//! jumps to it by.
//!
//! The kernel empties such a map as soon as nobody in user space holds it, so it is pinned before the program that jumps
//! by it is attached, and stays until another one is attached everywhere. Each load of the object has a map of its own,
//! since all programs that use one must be alike (`bpf_prog_map_compatible` in kernel/bpf/core.c).

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, ProgramArray},
    programs::{ProgramError, Xdp},
};
use aya_obj::programs::xdp::XdpAttachType;

use super::{
    DataPlaneError,
    pins::{PinError, names_below, unpin},
};

/// Name of the map in the object.
const MAP: &str = "next_program";

/// Prefix of the names of its pins; the kernel's number of the map follows.
pub(super) const PIN: &str = "next-";

/// `BPF_PROG_TYPE_XDP` (linux/bpf.h).
const XDP: &str = "6";

/// Why no packet can go on to the program that the configuration names.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// It is not there.
    #[error(
        "balancer.next_program: cannot open {}; pin an XDP program there (`bpftool prog pin`), or take the key out",
        path.display()
    )]
    Open {
        /// Where it should be pinned.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// Something else is pinned there.
    #[error("balancer.next_program: {} is {found}; pin an XDP program there", path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The kernel takes no jumps to it.
    #[error(
        "balancer.next_program: the kernel refuses to jump to {}: it has to be JIT-compiled, and loaded with \
         `xdp.frags` where Sluice's own program is, and only there",
        path.display()
    )]
    Refused {
        /// Where it is pinned.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: MapError,
    },
    /// The map is not as expected.
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
    /// A pin could not be made.
    #[error("cannot pin the map that holds balancer.next_program")]
    Pin(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The program that gets what passes.
#[derive(Debug)]
pub struct NextProgram {
    path: PathBuf,
    program: Xdp,
}

impl NextProgram {
    /// Opens the program that is pinned at `path` now.
    ///
    /// # Errors
    ///
    /// [`NextError::Open`] and [`NextError::Other`].
    pub fn open(path: &Path) -> Result<Self, NextError> {
        let cannot_open = |source| NextError::Open { path: path.to_owned(), source: Box::new(source) };
        let program = Xdp::from_pin(path, XdpAttachType::Interface).map_err(cannot_open)?;
        let fd = program.fd().map_err(cannot_open)?.as_fd().as_raw_fd();
        // Only this tells programs, maps and links apart, and types of programs.
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
            .map_err(|error| cannot_open(ProgramError::IOError(error)))?;
        match kind(&about) {
            None => Ok(Self { path: path.to_owned(), program }),
            Some(found) => Err(NextError::Other { path: path.to_owned(), found }),
        }
    }

    /// Its name, as far as the kernel keeps it, and its number.
    #[must_use]
    pub fn name_and_id(&self) -> (String, u32) {
        let info = self.program.info().ok();
        let name = info.as_ref().and_then(|info| info.name_as_str()).unwrap_or("unknown");
        (name.to_owned(), info.as_ref().map_or(0, aya::programs::ProgramInfo::id))
    }

    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a descriptor is, by its `fdinfo`; none where it is an XDP program.
fn kind(fdinfo: &str) -> Option<String> {
    let value = |key| fdinfo.lines().find_map(|line| Some(line.strip_prefix(key)?.trim()));
    match value("prog_type:") {
        Some(XDP) => None,
        Some(other) => Some(format!("a BPF program of type {other}, not an XDP one")),
        None if value("map_type:").is_some() => Some("a BPF map".to_owned()),
        None if value("link_type:").is_some() => Some("a BPF link, not its program".to_owned()),
        None => Some("no BPF program".to_owned()),
    }
}

/// Makes `next` the program that what passes goes on to, in one step; without one it goes to the stack.
///
/// # Errors
///
/// [`NextError::Refused`], and then all is as it was.
pub(super) fn set(ebpf: &mut Ebpf, next: Option<&NextProgram>) -> Result<(), NextError> {
    let map = ebpf.map_mut(MAP).ok_or(DataPlaneError::NoMap(MAP))?;
    let mut map = ProgramArray::try_from(map).map_err(super::refused(MAP))?;
    let Some(NextProgram { path, program }) = next else {
        return match map.clear_index(&0) {
            Err(error) if !is_empty(&error) => Err(super::refused(MAP)(error).into()),
            _ => Ok(()),
        };
    };
    let cannot_open = |source| NextError::Open { path: path.clone(), source: Box::new(source) };
    let fd = program.fd().map_err(cannot_open)?;
    map.set(0, fd, 0).map_err(|source| NextError::Refused { path: path.clone(), source })
}

/// Whether there was nothing to be taken out.
fn is_empty(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Pins the map of a loaded object, for a program that is about to be attached.
///
/// # Errors
///
/// [`NextError::Pin`].
pub(super) fn hold(ebpf: &Ebpf, pin_path: &Path) -> Result<(), NextError> {
    let (data, name) = map_and_pin(ebpf)?;
    let pin = pin_path.join(name);
    if pin.exists() {
        return Ok(());
    }
    data.pin(&pin).map_err(|error| NextError::Pin(error.into()))
}

/// Removes the pins of the maps of programs that are attached no more.
///
/// # Errors
///
/// [`NextError::Pin`].
pub(super) fn release_others(ebpf: &Ebpf, pin_path: &Path) -> Result<(), NextError> {
    let (_, own) = map_and_pin(ebpf)?;
    let pins = names_below(pin_path).map_err(pin_error)?;
    let mut others = pins.iter().filter(|name| name.starts_with(PIN) && **name != own);
    others.try_for_each(|name| unpin(&pin_path.join(name))).map_err(pin_error)
}

fn pin_error(error: PinError) -> NextError {
    NextError::Pin(error.into())
}

fn map_and_pin(ebpf: &Ebpf) -> Result<(&MapData, String), NextError> {
    let Some(Map::ProgramArray(data)) = ebpf.map(MAP) else { return Err(DataPlaneError::NoMap(MAP).into()) };
    let id = data.info().map_err(super::refused(MAP))?.id();
    Ok((data, format!("{PIN}{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_told_apart() {
        let told = |text: &str| kind(&format!("pos:\t0\nflags:\t02000002\n{text}\n"));
        assert_eq!(told("prog_type:\t6"), None);
        assert_eq!(told("prog_type:\t3").as_deref(), Some("a BPF program of type 3, not an XDP one"));
        // A map's type may have the number of XDP's programs.
        assert_eq!(told("map_type:\t6").as_deref(), Some("a BPF map"));
        assert_eq!(told("link_type:\txdp\nprog_tag:\t0").as_deref(), Some("a BPF link, not its program"));
        assert_eq!(told("inotify wd:1").as_deref(), Some("no BPF program"));
    }
}
