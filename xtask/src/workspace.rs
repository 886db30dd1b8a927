//! Where things lie, and the `cargo` that runs in the workspace.
//!
//! The target directory is cargo's to say: `CARGO_TARGET_DIR` or a configuration file can move it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// Names the compiled programs for whoever embeds or loads them. Unset means `target/bpf/sluice.o`.
pub(crate) const BPF_OBJECT: &str = "SLUICE_BPF_OBJECT";

/// The packages that suites are in, as cargo is told them.
pub(crate) const OF_SUITES: [&str; 4] = ["--package", "lb-tests", "--package", "lb-fuzz"];

/// The checkout that this binary was compiled from.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Fail where a lock file is out of date, rather than update it: a build that is judged uses what is committed.
    pub(crate) locked: bool,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies outside a workspace")?;
        let mut metadata = Command::new(cargo_program());
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root);
        let metadata: serde_json::Value = serde_json::from_str(&command::output(&mut metadata)?)
            .context("cannot read what `cargo metadata` prints")?;
        let target =
            metadata["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
        Ok(Self { root: root.to_owned(), target: target.into(), locked: in_ci() })
    }

    /// The compiled XDP programs.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf/sluice.o")
    }

    /// The same programs, which tell the daemon of every verdict.
    pub(crate) fn debug_object(&self) -> PathBuf {
        self.target.join("bpf/sluice-debug.o")
    }

    /// The compiled programs that measure them.
    pub(crate) fn bench_object(&self) -> PathBuf {
        self.target.join("bpf/bench.o")
    }

    /// The compiled program that makes a flood of SYNs.
    pub(crate) fn flood_object(&self) -> PathBuf {
        self.target.join("bpf/flood.o")
    }

    /// Where tools of this workspace's own are installed.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// `cargo SUBCOMMAND` for user space, with the compiler that this binary was started by.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(cargo_program());
        cargo.current_dir(&self.root).arg(subcommand).args(self.locked.then_some("--locked"));
        // Left unset where the default is right: cargo builds anew whatever depends on a variable that changed, and
        // a plain `cargo build` does not set it.
        if self.target != self.root.join("target") {
            cargo.env(BPF_OBJECT, self.object());
        }
        cargo
    }
}

/// Whether this runs where nobody watches: `CI` is set, and not to a word for no.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn cargo_program() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
