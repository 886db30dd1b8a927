//! Finds or installs what the build and the tests need, on any Linux host.
//!
//! Nothing is remembered: each call looks at the machine (`facts`), decides on the one next step (`plan`), takes it
//! (`install`) and looks again, so a half-finished or undone installation is repaired by calling it once more.

mod facts;
mod install;
mod packages;
mod plan;

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, bail};

pub(crate) use crate::setup::facts::is_root;

use crate::{
    setup::{
        install::Installer,
        plan::{Install, Next},
    },
    workspace::Workspace,
};

/// How much of a machine a subcommand needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The eBPF compiler and its linker.
    Toolchain,
    /// Those, and the programs that the sandbox and the suites call.
    Everything,
}

/// What compiles the XDP programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    /// `bpf-linker`, of the same LLVM as the compiler.
    pub(crate) linker: PathBuf,
}

/// A compiler on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    origin: Origin,
    /// As in `1.95.0`.
    release: String,
    /// The major version of its LLVM, which writes the bitcode that the linker has to read.
    llvm: u32,
    /// Whether the library source, of which `core` is built, lies where cargo looks for it.
    has_source: bool,
}

/// Who installed a compiler, so who can add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// rustup, as the toolchain of this name.
    Rustup(String),
    /// The distribution.
    System,
}

/// `cargo xtask setup`: installs everything and says what is where.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let start = Instant::now();
    let toolchain = ensure(workspace, Needs::Everything)?;
    let compiler = &toolchain.compiler;
    println!(
        "eBPF compiler  {} ({}, LLVM {}, with library source)",
        compiler.rustc.display(),
        compiler.release,
        compiler.llvm
    );
    println!("eBPF linker    {} (LLVM {})", toolchain.linker.display(), compiler.llvm);
    for package in packages::PACKAGES {
        let path = facts::find_program(package.program).unwrap_or_default();
        println!("{:<14} {}: {}", package.program, path.display(), package.reason);
    }
    println!("everything is there ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Gives the toolchain, after installing what is missing. Silent where nothing is.
///
/// # Errors
///
/// Something is missing and this process may not or cannot install it; the error holds the commands that do.
pub(crate) fn ensure(workspace: &Workspace, needs: Needs) -> Result<Toolchain> {
    let mut installer = Installer::new(workspace);
    let mut tried: Vec<Install> = Vec::new();
    loop {
        let facts = facts::discover(workspace, needs, &tried);
        match plan::next(&facts) {
            Next::Ready(toolchain) => return Ok(toolchain),
            Next::Stuck(installs) => {
                bail!("{}", install::remedy(&installs, &facts.tried, facts.apt, &workspace.tools()))
            }
            Next::Install(install) => {
                if let Err(error) = installer.install(&install) {
                    eprintln!("{error:#}");
                }
                tried.push(install);
            }
        }
    }
}
