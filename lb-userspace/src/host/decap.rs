//! The decapsulator on an interface: the XDP program `sluice_decap`, its VIPs and its counters.
//!
//! Nobody stays behind to hold it, so the link is pinned: the program is attached for as long as that file exists. A
//! change of VIPs loads the program anew, with a map of its own, and swaps it in through the link, so every packet sees
//! either the earlier VIPs or the later ones.
//!
//! On a host that balances too the interface has the balancer's program. There this one is only pinned, and the balancer's
//! goes on to it (`balancer.next_program`).

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, PerCpuArray},
};
use lb_common::{address::Address, counter::Reason};

use super::{HostError, Wanted};
use crate::{
    config::XdpMode,
    dataplane::{
        attach::{self, Place},
        load::program,
        pins::{Pins, unpin},
    },
    interface::{Interface, Mode},
};

const PROGRAM: &str = "sluice_decap";
/// The same for an interface whose frames may consist of several pieces.
const PROGRAM_FOR_FRAMES: &str = "sluice_decap_frames";
const VIPS: &str = "decap_vips";
const REASONS: &str = "reasons";
/// Name of the pinned link.
const LINK: &str = "link";
/// Name of the pinned program, where it is attached to nothing.
const PINNED: &str = "program";

/// Looks for a place on `interface`.
///
/// # Errors
///
/// Somebody else's program is there.
pub(super) fn place(pins: &Path, interface: &Interface) -> Result<Place, HostError> {
    Ok(attach::place(interface, &pins.join(LINK))?)
}

/// Loads the program for what is `wanted`, attaches it, and pins it below `pins`.
pub(super) fn attach(
    pins: &Path,
    object: &[u8],
    interface: &Interface,
    place: Place,
    wanted: &Wanted,
) -> Result<Mode, HostError> {
    let mut ebpf = load(object, &wanted.vips, wanted.gue_port)?;
    let name = if interface.has_large_frames() { PROGRAM_FOR_FRAMES } else { PROGRAM };
    let program = program(&mut ebpf, name).map_err(load_error)?;
    let _locked = Pins::open(pins)?;
    let mode = attach::attach(program, interface, place, XdpMode::Auto, &pins.join(LINK))?;
    unpin(&pins.join(PINNED))?;
    pin_maps(&mut ebpf, pins)?;
    Ok(mode)
}

/// Loads the program for what is `wanted`, and pins it below `pins` without attaching it to anything.
pub(super) fn pin(pins: &Path, object: &[u8], wanted: &Wanted) -> Result<(), HostError> {
    let mut ebpf = load(object, &wanted.vips, wanted.gue_port)?;
    let program = program(&mut ebpf, PROGRAM).map_err(load_error)?;
    let _locked = Pins::open(pins)?;
    unpin(&pins.join(LINK))?;
    let path = pinned(pins);
    unpin(&path)?;
    program.pin(&path).map_err(|source| HostError::Pin { path, source })?;
    pin_maps(&mut ebpf, pins)
}

/// Where the program is pinned.
#[must_use]
pub fn pinned(pins: &Path) -> PathBuf {
    pins.join(PINNED)
}

fn pin_maps(ebpf: &mut Ebpf, pins: &Path) -> Result<(), HostError> {
    for name in [VIPS, REASONS] {
        let path = pins.join(name);
        unpin(&path)?;
        let map = ebpf.map_mut(name).ok_or(HostError::Object(name))?;
        map.pin(&path).map_err(|source| HostError::Pin { path, source })?;
    }
    Ok(())
}

fn load(object: &[u8], vips: &[IpAddr], gue_port: u16) -> Result<Ebpf, HostError> {
    let entries = u32::try_from(vips.len().max(1)).map_err(load_error)?;
    let mut loader = EbpfLoader::new();
    let gue_port = u32::from(gue_port);
    loader.map_max_entries(VIPS, entries).override_global("GUE_PORT", &gue_port, true);
    let mut ebpf = loader.load(object).map_err(load_error)?;
    let map = ebpf.map_mut(VIPS).ok_or(HostError::Object(VIPS))?;
    let mut map: HashMap<&mut MapData, [u8; 16], u8> = map.try_into().map_err(load_error)?;
    for vip in vips {
        map.insert(Address::from(*vip).octets, 1, 0).map_err(load_error)?;
    }
    Ok(ebpf)
}

fn load_error(error: impl std::error::Error + Send + Sync + 'static) -> HostError {
    HostError::Load(Box::new(error))
}

/// Detaches the program, if it is attached, and removes its pins. The directory goes where nothing else is in it.
pub(super) fn detach(pins: &Path) -> Result<(), HostError> {
    for name in [LINK, PINNED, VIPS, REASONS] {
        unpin(&pins.join(name))?;
    }
    let _ = fs::remove_dir(pins);
    Ok(())
}

/// Whether the pinned program is the one on `interface`.
pub(super) fn is_attached(pins: &Path, interface: &Interface) -> bool {
    attach::is_attached(interface, &pins.join(LINK))
}

/// Packets decapsulated since the program was last loaded; 0 where it is not.
pub(super) fn packets(pins: &Path) -> u64 {
    read_packets(pins).unwrap_or(0)
}

/// The counters are packets and bytes per CPU, indexed by [`Reason`].
fn read_packets(pins: &Path) -> Option<u64> {
    let map = Map::PerCpuArray(MapData::from_pin(pins.join(REASONS)).ok()?);
    let map: PerCpuArray<MapData, [u64; 2]> = map.try_into().ok()?;
    let per_cpu = map.get(&(Reason::Decapsulated as u32), 0).ok()?;
    Some(per_cpu.iter().map(|[packets, _]| packets).sum())
}
