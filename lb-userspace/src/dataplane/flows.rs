//! The tables of flows that are remembered, walked from outside while packets write them.

use std::{
    collections::{HashMap as StdHashMap, HashSet},
    io,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use lb_common::{connection::Connection, flow::Flow};

use super::{DataPlaneError, ebpf::take, refused};

/// A table of flows.
pub(super) type Flows = HashMap<MapData, [u8; size_of::<Flow>()], [u8; size_of::<Connection>()]>;

pub(super) fn flows(ebpf: &mut Ebpf, name: &'static str) -> Result<Flows, DataPlaneError> {
    HashMap::try_from(take(ebpf, name)?).map_err(refused(name))
}

/// Deletes the entries that `doomed` says, and gives the others. An error means that not all were seen.
pub(super) fn delete_flows(
    flows: &mut Flows,
    name: &'static str,
    limit: u32,
    doomed: impl Fn(&Connection) -> bool,
) -> Result<StdHashMap<Flow, Connection>, DataPlaneError> {
    let mut kept = StdHashMap::new();
    let mut dead = HashSet::new();
    // The walk begins anew where an entry is evicted under it, so it may see one twice, and has to have an end.
    for entry in flows.iter().take(2 * limit as usize + 1) {
        let (flow, connection) = entry.map_err(refused(name))?;
        let (flow, connection): (Flow, Connection) = (bytemuck::cast(flow), bytemuck::cast(connection));
        if doomed(&connection) {
            dead.insert(flow);
        } else {
            kept.insert(flow, connection);
        }
    }
    for flow in dead {
        let key = bytemuck::cast(flow);
        // The same addresses and ports may have begun another connection since.
        if flows.get(&key, 0).is_ok_and(|entry| !doomed(&bytemuck::cast(entry))) {
            continue;
        }
        match flows.remove(&key) {
            Err(error) if !is_absent(&error) => return Err(refused(name)(error)),
            _ => {}
        }
    }
    Ok(kept)
}

/// Whether an entry is not there, which an eviction may have seen to.
pub(super) fn is_absent(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(call) => call.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}
