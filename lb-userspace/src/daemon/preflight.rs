//! What a host has to have before anything is touched.

use anyhow::{Result, bail};
use rustix::{
    system::uname,
    thread::{CapabilitySet, capabilities},
};

/// The oldest kernel that has all that the programs and the daemon use: BPF links for XDP (5.9), mmapable arrays
/// (5.5), bounded loops (5.3), BTF-typed maps; 5.15 is the oldest long-term release with all of them.
const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// Checks capabilities and kernel.
///
/// # Errors
///
/// What is missing, and the remedy.
pub(super) fn check() -> Result<()> {
    check_capabilities()?;
    check_kernel(&uname().release().to_string_lossy())
}

fn check_capabilities() -> Result<()> {
    let missing = missing(capabilities(None)?.effective).join(", ");
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing {missing}: run sluice as root, or give the binary what it needs with \
         `setcap cap_net_admin,cap_bpf,cap_perfmon+ep $(command -v sluice)`"
    )
}

/// What is needed and not held. `CAP_SYS_ADMIN` stands for the two that were split off from it (capabilities(7)).
pub(crate) fn missing(held: CapabilitySet) -> Vec<&'static str> {
    let or_admin = CapabilitySet::SYS_ADMIN;
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::BPF | or_admin, "CAP_BPF"),
        (CapabilitySet::PERFMON | or_admin, "CAP_PERFMON"),
    ];
    needed.into_iter().filter(|(any, _)| !held.intersects(*any)).map(|(_, name)| name).collect()
}

/// Whether a kernel of this release lacks something.
pub(crate) fn is_old_kernel(release: &str) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST_KERNEL
}

fn check_kernel(release: &str) -> Result<()> {
    if is_old_kernel(release) {
        let (major, minor) = OLDEST_KERNEL;
        bail!(
            "this kernel is Linux {release}, and Sluice needs {major}.{minor} or later; boot a newer kernel"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_what_was_split_off_from_it() {
        use CapabilitySet as Cap;
        assert_eq!(missing(Cap::empty()), ["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(Cap::SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert!(missing(Cap::SYS_ADMIN | Cap::NET_ADMIN).is_empty());
        assert!(missing(Cap::NET_ADMIN | Cap::BPF | Cap::PERFMON).is_empty());
    }

    #[test]
    fn kernel_is_judged_by_its_first_two_numbers() {
        for (release, enough) in [
            ("6.18.44-fc-v595", true),
            ("5.15.0-91-generic", true),
            ("5.14.21", false),
            ("5.4.0", false),
            ("4.19.0", false),
            ("10.0", true),
        ] {
            assert_eq!(check_kernel(release).is_ok(), enough, "{release}");
        }
    }
}
