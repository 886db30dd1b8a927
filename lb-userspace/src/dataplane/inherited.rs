//! Maps that another daemon has pinned and that this one's program cannot use: what they hold, to be moved over.
//!
//! The program that is attached goes on using them, and remembers flows in them, until it is swapped.

use std::{os::fd::AsFd as _, path::Path};

use aya::maps::{HashMap, Map, MapData};
use bytemuck::Zeroable as _;
use lb_common::{
    backend::Backend,
    connection::Connection,
    flow::Flow,
    nat::{Half, Pool},
    policy::Policy,
    service::{BUCKET_ENTRIES, Service, TableRef},
    slot::{LINE, Slot},
};

use super::{
    DataPlaneError,
    flows::Flows,
    image,
    mapped::Mapped,
    refused,
    server_ids::ServerIds,
    sessions::{self, Halves, Pools, Splices},
};
use crate::reconcile::{Image, ReadSlots};

/// The maps.
pub struct Inherited {
    services: Mapped,
    /// A layout before had none.
    policies: Option<Mapped>,
    index: Mapped,
    backends: Mapped,
    arena: Mapped,
    /// A layout before had none.
    server_ids: Option<ServerIds>,
    /// Those of flows; a layout before had one.
    flows: Vec<Flows>,
    /// Those of translated flows; a layout before had none.
    sessions: Vec<(Halves, bool)>,
    pools: Option<Pools>,
    /// Likewise.
    splices: Option<Splices>,
}

impl Inherited {
    /// Opens what is pinned in a directory.
    ///
    /// # Errors
    ///
    /// [`DataPlaneError`] where a map is not there, or not what its name says.
    pub fn open(pin_path: &Path) -> Result<Self, DataPlaneError> {
        Ok(Self {
            services: mapped(pin_path, "services", size_of::<Service>())?,
            policies: mapped(pin_path, "policies", size_of::<Policy>()).ok(),
            index: mapped(pin_path, "service_index", BUCKET_ENTRIES * 8)?,
            backends: mapped(pin_path, "backends", size_of::<Backend>())?,
            arena: mapped(pin_path, "arena", LINE * size_of::<Slot>())?,
            server_ids: server_ids(pin_path),
            flows: ["openings", "connections"].iter().filter_map(|name| flows(pin_path, name)).collect(),
            sessions: sessions::BOTH
                .into_iter()
                .filter_map(|(name, went_on)| Some((halves(pin_path, name)?, went_on)))
                .collect(),
            pools: pools(pin_path),
            splices: sessions::pinned_splices(pin_path),
        })
    }

    /// What they hold, but for the arena and the flows.
    #[must_use]
    pub fn image(&self) -> Image {
        let server_ids = self.server_ids.as_ref().map(ServerIds::read_or_log).unwrap_or_default();
        let pools = self.pools.as_ref().map_or([Pool::zeroed(); 2], sessions::pools);
        Image {
            server_ids,
            pools,
            ..image(&self.services, self.policies.as_ref(), &self.index, &self.backends)
        }
    }

    /// The flows that they remember. What cannot be read is left out.
    pub fn flows(&self) -> impl Iterator<Item = ([u8; size_of::<Flow>()], [u8; size_of::<Connection>()])> {
        self.flows.iter().flat_map(|flows| flows.iter().filter_map(Result::ok))
    }

    /// The connections that cookies have opened.
    pub(super) const fn splices(&self) -> Option<&Splices> {
        self.splices.as_ref()
    }

    /// The halves of translated flows, and whether their sessions went on. What cannot be read is left out.
    pub fn sessions(&self) -> impl Iterator<Item = (Flow, Half, bool)> {
        self.sessions.iter().flat_map(|(halves, went_on)| {
            let entries = halves.iter().filter_map(Result::ok);
            entries.map(|(flow, half)| (bytemuck::cast(flow), bytemuck::cast(half), *went_on))
        })
    }
}

impl ReadSlots for Inherited {
    fn slots(&self, table: TableRef) -> Vec<Slot> {
        self.arena.slots(table)
    }
}

fn open(pin_path: &Path, map: &'static str) -> Result<MapData, DataPlaneError> {
    MapData::from_pin(pin_path.join(map)).map_err(refused(map))
}

fn mapped(pin_path: &Path, map: &'static str, value_bytes: usize) -> Result<Mapped, DataPlaneError> {
    let data = open(pin_path, map)?;
    let entries = data.info().map_err(refused(map))?.max_entries() as usize;
    Mapped::open(data.fd().as_fd(), entries * value_bytes)
        .map_err(|source| DataPlaneError::Memory { map, source })
}

fn flows(pin_path: &Path, map: &'static str) -> Option<Flows> {
    HashMap::try_from(Map::LruHashMap(open(pin_path, map).ok()?)).ok()
}

fn halves(pin_path: &Path, map: &'static str) -> Option<Halves> {
    let data = open(pin_path, map).ok()?;
    let is_lru = map == sessions::OPENINGS;
    HashMap::try_from(if is_lru { Map::LruHashMap(data) } else { Map::HashMap(data) }).ok()
}

fn pools(pin_path: &Path) -> Option<Pools> {
    Pools::try_from(Map::Array(open(pin_path, sessions::POOLS).ok()?)).ok()
}

fn server_ids(pin_path: &Path) -> Option<ServerIds> {
    ServerIds::of(Map::HashMap(open(pin_path, "server_ids").ok()?)).ok()
}
