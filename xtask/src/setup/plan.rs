//! Decides what to install next, from facts alone.
//!
//! The compiler that needs the fewest installations wins, not the newest: a nightly would do as well, but its LLVM is
//! often ahead of what the distribution and bpf-linker offer.

use std::{ops::RangeInclusive, path::PathBuf};

use crate::setup::{
    Compiler, Origin, Toolchain,
    facts::{Apt, Facts},
};

/// The LLVM versions that the pinned bpf-linker can be built with, and that know how to read packets' unaligned fields.
pub(super) const LLVM_MAJORS: RangeInclusive<u32> = 22..=23;

/// Debian's compiler that follows upstream, in stable releases too, since browsers are built with it.
const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// More than any compiler that is there can lack: another one is the last resort.
const ANOTHER_COMPILER_COST: usize = 4;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: all is there.
    Ready(Toolchain),
    /// This, then look again.
    Install(Install),
    /// A person has to do these.
    Stuck(Vec<Install>),
}

/// One installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Install {
    /// Distribution packages, by Debian's names.
    Packages { names: Vec<String>, reason: &'static str },
    /// The library source, as a component of the rustup toolchain of this name.
    LibrarySource(String),
    /// bpf-linker, into the workspace's own directory.
    Linker(Llvm),
}

/// LLVM's development files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Llvm {
    pub(super) major: u32,
    pub(super) prefix: PathBuf,
}

/// What is left to do until a compiler can be used.
struct Way {
    installs: Vec<Install>,
    cost: usize,
    /// Where nothing is left to do.
    ready: Option<Toolchain>,
}

pub(super) fn next(facts: &Facts) -> Next {
    if !facts.missing.is_empty() {
        return next_programs(facts);
    }
    let mut ways = facts.compilers.iter().filter_map(|compiler| way(facts, compiler)).collect::<Vec<_>>();
    ways.push(another_compiler());
    ways.sort_by_key(|way| way.cost);
    let Some(way) = ways.iter().find(|way| way.installs.iter().all(|install| possible(facts, install)))
    else {
        return Next::Stuck(ways.swap_remove(0).installs);
    };
    match &way.ready {
        Some(toolchain) => Next::Ready(toolchain.clone()),
        None => Next::Install(way.installs[0].clone()),
    }
}

/// The programs come first: they are quick to install, and the likeliest to need a person.
fn next_programs(facts: &Facts) -> Next {
    let names = facts.missing.iter().map(|package| package.name).collect::<Vec<_>>();
    let install = packages(&names, "programs that the sandbox and the tests call");
    if possible(facts, &install) { Next::Install(install) } else { Next::Stuck(vec![install]) }
}

/// `None` where no linker can read what the compiler writes.
fn way(facts: &Facts, compiler: &Compiler) -> Option<Way> {
    if !LLVM_MAJORS.contains(&compiler.llvm) {
        return None;
    }
    let mut installs = Vec::new();
    if !compiler.has_source {
        installs.push(library_source(&compiler.origin));
    }
    let linker = facts.linkers.iter().find(|linker| linker.llvm == compiler.llvm);
    if linker.is_none() {
        installs.extend(linker_installs(facts, compiler.llvm));
    }
    let ready = linker
        .filter(|_| installs.is_empty())
        .map(|linker| Toolchain { compiler: compiler.clone(), linker: linker.path.clone() });
    Some(Way { cost: installs.len(), installs, ready })
}

fn another_compiler() -> Way {
    let install = packages(&DEBIAN_COMPILER, "a compiler that comes with its library source");
    Way { installs: vec![install], cost: ANOTHER_COMPILER_COST, ready: None }
}

fn library_source(origin: &Origin) -> Install {
    match origin {
        Origin::Rustup(toolchain) => Install::LibrarySource(toolchain.clone()),
        Origin::System => packages(&["rust-web-src"], "the library source, of which `core` is built"),
    }
}

fn linker_installs(facts: &Facts, major: u32) -> Vec<Install> {
    if let Some(llvm) = facts.llvms.iter().find(|llvm| llvm.major == major) {
        return vec![Install::Linker(llvm.clone())];
    }
    let development = packages(&[&format!("llvm-{major}-dev")], "the LLVM that bpf-linker is built with");
    // Where Debian's packages put it, and LLVM's own for Debian and Ubuntu.
    let prefix = format!("/usr/lib/llvm-{major}").into();
    vec![development, Install::Linker(Llvm { major, prefix })]
}

fn packages(names: &[&str], reason: &'static str) -> Install {
    Install::Packages { names: names.iter().map(ToString::to_string).collect(), reason }
}

/// Whether this process may do it, and has not tried: what did not help once will not help again.
fn possible(facts: &Facts, install: &Install) -> bool {
    let failed = facts.tried.contains(install);
    match install {
        Install::Packages { .. } => !failed && facts.apt == Apt::Usable,
        // One failure speaks for all toolchains: rustup cannot download here.
        Install::LibrarySource(_) => {
            !facts.tried.iter().any(|tried| matches!(tried, Install::LibrarySource(_)))
        }
        Install::Linker(_) => !failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{facts::Linker, packages::PACKAGES};

    fn rustup(name: &str, llvm: u32) -> Compiler {
        Compiler {
            cargo: format!("/{name}/bin/cargo").into(),
            rustc: format!("/{name}/bin/rustc").into(),
            origin: Origin::Rustup(name.to_owned()),
            release: "1.95.0".to_owned(),
            llvm,
            has_source: false,
        }
    }

    fn debian() -> Compiler {
        Compiler { origin: Origin::System, has_source: true, ..rustup("usr", 22) }
    }

    fn linker(llvm: u32) -> Linker {
        Linker { path: "/tools/bin/bpf-linker".into(), llvm }
    }

    fn llvm(major: u32) -> Llvm {
        Llvm { major, prefix: format!("/usr/lib/llvm-{major}").into() }
    }

    /// A Debian host as root, with rustup's stable and nothing else.
    fn bare() -> Facts {
        Facts {
            compilers: vec![rustup("stable", 22)],
            llvms: vec![],
            linkers: vec![],
            missing: vec![],
            apt: Apt::Usable,
            tried: vec![],
        }
    }

    fn names(next: &Next) -> Vec<&str> {
        match next {
            Next::Install(Install::Packages { names, .. }) => names.iter().map(String::as_str).collect(),
            other => panic!("{other:?} installs no packages"),
        }
    }

    /// Takes every step, each with the outcome that `world` gives it, and tells the steps.
    fn steps(mut facts: Facts, mut world: impl FnMut(&mut Facts, &Install)) -> (Vec<Install>, Next) {
        let mut steps = Vec::new();
        loop {
            match next(&facts) {
                Next::Install(install) => {
                    world(&mut facts, &install);
                    facts.tried.push(install.clone());
                    steps.push(install);
                    assert!(steps.len() < 20, "no end: {steps:?}");
                }
                end => return (steps, end),
            }
        }
    }

    /// A host where every installation works, and rustup's only if it is told so.
    fn debian_world(rustup_downloads: bool) -> impl FnMut(&mut Facts, &Install) {
        move |facts, install| match install {
            Install::LibrarySource(name) if rustup_downloads => {
                let named = |compiler: &&mut Compiler| compiler.origin == Origin::Rustup(name.clone());
                facts.compilers.iter_mut().find(named).expect("the plan names what is there").has_source =
                    true;
            }
            Install::LibrarySource(_) => {}
            Install::Packages { names, .. } if names[0] == "rustc-web" => facts.compilers.push(debian()),
            Install::Packages { names, .. } if names[0] == "llvm-22-dev" => facts.llvms.push(llvm(22)),
            Install::Packages { .. } => facts.missing.clear(),
            Install::Linker(llvm) => facts.linkers.push(linker(llvm.major)),
        }
    }

    #[test]
    fn what_is_there_is_used() {
        let facts =
            Facts { compilers: vec![rustup("stable", 22), debian()], linkers: vec![linker(22)], ..bare() };
        let toolchain = Toolchain { compiler: debian(), linker: "/tools/bin/bpf-linker".into() };
        assert_eq!(next(&facts), Next::Ready(toolchain));
    }

    #[test]
    fn a_bare_host_with_downloads_adds_to_its_own_compiler() {
        let (steps, end) = steps(bare(), debian_world(true));
        assert_eq!(steps.len(), 3, "{steps:?}");
        assert_eq!(steps[0], Install::LibrarySource("stable".to_owned()));
        assert_eq!(steps[2], Install::Linker(llvm(22)));
        let Next::Ready(toolchain) = end else { panic!("{end:?}") };
        assert_eq!(toolchain.compiler.origin, Origin::Rustup("stable".to_owned()));
    }

    #[test]
    fn a_bare_host_without_downloads_gets_debians_compiler() {
        let facts = Facts { compilers: vec![rustup("stable", 22), rustup("nightly", 22)], ..bare() };
        let (steps, end) = steps(facts, debian_world(false));
        let sources = steps.iter().filter(|step| matches!(step, Install::LibrarySource(_))).count();
        assert_eq!(sources, 1, "{steps:?}");
        let Next::Ready(toolchain) = end else { panic!("{end:?}") };
        assert_eq!(toolchain.compiler, debian());
    }

    #[test]
    fn programs_come_first_and_all_at_once() {
        let facts = Facts { missing: vec![&PACKAGES[0], &PACKAGES[1]], ..bare() };
        assert_eq!(names(&next(&facts)), [PACKAGES[0].name, PACKAGES[1].name]);
    }

    #[test]
    fn a_compiler_whose_llvm_the_linker_cannot_have_is_passed_over() {
        let unfit = Compiler { has_source: true, ..rustup("nightly", 24) };
        let facts = Facts { compilers: vec![unfit, debian()], linkers: vec![linker(22)], ..bare() };
        assert!(matches!(next(&facts), Next::Ready(toolchain) if toolchain.compiler == debian()));
    }

    #[test]
    fn a_linker_of_another_llvm_does_not_do() {
        let facts =
            Facts { compilers: vec![debian()], linkers: vec![linker(21)], llvms: vec![llvm(22)], ..bare() };
        assert_eq!(next(&facts), Next::Install(Install::Linker(llvm(22))));
    }

    #[test]
    fn whoever_may_not_install_packages_is_told_which() {
        for apt in [Apt::NeedsRoot, Apt::Absent] {
            let facts = Facts { compilers: vec![debian()], apt, ..bare() };
            let Next::Stuck(installs) = next(&facts) else { panic!("{:?}", next(&facts)) };
            assert_eq!(installs.len(), 2, "{installs:?}");
            assert_eq!(installs[1], Install::Linker(llvm(22)));
        }
    }

    #[test]
    fn what_did_not_help_is_not_tried_again() {
        let (steps, end) = steps(bare(), |_, _| ());
        let again = |step: &Install| steps.iter().filter(|other| *other == step).count() > 1;
        assert!(!steps.iter().any(again), "{steps:?}");
        assert!(matches!(end, Next::Stuck(_)), "{end:?}");
    }
}
