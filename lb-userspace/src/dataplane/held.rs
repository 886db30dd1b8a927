//! What is pinned, by the kernel's numbers: whether a name still stands for what the program uses.

use std::{collections::BTreeMap, path::Path};

use aya::{
    maps::{MapData, MapInfo},
    programs::ProgramInfo,
};

use super::pins::{self, PinError, unpin};

/// Bytes of a map's name that the kernel keeps (`BPF_OBJ_NAME_LEN`, with a zero at its end).
const KEPT: usize = 15;

/// The maps that a program uses, by name as far as the kernel keeps it. A program has those alone that it was compiled to ask.
#[must_use]
pub fn used_maps(program: &ProgramInfo) -> BTreeMap<String, u32> {
    let ids = program.map_ids().ok().flatten().unwrap_or_default();
    let named =
        ids.into_iter().filter_map(|id| Some((MapInfo::from_id(id).ok()?.name_as_str()?.to_owned(), id)));
    named.collect()
}

/// The number of the map of this name among those that a program uses.
#[must_use]
pub fn used(maps: &BTreeMap<String, u32>, name: &str) -> Option<u32> {
    maps.get(&name[..name.len().min(KEPT)]).copied()
}

/// The number of the map that is pinned at `path`.
#[must_use]
pub fn pinned_map(path: &Path) -> Option<u32> {
    MapInfo::from_pin(path).ok().map(|info| info.id())
}

/// The number of the program that is pinned at `path`.
#[must_use]
pub fn pinned_program(path: &Path) -> Option<u32> {
    ProgramInfo::from_pin(path).ok().map(|info| info.id())
}

/// Pins a map of the kernel's in the place of whatever has its name.
///
/// # Errors
///
/// [`PinError::File`].
pub fn pin_map(id: u32, path: &Path) -> Result<(), PinError> {
    unpin(path)?;
    let pinned = MapData::from_id(id).map_err(std::io::Error::other);
    let pinned = pinned.and_then(|map| map.pin(path).map_err(std::io::Error::other));
    pinned.map_err(pins::file_error("pin", path))
}
