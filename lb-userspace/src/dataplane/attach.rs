//! Attaching an XDP program to an interface by a pinned link.
//!
//! A link that is pinned already is kept, and the program swapped in through it: every packet meets the earlier
//! program or the later one. Somebody else's program is never replaced.

use std::path::Path;

use aya::programs::{
    ProgramError, Xdp, XdpMode as AyaMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};

use tracing::info;

use super::pins::{PinError, unpin};
use crate::{
    causes::with_causes,
    config::XdpMode,
    interface::{Interface, Mode},
};

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another XDP program has the interface.
    #[error(
        "{interface} has an XDP program of somebody else: {program:?} (id {id}); take it off \
             (`ip link set dev {interface} xdp off`, or stop what attached it), or let it go on behind Sluice: \
             `bpftool prog pin id {id} /sys/fs/bpf/{program}`, take it off, and set balancer.next_program to that path"
    )]
    ForeignProgram {
        /// The interface.
        interface: String,
        /// The program's name.
        program: String,
        /// The program's id.
        id: u32,
    },
    /// The driver has no native XDP, and nothing else was wanted.
    #[error(
        "cannot attach to {interface} in native mode; set balancer.mode to \"auto\" or \"generic\" if its driver \
             has no XDP, or see `ethtool -i {interface}`"
    )]
    Native {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A bond takes no native program: its way of bonding has no XDP (Linux has it for `active-backup`, `balance-rr`,
    /// `balance-xor` and `802.3ad`), or a member's driver has none.
    #[error(
        "cannot attach to the bond {interface} in native mode; name its members in balancer.interfaces instead, {}, or \
             set balancer.mode to \"auto\" or \"generic\"",
        list(members)
    )]
    NativeBond {
        /// The interface.
        interface: String,
        /// Names of its members.
        members: Vec<String>,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// Not even generic mode worked.
    #[error("cannot attach to {interface}")]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The kernel gave no link that can be pinned.
    #[error("the kernel has no BPF links for XDP; Sluice needs Linux 5.15 or later")]
    NoLink,
    /// The link could not be pinned.
    #[error("cannot pin the link of {interface}")]
    Pin {
        /// The interface.
        interface: String,
        /// What was said.
        #[source]
        source: aya::pin::PinError,
    },
    /// A stale pin could not be removed.
    #[error(transparent)]
    Stale(#[from] PinError),
}

impl AttachError {
    fn native(interface: &Interface, source: ProgramError) -> Self {
        let (name, source) = (interface.name.clone(), Box::new(source));
        if interface.members.is_empty() {
            return Self::Native { interface: name, source };
        }
        Self::NativeBond { interface: name, members: interface.members.clone(), source }
    }
}

/// Names as the configuration has them.
#[must_use]
pub fn list(names: &[String]) -> String {
    format!("{names:?}")
}

/// What an interface offers to a program.
#[derive(Debug)]
pub enum Place {
    /// No program.
    Free,
    /// Our own link, with its mode.
    Ours(PinnedLink, Mode),
}

/// Looks for a place on `interface`, whose link is or will be pinned at `pin`.
///
/// # Errors
///
/// [`AttachError::ForeignProgram`].
pub fn place(interface: &Interface, pin: &Path) -> Result<Place, AttachError> {
    let Some(attached) = interface.program else { return Ok(Place::Free) };
    match pinned_link(pin) {
        Some((link, id)) if id == attached.id => Ok(Place::Ours(link, attached.mode)),
        _ => Err(AttachError::ForeignProgram {
            interface: interface.name.clone(),
            program: program_name(attached.id),
            id: attached.id,
        }),
    }
}

/// Attaches a loaded program to `interface` and pins the link at `pin`. In [`XdpMode::Auto`], the stack's generic mode
/// is what remains where the driver refuses.
///
/// # Errors
///
/// [`AttachError`].
pub fn attach(
    program: &mut Xdp,
    interface: &Interface,
    place: Place,
    wanted: XdpMode,
    pin: &Path,
) -> Result<Mode, AttachError> {
    let refused =
        |source| AttachError::Attach { interface: interface.name.clone(), source: Box::new(source) };
    if let Place::Ours(link, mode) = place {
        swap(program, link).map_err(refused)?;
        return Ok(mode);
    }
    let (id, mode) = match wanted {
        XdpMode::Generic => {
            (program.attach_to_if_index(interface.index, AyaMode::Skb).map_err(refused)?, Mode::Generic)
        }
        XdpMode::Auto | XdpMode::Native => match program.attach_to_if_index(interface.index, AyaMode::Driver)
        {
            Ok(id) => (id, Mode::Native),
            Err(source) if wanted == XdpMode::Native => return Err(AttachError::native(interface, source)),
            Err(source) => {
                info!(interface = interface.name, "native mode was refused: {}", with_causes(&source));
                (program.attach_to_if_index(interface.index, AyaMode::Skb).map_err(refused)?, Mode::Generic)
            }
        },
    };
    pin_link(program.take_link(id).map_err(refused)?, interface, pin)?;
    Ok(mode)
}

/// Whether the link pinned at `pin` is what `interface` runs.
#[must_use]
pub fn is_attached(interface: &Interface, pin: &Path) -> bool {
    matches!(place(interface, pin), Ok(Place::Ours(..)))
}

/// The pin, and so the attachment, outlives the link's handle.
fn swap(program: &mut Xdp, link: PinnedLink) -> Result<(), ProgramError> {
    let link = XdpLink::try_from(FdLink::from(link)).map_err(|_| ProgramError::UnexpectedProgramType)?;
    let id = program.attach_to_link(link)?;
    // An open handle would keep the program attached after the pin is gone.
    program.take_link(id).map(drop)
}

fn pin_link(link: XdpLink, interface: &Interface, pin: &Path) -> Result<(), AttachError> {
    // What is left of a link whose interface is gone.
    unpin(pin)?;
    let link: FdLink = link.try_into().map_err(|_| AttachError::NoLink)?;
    link.pin(pin).map(drop).map_err(|source| AttachError::Pin { interface: interface.name.clone(), source })
}

/// The pinned link and the id of its program.
fn pinned_link(pin: &Path) -> Option<(PinnedLink, u32)> {
    let link = PinnedLink::from_pin(pin).ok()?;
    let fd = FdLink::from(PinnedLink::from_pin(pin).ok()?);
    let id = fd.info().ok()?.program_id();
    Some((link, id))
}

/// The name of a loaded program, as far as the kernel keeps it.
#[must_use]
pub fn program_name(id: u32) -> String {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    program
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(members: &[&str]) -> String {
        let members = members.iter().map(|&name| name.to_owned()).collect();
        let interface = Interface { name: "uplink".to_owned(), index: 5, mtu: 1500, program: None, members };
        AttachError::native(&interface, ProgramError::NotLoaded).to_string()
    }

    #[test]
    fn bond_that_takes_no_native_program_is_told_with_its_members() {
        let told = refusal(&["eth0", "eth1"]);
        assert!(told.contains("the bond uplink"), "{told}");
        assert!(
            told.contains(r#"name its members in balancer.interfaces instead, ["eth0", "eth1"]"#),
            "{told}"
        );
        let told = refusal(&[]);
        assert!(!told.contains("bond") && told.contains("balancer.mode"), "{told}");
    }
}
