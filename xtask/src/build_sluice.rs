//! Builds of the daemon, with the XDP programs inside: the release build, which `run` shows and the suites test, and
//! another one to upgrade to.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    setup::{self, Needs},
    workspace::{OF_SUITES, Workspace},
};

/// Builds the binary, from whatever state the machine is in, and says where it lies. What is missing of `needs` is
/// installed.
pub(crate) fn build(workspace: &Workspace, needs: Needs) -> Result<PathBuf> {
    let toolchain = setup::ensure(workspace, needs)?;
    build_ebpf::build(workspace, &toolchain)?;
    let mut cargo = workspace.cargo("build");
    command::run(cargo.args(["--release", "--package", "lb-userspace", "--bin", "sluice"]))
        .context("cannot compile `sluice`")?;
    Ok(workspace.target.join("release/sluice"))
}

/// Builds it without optimisation, and says where it lies: the same program by other instructions, which is as good a
/// stranger to a running daemon as another version, and cheap where the suites are built as well: it is made of the same
/// builds of its dependencies, since it is asked for together with one of them. The XDP programs have to be there.
pub(crate) fn build_other(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build");
    command::run(cargo.args(OF_SUITES).args([
        "--test",
        "churn",
        "--package",
        "lb-userspace",
        "--bin",
        "sluice",
    ]))
    .context("cannot compile the other build of `sluice`")?;
    Ok(workspace.target.join("debug/sluice"))
}
