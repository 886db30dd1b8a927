//! The BPF side of the harness: the object with the programs, the BPF file system, and the pins of a test.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::{EbpfLoader, programs::Xdp};
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
};

use crate::{
    netns::{Netns, entries, is_stale},
    process::output,
};

/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// The compiled programs: `SLUICE_BPF_OBJECT`, or where `cargo xtask build-ebpf` puts them.
///
/// # Errors
///
/// They have not been built.
pub fn object() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/sluice.o");
    let path = env::var_os("SLUICE_BPF_OBJECT").map_or(built, PathBuf::from);
    if !path.exists() {
        bail!("{} does not exist; run `cargo xtask build-ebpf` first", path.display());
    }
    Ok(path)
}

/// Mounts the BPF file system where it is not; it stays mounted.
///
/// # Errors
///
/// Not root, or the kernel has no BPF file system.
pub fn ensure_bpffs() -> Result<()> {
    if statfs(BPFFS)?.f_type == BPFFS_MAGIC {
        return Ok(());
    }
    let result =
        mount("bpf", BPFFS, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None);
    result.with_context(|| format!("cannot mount the BPF file system on {BPFFS}"))
}

/// The program that passes everything, loaded. Attached, it outlives this guard.
#[derive(Debug)]
pub struct PassProgram(Pins);

/// It, and it for a device whose frames may consist of several pieces.
const PASS: &str = "sluice_pass";
const PASS_FRAMES: &str = "sluice_pass_frames";

impl PassProgram {
    /// Loads it from `object`, without the others, of which the verifier takes long for some.
    ///
    /// # Errors
    ///
    /// The object has no such programs, or the kernel refuses them.
    pub fn load(object: &Path) -> Result<Self> {
        let pins = Pins::unique("pass")?;
        fs::create_dir(pins.path())?;
        let mut ebpf = EbpfLoader::new().load_file(object)?;
        for name in [PASS, PASS_FRAMES] {
            let program = ebpf.program_mut(name).with_context(|| format!("the object has no `{name}`"))?;
            let program: &mut Xdp = program.try_into()?;
            program.load()?;
            program.pin(pins.path().join(name))?;
        }
        Ok(Self(pins))
    }

    /// Pins it to another path too.
    ///
    /// # Errors
    ///
    /// The path is taken.
    pub fn pin(&self, path: &Path) -> Result<()> {
        let mut bpftool = Command::new("bpftool");
        output(bpftool.args(["prog", "pin", "pinned"]).arg(self.0.path().join(PASS)).arg(path)).map(drop)
    }

    /// Attaches it to a veth device: what XDP transmits into its peer arrives only then.
    ///
    /// # Errors
    ///
    /// There is no such device, or it has a program.
    pub fn attach(&self, netns: &Netns, device: &str) -> Result<()> {
        // Beyond what a page holds, a device takes only programs that know frames of several pieces.
        let program = if mtu(netns, device)? > 3000 { PASS_FRAMES } else { PASS };
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["net", "attach", "xdpdrv", "pinned"]).arg(self.0.path().join(program));
        netns.output(bpftool.args(["dev", device])).map(drop)
    }
}

fn mtu(netns: &Netns, device: &str) -> Result<u32> {
    let link = netns.output(Command::new("ip").args(["-o", "link", "show", "dev", device]))?;
    let mut words = link.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().and_then(|mtu| mtu.parse().ok()).with_context(|| format!("{device} has no MTU: {link}"))
}

/// A directory for pins, removed with everything in it when the guard drops.
#[derive(Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// Picks a path that no other test has. The directory itself is made by whoever pins something.
    ///
    /// # Errors
    ///
    /// The BPF file system is missing.
    pub fn unique(role: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(&Path::new(BPFFS).join(format!("sluice-{}-{number}-{role}", std::process::id())))
    }

    /// Guards `path`.
    ///
    /// # Errors
    ///
    /// The BPF file system is missing.
    pub fn at(path: &Path) -> Result<Self> {
        ensure_bpffs()?;
        Ok(Self(path.to_owned()))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Removes the pins of runs that were killed.
pub(crate) fn remove_stale_pins() {
    for name in entries(Path::new(BPFFS)).iter().filter(|name| is_stale(name)) {
        let _ = fs::remove_dir_all(Path::new(BPFFS).join(name));
    }
}
