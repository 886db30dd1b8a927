//! Takes the steps of the plan, and says for each what it is for and how long it took.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    command,
    setup::{
        facts::Apt,
        packages::{PACKAGES, Package},
        plan::{Install, Llvm},
    },
    workspace::Workspace,
};

const LINKER_VERSION: &str = "0.13.0";

/// What changes what a program is built to or by, and is meant for this workspace alone.
const WORKSPACE_VARIABLES: [&str; 4] =
    ["CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "LD_LIBRARY_PATH", "RUSTFLAGS"];

/// Installs, and remembers that the package lists are fresh.
pub(super) struct Installer<'a> {
    workspace: &'a Workspace,
    lists_are_fresh: bool,
}

impl<'a> Installer<'a> {
    pub(super) fn new(workspace: &'a Workspace) -> Self {
        Self { workspace, lists_are_fresh: false }
    }

    pub(super) fn install(&mut self, install: &Install) -> Result<()> {
        println!("installing {}", described(install));
        let start = Instant::now();
        let mut command = command_for(install, &self.workspace.tools());
        if matches!(install, Install::Packages { .. }) {
            self.refresh_lists()?;
            // Many lines for each package; what goes wrong is on the other stream.
            command.stdout(Stdio::null());
        }
        command::run(&mut command).with_context(|| format!("cannot install {}", described(install)))?;
        disable_services(install)?;
        println!("installed in {:.1} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    fn refresh_lists(&mut self) -> Result<()> {
        if !self.lists_are_fresh {
            command::run(Command::new("apt-get").args(["update", "--quiet=2"]))?;
            self.lists_are_fresh = true;
        }
        Ok(())
    }
}

/// Keeps the services of new packages from starting at the next boot.
fn disable_services(install: &Install) -> Result<()> {
    let Install::Packages { names, .. } = install else {
        return Ok(());
    };
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    let is_new = |package: &&Package| names.iter().any(|name| name == package.name);
    for service in PACKAGES.iter().filter(is_new).filter_map(|package| package.service) {
        command::run(Command::new("systemctl").args(["disable", "--quiet", service]))?;
    }
    Ok(())
}

/// Names what a person has to do in the place of this process, command by command.
pub(super) fn remedy(installs: &[Install], tried: &[Install], apt: Apt, tools: &Path) -> String {
    let mut text = "not everything that is needed is there; run by hand, then try again:".to_owned();
    for install in installs {
        let outcome = if tried.contains(install) { " (tried, see above)" } else { "" };
        let _ = write!(text, "\n\n  # {}{outcome}\n  {}", described(install), by_hand(install, apt, tools));
    }
    text
}

fn by_hand(install: &Install, apt: Apt, tools: &Path) -> String {
    let command = command::shown(&command_for(install, tools));
    match (install, apt) {
        (Install::Packages { .. }, Apt::Usable) => format!("apt-get update && {command}"),
        (Install::Packages { .. }, Apt::NeedsRoot) => format!("sudo apt-get update && sudo {command}"),
        (Install::Packages { names, .. }, Apt::Absent) => {
            format!("# with this system's package manager, what Debian calls: {}", names.join(" "))
        }
        (Install::LibrarySource(_) | Install::Linker(_), _) => command,
    }
}

fn described(install: &Install) -> String {
    match install {
        Install::Packages { names, reason } => format!("{}: {reason}", names.join(", ")),
        Install::LibrarySource(toolchain) => {
            format!("rust-src for {toolchain}: the library source, of which `core` is built")
        }
        Install::Linker(llvm) => {
            format!(
                "bpf-linker {LINKER_VERSION} with LLVM {}: the linker of XDP programs, some minutes of compiling",
                llvm.major
            )
        }
    }
}

fn command_for(install: &Install, tools: &Path) -> Command {
    match install {
        Install::Packages { names, .. } => apt_install(names),
        Install::LibrarySource(toolchain) => component_add(toolchain),
        Install::Linker(llvm) => cargo_install(llvm, tools),
    }
}

fn apt_install(names: &[String]) -> Command {
    let mut apt = Command::new("env");
    // Offline, systemd starts no service that a package brings.
    apt.args([
        "SYSTEMD_OFFLINE=1",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "--yes",
        "--quiet=2",
        "--no-install-recommends",
    ]);
    apt.args(names);
    apt
}

fn component_add(toolchain: &str) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src", "--toolchain", toolchain]);
    rustup
}

fn cargo_install(llvm: &Llvm, tools: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    for variable in WORKSPACE_VARIABLES {
        cargo.env_remove(variable);
    }
    cargo
        .env("LLVM_PREFIX", &llvm.prefix)
        // `--force`, since one that is registered there but does not run would count as installed.
        .args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--force",
            "--no-default-features",
        ])
        .args(["--features", &format!("llvm-{}", llvm.major), "--root"])
        .arg(tools);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Install {
        Install::Packages { names: vec!["ethtool".to_owned(), "curl".to_owned()], reason: "programs" }
    }

    fn remedy_for(install: Install, apt: Apt) -> String {
        remedy(&[install], &[], apt, Path::new("/target/tools"))
    }

    #[test]
    fn a_user_is_told_to_use_sudo() {
        let text = remedy_for(packages(), Apt::NeedsRoot);
        assert!(text.contains("sudo apt-get update && sudo env SYSTEMD_OFFLINE=1"), "{text}");
    }

    #[test]
    fn a_host_without_apt_gets_the_names() {
        let text = remedy_for(packages(), Apt::Absent);
        assert!(text.contains("what Debian calls: ethtool curl"), "{text}");
    }

    #[test]
    fn the_linker_is_built_with_the_llvm_of_the_compiler() {
        let install = Install::Linker(Llvm { major: 22, prefix: "/usr/lib/llvm-22".into() });
        let text = remedy_for(install, Apt::Usable);
        assert!(text.contains("LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker"), "{text}");
        assert!(text.contains("--features llvm-22 --root /target/tools"), "{text}");
    }

    #[test]
    fn what_was_tried_is_said() {
        let text = remedy(&[packages()], &[packages()], Apt::Usable, Path::new("/target/tools"));
        assert!(text.contains("(tried, see above)"), "{text}");
    }
}
