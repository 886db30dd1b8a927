//! This host as a backend: what direct server return asks of it, done and undone.
//!
//! A backend takes packets for the VIP as its own and answers as the VIP, while the balancer alone is what the network
//! knows as the VIP's place. So: the VIP on `lo`, where no neighbour is told of it; settings that keep ARP silent about
//! it; and the program that takes the outer header off tunnelled packets. IPv6 needs no such settings: the kernel
//! answers a neighbour solicitation only for addresses of the interface that it arrives at.
//!
//! What is changed is written down before it is changed ([`state`]), so that [`down`] restores it after any end of
//! [`up`], and nothing else.

pub mod decap;
mod loopback;
pub mod settings;
pub mod state;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use thiserror::Error;

use self::{
    settings::Settings,
    state::{AddressChange, State},
};
use crate::{
    dataplane::{attach::AttachError, pins::PinError},
    interface::{InterfaceError, Netlink},
};

/// Why the host could not be set up, or not be restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The state file does not hold what [`up`] writes.
    #[error("{} is no state file of `sluice backend`", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel refused a netlink request.
    #[error("cannot {action}")]
    Netlink {
        /// What was attempted.
        action: String,
        /// The cause.
        #[source]
        source: rtnetlink::Error,
    },
    /// An interface could not be looked up.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The host is a backend with another interface.
    #[error("this host is a backend on {present:?}, not on {asked:?}; run `sluice backend down` first")]
    OtherInterface {
        /// The interface of the state file.
        present: String,
        /// The one asked for.
        asked: String,
    },
    /// The decapsulator could not be loaded.
    #[error("cannot load the program sluice_decap")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The eBPF object lacks a program or map.
    #[error("the eBPF object has no {0}; rebuild with `cargo xtask build-ebpf`")]
    Object(&'static str),
    /// The decapsulator could not be attached.
    #[error("cannot unpack tunnelled packets; --no-decap does without, where the balancer forwards by l2")]
    Attach(#[from] AttachError),
    /// A map could not be pinned.
    #[error("cannot pin to {}; is a BPF file system mounted there?", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: aya::pin::PinError,
    },
    /// The directory of the pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
}

/// Where things are kept.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Directory in a BPF file system.
    pub pins: PathBuf,
    /// The state file.
    pub state: PathBuf,
}

/// What the host is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The interface that packets from the balancer arrive at.
    pub interface: String,
    /// The VIPs.
    pub vips: Vec<IpAddr>,
    /// Who takes off the outer headers of packets that arrive in a tunnel.
    pub decap: Decap,
    /// UDP port of tunnels by GUE; 0: there are none.
    pub gue_port: u16,
}

/// What takes outer headers off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decap {
    /// Nothing: no packets arrive in a tunnel.
    Nothing,
    /// The decapsulator, on the interface.
    Attached,
    /// The decapsulator, behind the program that balances.
    Pinned,
}

/// Sets the host up, or changes what an earlier call set up. What it did is in the returned state; a fresh set-up that
/// fails is undone.
///
/// # Errors
///
/// See [`HostError`].
pub async fn up(paths: &Paths, object: &[u8], wanted: &Wanted) -> Result<State, HostError> {
    let before = State::load(&paths.state)?;
    if let Some(state) = &before
        && state.interface != wanted.interface
    {
        let (present, asked) = (state.interface.clone(), wanted.interface.clone());
        return Err(HostError::OtherInterface { present, asked });
    }
    let fresh = before.is_none();
    let result = set_up(paths, object, wanted, before).await;
    if result.is_err() && fresh {
        // The first failure is the one to tell; what cannot be undone stays in the state file for `down`.
        let _ = down(paths).await;
    }
    result
}

async fn set_up(
    paths: &Paths,
    object: &[u8],
    wanted: &Wanted,
    before: Option<State>,
) -> Result<State, HostError> {
    let netlink = Netlink::open()?;
    let interface = netlink.interface(&wanted.interface).await?;
    // Asked before anything is changed, since somebody else's program is the likeliest reason to fail.
    let attaches = wanted.decap == Decap::Attached;
    let place = attaches.then(|| decap::place(&paths.pins, &interface)).transpose()?;
    let settings = Settings::of_kernel();
    let mut state = before.unwrap_or_else(|| State::new(&wanted.interface));
    state.remember_settings(settings.needed(&wanted.interface)?);
    let change = state.change_vips(&wanted.vips, &loopback::addresses(&netlink).await?);
    state.save(&paths.state)?;

    settings.apply(&state.settings)?;
    loopback::change(&netlink, &change).await?;
    match wanted.decap {
        Decap::Nothing => decap::detach(&paths.pins)?,
        Decap::Pinned => decap::pin(&paths.pins, object, wanted)?,
        Decap::Attached => {}
    }
    state.pinned = wanted.decap == Decap::Pinned;
    state.decap = match place {
        Some(place) => Some(decap::attach(&paths.pins, object, &interface, place, wanted)?),
        None => None,
    };
    state.forget_addresses(&change.remove);
    state.save(&paths.state)?;
    Ok(state)
}

/// Undoes what [`up`] did, and gives what that was; `None` where the host is no backend. A setting that somebody has
/// changed since is left alone.
///
/// # Errors
///
/// See [`HostError`]. What could not be undone is tried again by the next call.
pub async fn down(paths: &Paths) -> Result<Option<State>, HostError> {
    let Some(state) = State::load(&paths.state)? else {
        return Ok(None);
    };
    let netlink = Netlink::open()?;
    decap::detach(&paths.pins)?;
    let change = AddressChange { add: Vec::new(), remove: state.addresses.clone() };
    loopback::change(&netlink, &change).await?;
    Settings::of_kernel().restore(&state.settings)?;
    State::remove(&paths.state)?;
    Ok(Some(state))
}

/// What of the set-up still holds.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was set up.
    pub state: State,
    /// VIPs that are not on `lo`.
    pub missing_vips: Vec<IpAddr>,
    /// Settings that have another value now, with that value.
    pub overridden_settings: Vec<(settings::Change, String)>,
    /// Whether the decapsulator is attached, or pinned where it is to be that.
    pub decap_holds: bool,
    /// Packets that the decapsulator has unpacked since it was last attached.
    pub decapsulated: u64,
}

/// Looks at what [`up`] left; `None` where the host is no backend.
///
/// # Errors
///
/// See [`HostError`].
pub async fn show(paths: &Paths) -> Result<Option<Report>, HostError> {
    let Some(state) = State::load(&paths.state)? else {
        return Ok(None);
    };
    let netlink = Netlink::open()?;
    let present = loopback::addresses(&netlink).await?;
    let missing_vips = state.vips.iter().filter(|ip| !present.contains(ip)).copied().collect();
    let overridden_settings = Settings::of_kernel().overridden(&state.settings)?;
    let decap_holds = match netlink.interface(&state.interface).await {
        Ok(_) if state.pinned => decap::pinned(&paths.pins).exists(),
        Ok(interface) => decap::is_attached(&paths.pins, &interface),
        Err(InterfaceError::Unknown(_)) => false,
        Err(error) => return Err(error.into()),
    };
    let decapsulated = decap::packets(&paths.pins);
    Ok(Some(Report { state, missing_vips, overridden_settings, decap_holds, decapsulated }))
}

/// Names the file in an I/O error.
fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError::File { action, path: path.to_owned(), source }
}
