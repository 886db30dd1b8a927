//! The map of server ids, by which connection ids name backends.

use aya::maps::{HashMap, Map, MapData};
use lb_common::quic::{Server, ServerId, ServerKey};
use tracing::warn;

use super::{DataPlaneError, flows::is_absent, refused};
use crate::{causes::with_causes, reconcile::Named};

/// Its name in the object.
const MAP: &str = "server_ids";

/// The map.
pub(super) struct ServerIds(HashMap<MapData, [u8; size_of::<ServerKey>()], [u8; size_of::<Server>()]>);

impl ServerIds {
    pub(super) fn of(map: Map) -> Result<Self, DataPlaneError> {
        HashMap::try_from(map).map(Self).map_err(refused(MAP))
    }

    /// All of them.
    pub(super) fn read(&self) -> Result<Vec<(ServerKey, Server)>, DataPlaneError> {
        let entries = self.0.iter().map(|entry| entry.map(|(k, v)| (bytemuck::cast(k), bytemuck::cast(v))));
        entries.collect::<Result<_, _>>().map_err(refused(MAP))
    }

    /// All of them, or none where they cannot be read: then the plan gives them anew.
    pub(super) fn read_or_log(&self) -> Vec<(ServerKey, Server)> {
        self.read().unwrap_or_else(|error| {
            warn!("whom connection ids name is known from the file alone: {}", with_causes(&error));
            Vec::new()
        })
    }

    /// Lets an id name a backend. Where that fails, its connections are found by their addresses.
    pub(super) fn write(&mut self, service: u32, id: ServerId, named: Named) {
        let key: [u8; size_of::<ServerKey>()] = bytemuck::cast(ServerKey { id, service, _pad: 0 });
        let value: [u8; size_of::<Server>()] = bytemuck::cast(Server::from(named));
        if let Err(error) = self.0.insert(key, value, 0) {
            warn!(service, ?id, "connection ids with a server id name nobody: {}", with_causes(&error));
        }
    }

    /// Lets an id name nobody.
    pub(super) fn clear(&mut self, service: u32, id: ServerId) {
        let key: [u8; size_of::<ServerKey>()] = bytemuck::cast(ServerKey { id, service, _pad: 0 });
        match self.0.remove(&key) {
            Err(error) if !is_absent(&error) => {
                warn!(service, ?id, "a server id goes on naming a backend: {}", with_causes(&error));
            }
            _ => {}
        }
    }
}
