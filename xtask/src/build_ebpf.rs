//! Compiles the XDP programs: `lb-ebpf`, by the compiler that `setup` found, to one object with BTF, and to others with
//! what measures and what attacks them.
//!
//! The target is tier 3, so `core` is compiled from source. That is an unstable option of cargo, which a stable
//! compiler accepts with `RUSTC_BOOTSTRAP`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, setup::Toolchain, workspace::Workspace};

const TARGET: &str = "bpfel-unknown-none";

/// The linker makes BTF, which types the maps for `bpftool` and the kernel, out of the debug information. Instruction
/// set v3 (Linux 5.1) has 32-bit arithmetic and jumps. Packet headers are not aligned, and without the feature (LLVM
/// 22) each of their fields would be read byte by byte; the linker generates the code, so it alone is told.
const RUSTFLAGS: &str = "-C debuginfo=2 -C target-cpu=v3 -C link-arg=--btf \
                         -C link-arg=--cpu-features=+allows-misaligned-mem-access";

/// What `cargo xtask` or a person's settings for user space would make the other compiler do.
const FOREIGN_VARIABLES: [&str; 11] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One whose programs tell the daemon of every verdict, beside the others, as `target/bpf/sluice-debug.o`
    #[arg(long)]
    pub(crate) debug_log: bool,
}

/// Builds the objects, and says where the one with the programs lies; the others are [`Workspace::bench_object`], which
/// measures them, and [`Workspace::flood_object`].
pub(crate) fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    // Its own directory: two compilers in one would invalidate each other's work.
    let target = workspace.target.join("ebpf");
    command::run(cargo_build(workspace, toolchain).arg("--target-dir").arg(&target))
        .context("cannot compile the XDP programs")?;
    let built = target.join(TARGET).join("release");
    fs::create_dir_all(workspace.target.join("bpf")).context("cannot create the objects' directory")?;
    copy_if_changed(&built.join("sluice"), &workspace.object())?;
    copy_if_changed(&built.join("sluice-bench"), &workspace.bench_object())?;
    copy_if_changed(&built.join("sluice-flood"), &workspace.flood_object())?;
    Ok(workspace.object())
}

/// Builds the object whose programs tell of every verdict, and says where it lies.
pub(crate) fn build_for_debugging(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let target = workspace.target.join("ebpf-debug");
    let mut cargo = cargo_build(workspace, toolchain);
    cargo.args(["--bin", "sluice", "--features", "debug-log", "--target-dir"]).arg(&target);
    command::run(&mut cargo).context("cannot compile the XDP programs for debugging")?;
    fs::create_dir_all(workspace.target.join("bpf")).context("cannot create the objects' directory")?;
    copy_if_changed(&target.join(TARGET).join("release/sluice"), &workspace.debug_object())?;
    Ok(workspace.debug_object())
}

/// The copy's time stamp changes only with its content, so that what embeds it is not built again for nothing.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

fn cargo_build(workspace: &Workspace, toolchain: &Toolchain) -> Command {
    let mut cargo = Command::new(&toolchain.compiler.cargo);
    for variable in FOREIGN_VARIABLES {
        cargo.env_remove(variable);
    }
    cargo
        .current_dir(workspace.root.join("lb-ebpf"))
        .env("RUSTC", &toolchain.compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .args(["build", "--release", "-Z", "build-std=core", "--target", TARGET])
        .args(workspace.locked.then_some("--locked"));
    cargo
}
