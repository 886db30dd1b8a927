//! Looks at the machine: compilers, LLVM, linkers, programs, and who may install more.
//!
//! What does not answer is taken as absent, so a broken installation is replaced and not reported.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    setup::{
        Compiler, Needs, Origin,
        packages::{PACKAGES, Package},
        plan::{Install, LLVM_MAJORS, Llvm},
    },
    workspace::Workspace,
};

/// Where `cargo` and `rustc` of a distribution lie. The path is no guide: rustup's proxies come first on it.
const SYSTEM_BINARIES: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// Looked at besides the path, which lacks them for everybody but root on Debian.
const ADMINISTRATION_BINARIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// All that the plan depends on.
#[derive(Debug)]
pub(super) struct Facts {
    /// The one in use first.
    pub(super) compilers: Vec<Compiler>,
    pub(super) llvms: Vec<Llvm>,
    /// The workspace's own first.
    pub(super) linkers: Vec<Linker>,
    pub(super) missing: Vec<&'static Package>,
    pub(super) apt: Apt,
    /// What this process has done already, with or without success.
    pub(super) tried: Vec<Install>,
}

/// A bpf-linker that runs.
#[derive(Debug)]
pub(super) struct Linker {
    pub(super) path: PathBuf,
    /// The major version of the LLVM in it.
    pub(super) llvm: u32,
}

/// Whether this process can install distribution packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apt {
    Usable,
    NeedsRoot,
    Absent,
}

pub(super) fn discover(workspace: &Workspace, needs: Needs, tried: &[Install]) -> Facts {
    Facts {
        compilers: compilers(),
        llvms: LLVM_MAJORS.filter_map(llvm).collect(),
        linkers: linkers(&workspace.tools()),
        missing: if needs == Needs::Everything { missing_packages() } else { Vec::new() },
        apt: apt(),
        tried: tried.to_vec(),
    }
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn apt() -> Apt {
    match find_program("apt-get") {
        None => Apt::Absent,
        Some(_) if is_root() => Apt::Usable,
        Some(_) => Apt::NeedsRoot,
    }
}

fn missing_packages() -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| find_program(package.program).is_none()).collect()
}

/// The first on the path.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    programs(name).next()
}

/// Every program of this name, in the order of the path.
fn programs(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).collect::<Vec<_>>();
    let more = ADMINISTRATION_BINARIES.map(PathBuf::from);
    directories
        .into_iter()
        .chain(more)
        .map(move |directory| directory.join(name))
        .filter(|file| file.is_file())
}

fn compilers() -> Vec<Compiler> {
    let listed = command::output(Command::new("rustup").args(["toolchain", "list", "--verbose"]));
    let rustup = toolchains(&listed.unwrap_or_default());
    let rustup =
        rustup.into_iter().filter_map(|(name, path)| compiler(&path.join("bin"), Origin::Rustup(name)));
    let not_a_proxy = |directory: &&str| !Path::new(directory).join("rustup").exists();
    let system = SYSTEM_BINARIES.iter().copied().filter(not_a_proxy);
    rustup.chain(system.filter_map(|directory| compiler(Path::new(directory), Origin::System))).collect()
}

/// Names and directories in the output of `rustup toolchain list --verbose`, the active one first.
fn toolchains(listed: &str) -> Vec<(String, PathBuf)> {
    let mut lines = listed.lines().collect::<Vec<_>>();
    lines.sort_by_key(|line| !line.contains("(active"));
    lines.into_iter().filter_map(toolchain).collect()
}

/// `NAME [(active, default)] /DIRECTORY`
fn toolchain(line: &str) -> Option<(String, PathBuf)> {
    let name = line.split_whitespace().next()?;
    let directory = line.find(" /").map(|space| &line[space + 1..])?;
    Some((name.to_owned(), directory.into()))
}

fn compiler(directory: &Path, origin: Origin) -> Option<Compiler> {
    let (cargo, rustc) = (directory.join("cargo"), directory.join("rustc"));
    if !cargo.is_file() {
        return None;
    }
    let (release, llvm) = version(&ask(&rustc, &["--version", "--verbose"])?)?;
    let sysroot = ask(&rustc, &["--print", "sysroot"])?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    Some(Compiler { cargo, rustc, origin, release, llvm, has_source: source.is_file() })
}

/// Release and LLVM major in the output of `rustc -vV`.
fn version(verbose: &str) -> Option<(String, u32)> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((field("release: ")?.to_owned(), llvm))
}

/// The development files of an LLVM, by its own `llvm-config`.
fn llvm(major: u32) -> Option<Llvm> {
    let names = [format!("llvm-config-{major}"), "llvm-config".to_owned()];
    let answers = names.iter().filter_map(|name| find_program(name));
    answers
        .filter_map(|program| llvm_of(&ask(&program, &["--version", "--prefix", "--libdir"])?))
        .find(|llvm| llvm.major == major)
}

/// From the version, the prefix and the library directory, a line each.
fn llvm_of(answer: &str) -> Option<Llvm> {
    let mut lines = answer.lines();
    let major = lines.next()?.split('.').next()?.parse().ok()?;
    let prefix = lines.next()?.into();
    // The name without a version is what programs are linked by, so only the development files have it.
    let library = Path::new(lines.next()?).join("libLLVM.so");
    library.exists().then_some(Llvm { major, prefix })
}

fn linkers(tools: &Path) -> Vec<Linker> {
    let own = tools.join("bin/bpf-linker");
    let candidates = std::iter::once(own).chain(programs("bpf-linker"));
    candidates.filter_map(linker).collect()
}

fn linker(path: PathBuf) -> Option<Linker> {
    // It starts only where the LLVM that it is linked to is still there.
    ask(&path, &["--version"])?;
    let llvm = linked_llvm(&fs::read(&path).ok()?)?;
    Some(Linker { path, llvm })
}

/// The major version in the name of the LLVM library that a program is linked to. bpf-linker does not tell; one that
/// holds LLVM inside is not recognised, and so not used.
fn linked_llvm(program: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"libLLVM.so.";
    let start = program.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let digits = program[start..].iter().take_while(|byte| byte.is_ascii_digit());
    str::from_utf8(&digits.copied().collect::<Vec<_>>()).ok()?.parse().ok()
}

/// What a program says about itself; `None` where it does not run.
fn ask(program: &Path, arguments: &[&str]) -> Option<String> {
    // `cargo run` points this at the libraries of the compiler in use, which are not those of another.
    command::output(Command::new(program).args(arguments).env_remove("LD_LIBRARY_PATH")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_and_llvm_are_read_from_the_compilers_version() {
        let verbose = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                       host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(version(verbose), Some(("1.96.0".to_owned(), 22)));
    }

    #[test]
    fn a_compiler_without_llvm_is_none() {
        assert_eq!(version("rustc 1.96.0\nrelease: 1.96.0\n"), None);
    }

    #[test]
    fn the_active_toolchain_comes_first() {
        let listed = "nightly-x86_64-unknown-linux-gnu /rustup/nightly\n\
                      stable-x86_64-unknown-linux-gnu (active, default) /rustup/my toolchains/stable\n";
        let stable =
            ("stable-x86_64-unknown-linux-gnu".to_owned(), PathBuf::from("/rustup/my toolchains/stable"));
        let nightly = ("nightly-x86_64-unknown-linux-gnu".to_owned(), PathBuf::from("/rustup/nightly"));
        assert_eq!(toolchains(listed), [stable, nightly]);
    }

    #[test]
    fn no_toolchains_are_none() {
        assert_eq!(toolchains("no installed toolchains\n"), []);
    }

    #[test]
    fn the_linked_llvm_is_read_from_the_programs_dependencies() {
        assert_eq!(linked_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(linked_llvm(b"\0libc.so.6\0"), None);
        assert_eq!(linked_llvm(b"\0libLLVM.so.\0"), None);
    }

    #[test]
    fn llvm_without_development_files_is_none() {
        assert_eq!(llvm_of("22.1.8\n/nowhere\n/nowhere/lib\n"), None);
    }
}
