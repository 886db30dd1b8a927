//! The release build of the daemon, with the XDP programs inside: what `run` shows and the suites test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf, command,
    setup::{self, Needs},
    workspace::Workspace,
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
