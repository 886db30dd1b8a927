//! Maps that another daemon has pinned and that this one's program cannot use: what they hold, to be moved over.
//!
//! The program that is attached goes on using them, and remembers flows in them, until it is swapped.

use std::{os::fd::AsFd as _, path::Path};

use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    backend::Backend,
    connection::Connection,
    flow::Flow,
    policy::Policy,
    service::{BUCKET_ENTRIES, Service, TableRef},
    slot::{LINE, Slot},
};

use super::{DataPlaneError, ebpf::Flows, image, mapped::Mapped, refused, server_ids::ServerIds};
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
        })
    }

    /// What they hold, but for the arena and the flows.
    #[must_use]
    pub fn image(&self) -> Image {
        let server_ids = self.server_ids.as_ref().map(ServerIds::read_or_log).unwrap_or_default();
        Image { server_ids, ..image(&self.services, self.policies.as_ref(), &self.index, &self.backends) }
    }

    /// The flows that they remember. What cannot be read is left out.
    pub fn flows(&self) -> impl Iterator<Item = ([u8; size_of::<Flow>()], [u8; size_of::<Connection>()])> {
        self.flows.iter().flat_map(|flows| flows.iter().filter_map(Result::ok))
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

fn server_ids(pin_path: &Path) -> Option<ServerIds> {
    ServerIds::of(Map::HashMap(open(pin_path, "server_ids").ok()?)).ok()
}
